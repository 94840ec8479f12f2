package server

import (
	"context"
	"net/http"
	"time"

	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/lock"
)

// serveDetailedHealth answers the state of everything on this node, for operators. The status code
// says whether Redis answers: 200 or 503. Only Redis is asked, for its health, for the state of the
// jobs and for the count of all sessions; everything else is known here.
func (n *node) serveDetailedHealth(w http.ResponseWriter, r *http.Request) {
	h, code := n.redis.checkHealth()
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
	defer cancel()
	jobStates, _ := n.redis.jobs.List(ctx) // without Redis nothing is known of them
	writeJSON(w, code, map[string]any{
		"status": h.Status, "version": version.String(), "node": n.name, "redis": h, "redisServer": n.redis.serverKind(),
		"connections": n.gateway.Connections(), "draining": n.gateway.Draining(),
		"breakers": n.breakerStates(), "cache": n.redis.cache.Stats(), "sessions": n.redis.tracker.Stats(),
		"sessionTotals": n.redis.sessionTotals.read(ctx),
		"locks":         lockStatsView(n.redis.locks.Stats()),
		"jobs":          housekeeping.Views(jobStates),
		"limits":        map[string]any{"local": n.redis.limiter.Degraded(), "policies": n.redis.limiter.Policies()},
	})
}

// lockStatsView returns the figures of this node's locks, with times in ms. The names of locks
// contain the ids of users, so the result is for operators only.
func lockStatsView(s lock.Stats) map[string]any {
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

// breakerStates returns the states of all breakers, by what stands behind them.
func (n *node) breakerStates() map[string]string {
	all := map[string]string{"cache": n.redis.cacheBreaker.State()}
	if state, ok := n.profiles.breakerState(); ok {
		all["profiles"] = state
	}
	return all
}
