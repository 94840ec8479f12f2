package sessions

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// Touch slides a living session to its full TTL, but not past its absolute lifetime, and
// returns when it will expire. ErrNotFound when it does not live: a touch revives nothing.
func (s *Store) Touch(ctx context.Context, id string) (expiresAt time.Time, err error) {
	if !known(id) {
		return time.Time{}, ErrNotFound
	}
	one := []touch{{id: id}}
	s.touch(ctx, one)
	if one[0].err != nil {
		return time.Time{}, one[0].err
	}
	return s.now().Add(one[0].left), nil
}

// TouchInterval is how often the activity of a session is worth storing: a tenth of its
// TTL, 15 s at most. Whoever slides sessions should not do it more often.
func TouchInterval(ttl time.Duration) time.Duration { return min(ttl/10, maxInterval) }

// A touch is one session to be slid, and what came of it.
type touch struct {
	id     string
	userID string // "": leave the user's index alone
	// lastCharacter is remembered for the user where none is yet; "" is not.
	lastCharacter string
	expiry        time.Time // for the index: about when it will expire

	left, ttl time.Duration
	err       error // ErrNotFound when the session does not live
}

// touch slides many sessions in one pipeline, and repairs the indexes of their users.
func (s *Store) touch(ctx context.Context, touches []touch) {
	now := s.now()
	calls := make([]call, 0, 2*len(touches))
	for i := range touches {
		calls = append(calls, s.touchCall(touches[i].id, now))
	}
	for i := range touches {
		if t := &touches[i]; t.userID != "" {
			calls = append(calls, s.index(t.userID, t.id, now, t.expiry))
		}
	}
	run(ctx, s.rdb, calls, func(pipe redis.Pipeliner) {
		for i := range touches {
			if t := &touches[i]; t.userID != "" && t.lastCharacter != "" {
				pipe.SetNX(ctx, keys.LastCharacter(t.userID), t.lastCharacter, 0)
			}
		}
	})
	for i := range touches {
		t := &touches[i]
		reply, err := calls[i].cmd.Int64Slice()
		switch {
		case wrongType(err):
			t.err = ErrNotFound
		case err != nil:
			t.err = fmt.Errorf("session touch: %w", err)
		case len(reply) != 2 || reply[0] < 0:
			t.err = ErrNotFound
		default:
			t.left, t.ttl = time.Duration(reply[0])*time.Millisecond, time.Duration(reply[1])*time.Millisecond
		}
	}
}

// Extend gives a living session another TTL, which starts now and by which it slides from
// now on; the absolute lifetime still caps it. It returns when the session will expire;
// ErrNotFound when it does not live, an INVALID fault when ttl is not positive or over ten years.
func (s *Store) Extend(ctx context.Context, id string, ttl time.Duration) (expiresAt time.Time, err error) {
	if ttl < time.Millisecond || ttl > maxTTL {
		return time.Time{}, fault.Invalid("ttl", "between a millisecond and ten years")
	}
	if !ValidID(id) {
		return time.Time{}, ErrNotFound
	}
	left, err := call1(ctx, s.rdb, extendScript, keys.Session(id), ms(s.now().UnixMilli()), ms(ttl.Milliseconds())).Int64()
	switch {
	case wrongType(err):
		return time.Time{}, ErrNotFound
	case err != nil:
		return time.Time{}, fmt.Errorf("session extend: %w", err)
	case left < 0:
		return time.Time{}, ErrNotFound
	}
	return s.now().Add(time.Duration(left) * time.Millisecond), nil
}
