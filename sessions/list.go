package sessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// List returns the living sessions of a user, newest first. A session that another program created
// is listed once it has been touched here. It takes two round trips.
func (s *Store) List(ctx context.Context, userID string) ([]Session, error) {
	ids, err := s.rdb.ZRange(ctx, keys.UserSessions(userID), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list sessions of user: %w", err)
	}
	return s.readLivingSessions(ctx, userID, ids)
}

// readLivingSessions returns the sessions among ids that live and belong to the user, newest first.
func (s *Store) readLivingSessions(ctx context.Context, userID string, ids []string) ([]Session, error) {
	var out []Session
	for part := range slices.Chunk(ids, pipelineSize) {
		pipe := s.rdb.Pipeline()
		var reads []func() (Session, error)
		for _, id := range part {
			if isKnownID(id) {
				reads = append(reads, s.queueSessionRead(ctx, pipe, id))
			}
		}
		if len(reads) == 0 {
			continue
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
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

// ttlNoKey is what PTTL answers for a key that does not exist.
const ttlNoKey time.Duration = -2

// A remainingTTL is how long a session still lives: a duration, -1 for no expiry, or ttlNoKey.
type remainingTTL struct {
	ttl time.Duration
	err error
}

// readRemainingTTLs reads the remaining lives of many sessions in one pipeline.
func (s *Store) readRemainingTTLs(ctx context.Context, ids []string) []remainingTTL {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.DurationCmd, len(ids))
	for i, id := range ids {
		cmds[i] = pipe.PTTL(ctx, sessionKey(id))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := make([]remainingTTL, len(ids))
	for i, c := range cmds {
		out[i] = remainingTTL{c.Val(), c.Err()}
	}
	return out
}
