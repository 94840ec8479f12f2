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
			if known(id) {
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
// has one, else the last that was ever stored, else ErrNotFound. On one server it is one
// round trip, which many callers share; else two.
func (s *Store) CharacterOf(ctx context.Context, userID string) (characterID string, err error) {
	if s.single {
		id, err := s.scripts.Do(ctx, characterScript, nil, userID, s.now().UnixMilli()).Text()
		switch {
		case err == nil && id == "":
			return "", ErrNotFound
		case err == nil:
			return id, nil
		case !errors.Is(err, redis.Nil) && !wrongType(err):
			return "", fmt.Errorf("character of user: %w", err)
		}
	}
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

// CharacterLua is Lua that defines character_of(user, now), with now in Unix ms: what CharacterOf says, ” for ErrNotFound, and
// false or an error where only CharacterOf can say it. For scripts on the server of the sessions; "" when there are several.
func (s *Store) CharacterLua() string {
	if !s.single {
		return ""
	}
	return characterLua
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
		cmds[i] = pipe.PTTL(ctx, key(id))
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error
	out := make([]remainder, len(ids))
	for i, c := range cmds {
		out[i] = remainder{c.Val(), c.Err()}
	}
	return out
}
