// Package housekeeping lists the periodic jobs that the nodes of a cluster share. The server
// runs them, and the command `gateway jobs` lists them and runs one at once.
package housekeeping

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/jobs"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/sessions"
)

// BoardLength is how many entries of a leaderboard are cached.
const BoardLength = 100

// Jobs returns all periodic work: what the guide does every five minutes, and every thirty.
func Jobs(rdb redis.UniversalClient, locks *lock.Manager, store *sessions.Store, c *cache.Manager, boards *leaderboard.Service) []jobs.Job {
	warm := func(name string, ttl time.Duration) cache.WarmItem {
		return cache.WarmItem{Key: keys.Leaderboard(name), TTL: ttl, Load: func(ctx context.Context) (any, error) {
			return boards.Top(ctx, name, BoardLength)
		}}
	}
	return []jobs.Job{
		{
			Name: "temp", About: "removes temp:* keys that have no TTL", Every: 5 * time.Minute, Timeout: 2 * time.Minute,
			Run: func(ctx context.Context) error {
				_, err := jobs.RemoveKeysWithoutTTL(ctx, rdb, keys.AllTemp)
				return err
			},
		},
		{
			Name: "locks", About: "removes locks that have no TTL", Every: 5 * time.Minute, Timeout: 2 * time.Minute,
			Run: func(ctx context.Context) error {
				_, err := locks.Cleanup(ctx)
				return err
			},
		},
		{
			Name: "sessions", About: "forgets sessions that are gone, in the users' lists", Every: 5 * time.Minute, Timeout: 2 * time.Minute,
			Run: func(ctx context.Context) error {
				_, err := store.CleanupExpired(ctx)
				return err
			},
		},
		{
			Name: "leaderboards", About: "warms the lists of global and weekly", Every: 30 * time.Minute,
			Run: func(ctx context.Context) error {
				return c.WarmBulk(ctx, warm(leaderboard.Global, 2*time.Hour), warm(leaderboard.Weekly, time.Hour))
			},
		},
	}
}

// Leases is a lock.Manager as package jobs wants it.
type Leases struct{ *lock.Manager }

// Take takes the lease of a job, when nobody has it.
func (l Leases) Take(ctx context.Context, name string) (jobs.Lease, bool, error) {
	lease, err := l.TryAcquire(ctx, name, lock.Options{TTL: 15 * time.Second, MaxHold: 365 * 24 * time.Hour, Purpose: "runs " + strings.Replace(name, ":", " ", 1)})
	if errors.Is(err, lock.ErrTaken) {
		return nil, false, nil
	}
	return lease, err == nil, err
}

// A View is a job as the command line and /health/detailed show it. Times are Unix ms; 0 is never.
type View struct {
	Name      string `json:"name"`
	About     string `json:"about"`
	EveryMs   int64  `json:"everyMs"`
	LastRunAt int64  `json:"lastRunAt"`
	TookMs    int64  `json:"tookMs"`
	LastError string `json:"lastError"`
	Node      string `json:"node"`
	Runs      int64  `json:"runs"`
	Failures  int64  `json:"failures"`
}

// Views returns the jobs as the command line and /health/detailed show them.
func Views(all []jobs.State) []View {
	out := make([]View, len(all))
	for i, s := range all {
		out[i] = View{s.Name, s.About, s.Every.Milliseconds(), 0, s.Took.Milliseconds(), s.LastError, s.Node, s.Runs, s.Failures}
		if !s.LastRunAt.IsZero() {
			out[i].LastRunAt = s.LastRunAt.UnixMilli()
		}
	}
	return out
}
