package server

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/backend"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/throttle"
)

// This file is about the programs of the game that serve events.

// makeBackends makes the backends. own are the features beside them, whose events they may not
// have.
func (n *node) makeBackends(rooms *gatewayRooms, own []Feature) (*backend.Service, error) {
	routes, casts := eventTables(own)
	taken := map[string]bool{}
	isOwn := func(string) bool { return true } // until the backends are made
	s, err := backend.New(n.cfg.Backends, backend.Options{
		Rooms: rooms, HandlerTimeout: n.cfg.HandlerTimeout, Node: n.name,
		IsOwnEvent: func(name string) bool { return isOwn(name) },
		Reachable:  n.backendReachable, CastFailed: n.backendCastFailed, AnswerFailed: n.backendAnswerFailed,
	})
	if err != nil {
		return nil, usage.Errorf("--config: %w", err)
	}
	n.backends = &backend.Service{} // whose events are not the gateway's
	for _, r := range routes {
		taken[featureOf(r.Name)] = true
	}
	isOwn = n.ownEvents(casts, routes)
	policies := n.redis.limiter.Policies()
	err = s.CheckNames(func(name string) bool { return taken[featureOf(name)] || isOwn(name) }, func(policy string) bool {
		return slices.ContainsFunc(policies, func(p throttle.Policy) bool { return p.Name == policy })
	})
	if err != nil {
		s.Close()
		return nil, usage.Errorf("--config: %w", err)
	}
	return s, nil
}

// joinChannel puts a connection into a channel of the chat, if the chat lets the player in.
func (n *node) joinChannel(ctx context.Context, p event.Player, channel string) error {
	_, err := n.features.chat.Join(ctx, p, chat.Channel{Channel: channel})
	return err
}

// backendReachable logs that the breaker of a backend has opened or closed.
func (n *node) backendReachable(name string, isReachable bool) {
	if isReachable {
		n.log.Info("backend answers again", zap.String("backend", name))
		return
	}
	n.log.Warn("backend does not answer: its events are refused until it does", zap.String("backend", name))
}

// backendCastFailed logs that a cast was not sent, or to this node's players only.
func (n *node) backendCastFailed(name string, err error, skipped int) {
	n.log.Warn("cast of a backend was not sent", zap.String("backend", name), zap.Int("skipped", skipped), zap.Error(err))
}

// backendAnswerFailed logs that a backend's answer is none.
func (n *node) backendAnswerFailed(name, event string, err error, skipped int) {
	n.log.Warn("backend gave no proper answer", zap.String("backend", name), zap.String("event", event), zap.Int("skipped", skipped), zap.Error(err))
}

// reloadBackendSecrets reads files of secrets again: all, or those that have changed. A file that
// is wrong changes nothing.
func (n *node) reloadBackendSecrets(all bool) {
	read, err := n.backends.ReloadSecrets(all)
	if err != nil {
		n.log.Error("secrets of backends could not be read again: the old ones stay", zap.Error(err))
	}
	if read > 0 {
		n.log.Info("secrets of backends read again", zap.Int("files", read))
	}
}

// followBackendSecrets reads the files of secrets again when they have changed.
func (n *node) followBackendSecrets(ctx context.Context) error {
	if n.backends.Len() == 0 {
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
			n.reloadBackendSecrets(false)
		}
	}
}
