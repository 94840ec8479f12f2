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

// The fields of keys.SessionCounts.
const (
	countCreated   = "created"
	countDestroyed = "destroyed"
	countExpired   = "expired"
)

// Stats are figures for operators, of the whole Redis. How long revocations take is the
// trackers' to say: Tracker.Stats.
type Stats struct {
	Active     int `json:"active"`     // sessions that live
	Users      int `json:"users"`      // that have one
	MaxPerUser int `json:"maxPerUser"` // sessions of the user who has most

	// Since the counts were made, by every program that uses this package. Expired are those
	// that CleanupExpired found gone; a session that is renewed is neither created nor destroyed.
	Created   int64 `json:"created"`
	Destroyed int64 `json:"destroyed"`
	Expired   int64 `json:"expired"`
}

// Stats counts the living sessions. It walks the whole keyspace (SCAN, on each master of a
// Cluster), so it is for operators and not for every second.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var mu sync.Mutex
	perUser := make(map[string]int) // guarded by mu
	err := s.scan(ctx, keys.Session("*"), "hash", func(page []string) error {
		users, err := s.owners(ctx, page)
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
		return Stats{}, fmt.Errorf("session stats: %w", err)
	}
	counts, err := s.rdb.HGetAll(ctx, keys.SessionCounts).Result()
	if err != nil {
		return Stats{}, fmt.Errorf("session stats: %w", err)
	}
	count := func(field string) int64 {
		n, _ := strconv.ParseInt(counts[field], 10, 64) // 0 where nobody counted yet
		return n
	}
	out := Stats{Users: len(perUser), Created: count(countCreated), Destroyed: count(countDestroyed), Expired: count(countExpired)}
	for _, n := range perUser {
		out.Active += n
		out.MaxPerUser = max(out.MaxPerUser, n)
	}
	return out, nil
}

// owners reads the user of each session key, "" for what is none.
func (s *Store) owners(ctx context.Context, sessionKeys []string) ([]string, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(sessionKeys))
	for i, key := range sessionKeys {
		cmds[i] = pipe.HGet(ctx, key, "userId")
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error
	users := make([]string, len(sessionKeys))
	for i, c := range cmds {
		switch err := c.Err(); {
		case errors.Is(err, redis.Nil), wrongType(err):
		case err != nil:
			return nil, err
		default:
			users[i] = c.Val()
		}
	}
	return users, nil
}
