package server

import (
	"maps"
	"sync"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/redisconn"
)

// statusBoard tells the players of this node which features work, whenever that changes.
type statusBoard struct {
	send func(features map[string]string) error
	log  *zap.Logger

	mu   sync.Mutex
	last map[string]string // what was sent last; guarded by mu
}

func newStatusBoard(send func(map[string]string) error, log *zap.Logger) *statusBoard {
	return &statusBoard{send: send, log: log, last: featureStates(redisconn.Up, false)}
}

// featureStates returns the state of each feature, as far as it follows from what Redis can do: ok,
// local, stale or paused.
func featureStates(redis redisconn.State, limitsLocal bool) map[string]string {
	if takesNoWrites(redis) {
		return map[string]string{"session": "stale", "limits": "local", "chat": "local", "presence": "paused", "combat": "paused", "trade": "paused"}
	}
	f := map[string]string{"session": "ok", "limits": "ok", "chat": "ok", "presence": "ok", "combat": "ok", "trade": "ok"}
	if limitsLocal {
		f["limits"] = "local"
	}
	return f
}

// sendChanges sends `gateway:status` when it differs from what was sent last. It asks
// areLimitsLocal when its turn has come, so that of two calls at the same time the last one sends
// what is true then.
func (b *statusBoard) sendChanges(redis redisconn.State, areLimitsLocal func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := featureStates(redis, areLimitsLocal())
	if maps.Equal(now, b.last) {
		return
	}
	b.last = now
	if err := b.send(now); err != nil {
		b.log.Error("players could not be told the status", zap.Error(err))
	}
}
