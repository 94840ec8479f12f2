package server

import (
	"context"
	"net/http"
	"time"

	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/lock"
)

// detailed is how everything here is, for operators: the status code is that of Redis. All
// but Redis, and what it knows of the jobs, is known without asking anybody.
func (n *node) detailed(w http.ResponseWriter, r *http.Request) {
	h, code := n.redisHealth()
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
	defer cancel()
	chores, _ := n.chores.List(ctx) // without Redis nothing is known of them
	writeJSON(w, code, map[string]any{
		"status": h.Status, "version": version.String(), "node": n.name, "redis": h, "redisServer": n.redisKind(),
		"connections": n.gateway.Connections(), "draining": n.gateway.Draining(),
		"breakers": n.breakers(), "cache": n.cache.Stats(), "sessions": n.tracker.Stats(),
		"locks":  lockView(n.locks.Stats()),
		"jobs":   housekeeping.Views(chores),
		"limits": map[string]any{"local": n.limits.Degraded(), "policies": n.limits.Policies()},
	})
}

// lockView is what this node knows of its locks, times in ms; the names are users' ids, for operators.
func lockView(s lock.Stats) map[string]any {
	contended := []map[string]any{}
	for _, c := range s.MostContended {
		contended = append(contended, map[string]any{"name": c.Name, "times": c.Times})
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return map[string]any{
		"held": s.Held, "waiting": s.Waiting, "acquired": s.Acquired, "refused": s.Refused,
		"unavailable": s.Unavailable, "lost": s.Lost, "unreleased": s.Unreleased,
		"waitP50Ms": ms(s.WaitP50), "waitP99Ms": ms(s.WaitP99), "holdP50Ms": ms(s.HoldP50), "holdP99Ms": ms(s.HoldP99),
		"mostContended": contended,
	}
}
