package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/apikeys"
	"github.com/aeturnis/realtime/internal/serverapi"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/throttle"
)

// apiKeysTick is how often the file of keys is looked at.
const apiKeysTick = time.Second

// errLimitOff refuses a limit that bounds nothing.
var errLimitOff = errors.New("must be N/WINDOW, such as 3000/1s")

// checkAPILimit judges the limit of a key of the server API.
func checkAPILimit(text string) error {
	limit, _, err := throttle.ParseRule(text)
	if err == nil && limit == 0 {
		err = errLimitOff
	}
	return err
}

// CreateAPIKey makes a key of the server API, and returns it with its line for the file of keys.
// Errors name what is wrong with the arguments.
func CreateAPIKey(name string, scopes []string, limit string) (key, fileLine string, err error) {
	return apikeys.Create(name, scopes, limit, checkAPILimit)
}

// makeServerAPI makes the server API, where it is served.
func (n *node) makeServerAPI() (err error) {
	if n.apiListener == nil {
		return nil
	}
	if n.apiKeys, err = apikeys.Open(n.cfg.APIKeysFile, checkAPILimit); err != nil {
		return usage.Errorf("--api-keys-file: %w", err)
	}
	own := n.ownEvents(n.gateway.Casts(), n.gateway.Routes())
	n.api = serverapi.New(serverapi.Config{
		Keys: n.apiKeys, Redis: n.redis.client, Gateway: n.gateway, Sessions: n.redis.sessions, Chat: n.features.chat,
		Presence: n.features.presence, Trade: n.features.trade, Limiter: n.redis.limiter, Once: n.once,
		IsOwnEvent: own,
		Log:        n.log, Timeout: n.cfg.HandlerTimeout, MaxBody: int64(n.cfg.MaxPayload),
	})
	return n.registry.Register(n.api.Metrics())
}

// ownEvents returns a function that reports whether an event is the gateway's: whether it is of a
// feature that no program of the game may cast for.
func (n *node) ownEvents(casts []event.Cast, routes []event.Route) func(name string) bool {
	own := map[string]bool{} // features of the gateway, and its events without one
	for _, name := range gateway.OwnEvents() {
		own[featureOf(name)] = true
	}
	for _, c := range casts {
		own[featureOf(c.Name)] = true
	}
	for _, r := range routes {
		own[featureOf(r.Name)] = true
	}
	for _, added := range n.features.added { // whose casts programs of the same game may send, in the main namespace
		if namespaceOf(added) != "" {
			continue
		}
		for _, c := range added.Casts() {
			delete(own, featureOf(c.Name))
		}
	}
	for _, r := range n.backends.Routes() {
		delete(own, featureOf(r.Name))
	}
	for _, c := range n.backends.Casts() {
		delete(own, featureOf(c.Name))
	}
	return func(name string) bool { return own[featureOf(name)] }
}

// featureOf returns what stands before the colon in the name of an event, or all of it.
func featureOf(event string) string {
	feature, _, _ := strings.Cut(event, ":")
	return feature
}

// reloadAPIKeys reads the file of keys again. A file that is wrong changes nothing.
func (n *node) reloadAPIKeys() {
	if n.apiKeys == nil {
		return
	}
	if err := n.apiKeys.Reload(); err != nil {
		n.log.Error("keys of the server API could not be read again: the old ones stay", zap.Error(err))
		return
	}
	n.log.Info("keys of the server API read again", zap.Int("keys", n.apiKeys.Len()))
}

// followAPIKeys reads the file of keys again when it has changed.
func (n *node) followAPIKeys(ctx context.Context) error {
	if n.apiKeys == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(apiKeysTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if n.apiKeys.HasChanged() {
				n.reloadAPIKeys()
			}
		}
	}
}
