package server

import (
	"maps"
	"sync"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/redisconn"
)

// told is what players know of how features are.
type told struct {
	mu       sync.Mutex
	features map[string]string // guarded by mu; nil: nothing was told yet, all is well
}

// features are how features are, by what Redis can do.
func features(redis redisconn.State, limitsLocal bool) map[string]string {
	if away(redis) {
		return map[string]string{"session": "stale", "limits": "local", "chat": "local", "presence": "paused", "combat": "paused", "trade": "paused"}
	}
	f := map[string]string{"session": "ok", "limits": "ok", "chat": "ok", "presence": "ok", "combat": "ok", "trade": "ok"}
	if limitsLocal {
		f["limits"] = "local"
	}
	return f
}

// tellStatus sends `gateway:status` to the players of this node when it has changed.
func (n *node) tellStatus(redis redisconn.State) {
	n.told.mu.Lock()
	defer n.told.mu.Unlock()
	now, before := features(redis, n.limits.Degraded()), n.told.features
	if before == nil {
		before = features(redisconn.Up, false)
	}
	if maps.Equal(now, before) {
		return
	}
	n.told.features = now
	if err := n.gateway.SendStatus(now); err != nil {
		n.log.Error("status could not be told", zap.Error(err))
	}
}
