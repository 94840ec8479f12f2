package sessions

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// Touch slides a living session: it moves the expiry to a full TTL from now, but not past the
// absolute lifetime, and returns it. It returns ErrNotFound when the session does not live: a touch
// never revives one.
func (s *Store) Touch(ctx context.Context, id string) (expiresAt time.Time, err error) {
	if !isKnownID(id) {
		return time.Time{}, ErrNotFound
	}
	one := []touchRequest{{id: id}}
	s.touchSessions(ctx, one)
	if one[0].err != nil {
		return time.Time{}, one[0].err
	}
	return s.now().Add(one[0].left), nil
}

// TouchInterval is how often it is worth storing the activity of a session: a tenth of its TTL, 15
// seconds at most. Callers of Touch should not touch a session more often.
func TouchInterval(ttl time.Duration) time.Duration { return min(ttl/10, maxTouchInterval) }

// A touchRequest is one session to be touched, and the result.
type touchRequest struct {
	id     string
	userID string // "": do not repair the user's index
	// lastCharacter is stored as the user's last character where Redis has none yet; "" is not.
	lastCharacter string
	expiry        time.Time // about when the session will expire, for the index

	left, ttl time.Duration
	err       error // ErrNotFound when the session does not live
}

// touchSessions touches many sessions in one pipeline, and repairs the indexes of their users.
func (s *Store) touchSessions(ctx context.Context, touches []touchRequest) {
	now := s.now()
	calls := make([]*redisx.Call, 0, 2*len(touches))
	for i := range touches {
		calls = append(calls, s.touchCall(touches[i].id, now))
	}
	for i := range touches {
		if t := &touches[i]; t.userID != "" {
			calls = append(calls, s.indexLivingCall(t.userID, t.id, now, t.expiry))
		}
	}
	redisx.RunScriptsWith(ctx, s.rdb, func(pipe redis.Pipeliner) {
		for i := range touches {
			if t := &touches[i]; t.userID != "" && t.lastCharacter != "" {
				pipe.SetNX(ctx, keys.LastCharacter(t.userID), t.lastCharacter, 0)
			}
		}
	}, calls...)
	for i := range touches {
		t := &touches[i]
		reply, err := calls[i].Int64Slice()
		switch {
		case isWrongType(err):
			t.err = ErrNotFound
		case err != nil:
			t.err = fmt.Errorf("touch session: %w", err)
		case len(reply) != 2 || reply[0] < 0:
			t.err = ErrNotFound
		default:
			t.left, t.ttl = time.Duration(reply[0])*time.Millisecond, time.Duration(reply[1])*time.Millisecond
		}
	}
}

// Extend gives a living session another TTL, which counts from now on and may be shorter than the
// old one; the absolute lifetime stays. It returns when the session will expire. The error is
// ErrNotFound when the session does not live, and an INVALID fault when ttl is less than a
// millisecond or more than ten years.
func (s *Store) Extend(ctx context.Context, id string, ttl time.Duration) (expiresAt time.Time, err error) {
	if ttl < time.Millisecond || ttl > maxTTL {
		return time.Time{}, fault.Invalid("ttl", "between a millisecond and ten years")
	}
	if !ValidID(id) {
		return time.Time{}, ErrNotFound
	}
	left, err := extendScript.Do(ctx, s.rdb, []string{keys.Session(id)}, formatInt(s.now().UnixMilli()), formatInt(ttl.Milliseconds())).Int64()
	switch {
	case isWrongType(err):
		return time.Time{}, ErrNotFound
	case err != nil:
		return time.Time{}, fmt.Errorf("extend session: %w", err)
	case left < 0:
		return time.Time{}, ErrNotFound
	}
	return s.now().Add(time.Duration(left) * time.Millisecond), nil
}
