package sessions

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// These are the fields of keys.SessionCounts.
const (
	countCreated   = "created"
	countDestroyed = "destroyed"
	countExpired   = "expired"
)

// Stats are figures for operators about all sessions in Redis. How long revocations take is in
// TrackerStats.
type Stats struct {
	Active     int `json:"active"`     // living sessions
	Users      int `json:"users"`      // users with a living session
	MaxPerUser int `json:"maxPerUser"` // sessions of the user who has the most

	// These are counted by every program that uses this package, since keys.SessionCounts was
	// created. Expired are the sessions that CleanupExpired found expired. A session that is renewed
	// counts as neither created nor destroyed.
	Created   int64 `json:"created"`
	Destroyed int64 `json:"destroyed"`
	Expired   int64 `json:"expired"`
}

// Stats counts the living sessions. It scans the whole keyspace, on each master of a Cluster, so an
// operator may call it, and no loop should.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var mu sync.Mutex
	perUser := make(map[string]int) // guarded by mu
	err := s.scanKeys(ctx, keys.Session("*"), "hash", func(page []string) error {
		users, err := s.readOwners(ctx, page)
		mu.Lock()
		defer mu.Unlock()
		for _, u := range users {
			if u != "" {
				perUser[u]++
			}
		}
		return err
	})
	if err != nil {
		return Stats{}, fmt.Errorf("count sessions: %w", err)
	}
	counts, err := s.rdb.HGetAll(ctx, keys.SessionCounts).Result()
	if err != nil {
		return Stats{}, fmt.Errorf("count sessions: %w", err)
	}
	count := func(field string) int64 {
		n, _ := strconv.ParseInt(counts[field], 10, 64) // 0 when nothing was counted yet
		return n
	}
	out := Stats{Users: len(perUser), Created: count(countCreated), Destroyed: count(countDestroyed), Expired: count(countExpired)}
	for _, n := range perUser {
		out.Active += n
		out.MaxPerUser = max(out.MaxPerUser, n)
	}
	return out, nil
}

// readOwners returns the user id of each session key, or "" for a key that is not a session.
func (s *Store) readOwners(ctx context.Context, sessionKeys []string) ([]string, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(sessionKeys))
	for i, key := range sessionKeys {
		cmds[i] = pipe.HGet(ctx, key, "userId")
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	users := make([]string, len(sessionKeys))
	for i, c := range cmds {
		switch err := c.Err(); {
		case errors.Is(err, redis.Nil), isWrongType(err):
		case err != nil:
			return nil, err
		default:
			users[i] = c.Val()
		}
	}
	return users, nil
}
