package main

import (
	"context"
	"net/http"
	"time"
)

// detailed is how everything here is, for operators: the status code is that of Redis. All
// but Redis, and what it knows of the jobs, is known without asking anybody.
func (n *node) detailed(w http.ResponseWriter, r *http.Request) {
	h, code := n.redisHealth()
	locks := n.locks.Stats()
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
	defer cancel()
	chores, _ := n.chores.List(ctx) // without Redis nothing is known of them
	writeJSON(w, code, map[string]any{
		"status": h.Status, "version": version(), "node": n.name, "redis": h, "redisServer": n.redisKind(),
		"connections": n.gateway.Connections(), "draining": n.gateway.Draining(),
		"breakers": n.breakers(), "cache": n.cache.Stats(), "sessions": n.tracker.Stats(),
		"locks": map[string]any{
			"held": locks.Held, "waiting": locks.Waiting, "acquired": locks.Acquired, "refused": locks.Refused,
			"unavailable": locks.Unavailable, "lost": locks.Lost, "unreleased": locks.Unreleased,
		},
		"jobs":   jobViews(chores),
		"limits": map[string]any{"local": n.limits.Degraded(), "policies": n.limits.Policies()},
	})
}
