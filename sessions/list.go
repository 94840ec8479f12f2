package sessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// List gives the living sessions of a user, newest first. Sessions that another program
// made are found once they were used here. Two round trips.
func (s *Store) List(ctx context.Context, userID string) ([]Session, error) {
	ids, err := s.rdb.ZRange(ctx, keys.UserSessions(userID), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("sessions of user: %w", err)
	}
	return s.living(ctx, userID, ids)
}

// living reads those of the ids that live and belong to the user, newest first.
func (s *Store) living(ctx context.Context, userID string, ids []string) ([]Session, error) {
	var out []Session
	for part := range slices.Chunk(ids, chunk) {
		pipe := s.rdb.Pipeline()
		var reads []func() (Session, error)
		for _, id := range part {
			if ValidID(id) {
				reads = append(reads, s.read(ctx, pipe, id))
			}
		}
		if len(reads) == 0 {
			continue
		}
		_, _ = pipe.Exec(ctx) // each command carries its own error
		for _, read := range reads {
			found, err := read()
			switch {
			case errors.Is(err, ErrNotFound):
			case err != nil:
				return nil, err
			case found.UserID == userID:
				out = append(out, found)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), b.ExpiresAt.Compare(a.ExpiresAt))
	})
	return out, nil
}

// CharacterOf tells which character a user plays: that of the newest living session that
// has one, else the last that was ever stored, else ErrNotFound.
func (s *Store) CharacterOf(ctx context.Context, userID string) (characterID string, err error) {
	pipe := s.rdb.Pipeline()
	ids := pipe.ZRange(ctx, keys.UserSessions(userID), 0, -1)
	last := pipe.Get(ctx, keys.LastCharacter(userID))
	_, _ = pipe.Exec(ctx) // each command carries its own error
	if err := ids.Err(); err != nil {
		return "", fmt.Errorf("character of user: %w", err)
	}
	if err := last.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("character of user: %w", err)
	}
	living, err := s.living(ctx, userID, ids.Val())
	if err != nil {
		return "", fmt.Errorf("character of user: %w", err)
	}
	for _, session := range living {
		if session.CharacterID != "" {
			return session.CharacterID, nil
		}
	}
	if last.Val() == "" {
		return "", ErrNotFound
	}
	return last.Val(), nil
}

// Stats are figures for operators.
type Stats struct {
	Active     int // sessions that live, on the whole Redis
	Users      int // that have one
	MaxPerUser int // sessions of the user who has most

	Created, Destroyed int64 // by this store, since it was made
}

// Stats counts the living sessions. It walks the whole keyspace (SCAN, on each master of a
// Cluster), so it is for operators and not for every second.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var mu sync.Mutex
	perUser := make(map[string]int) // guarded by mu
	count := func(ctx context.Context, rdb redis.Cmdable) error {
		return scanUsers(ctx, rdb, func(user string) {
			mu.Lock()
			defer mu.Unlock()
			perUser[user]++
		})
	}
	var err error
	if cluster, ok := s.rdb.(interface {
		ForEachMaster(context.Context, func(context.Context, *redis.Client) error) error
	}); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return count(ctx, c) })
	} else {
		err = count(ctx, s.rdb)
	}
	if err != nil {
		return Stats{}, fmt.Errorf("session stats: %w", err)
	}
	out := Stats{Users: len(perUser), Created: s.created.Load(), Destroyed: s.destroyed.Load()}
	for _, n := range perUser {
		out.Active += n
		out.MaxPerUser = max(out.MaxPerUser, n)
	}
	return out, nil
}

// scanUsers calls found with the user of every session of one server.
func scanUsers(ctx context.Context, rdb redis.Cmdable, found func(user string)) error {
	seen := make(map[string]struct{}) // SCAN may return a key twice
	for cursor := uint64(0); ; {
		page, next, err := rdb.ScanType(ctx, cursor, keys.Session("*"), chunk, "hash").Result()
		if err != nil {
			return err
		}
		pipe := rdb.Pipeline()
		for _, key := range page {
			if _, again := seen[key]; !again {
				seen[key] = struct{}{}
				pipe.HGet(ctx, key, "userId")
			}
		}
		if pipe.Len() > 0 {
			cmds, err := pipe.Exec(ctx)
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			for _, c := range cmds {
				if user := c.(*redis.StringCmd).Val(); user != "" {
					found(user)
				}
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// gone is what Redis says of a key that is not there.
const gone time.Duration = -2

// A remainder is how long a session lives: gone, -1 without expiry, or a duration.
type remainder struct {
	ttl time.Duration
	err error
}

// left asks for many sessions in one pipeline.
func (s *Store) left(ctx context.Context, ids []string) []remainder {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.DurationCmd, len(ids))
	for i, id := range ids {
		cmds[i] = pipe.PTTL(ctx, keys.Session(id))
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error
	out := make([]remainder, len(ids))
	for i, c := range cmds {
		out[i] = remainder{c.Val(), c.Err()}
	}
	return out
}
