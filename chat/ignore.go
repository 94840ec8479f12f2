package chat

import (
	"context"
	_ "embed"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// MaxIgnored is how many users one user may ignore.
const MaxIgnored = 200

// ErrTooManyIgnored refuses to ignore one more user.
var ErrTooManyIgnored = fault.New("TOO_MANY_IGNORED", "You ignore as many players as you may.").With("limit", MaxIgnored)

//go:embed add_ignored.lua
var addIgnoredLua string

var addIgnoredScript = redisx.NewScript(addIgnoredLua)

// IgnoreRequest names the user whom the caller wants to ignore, or not to ignore any more.
type IgnoreRequest struct {
	UserID string `json:"userId" validate:"required,id"`
}

// Ignored answers user:ignore and user:unignore.
type Ignored struct {
	UserID string `json:"userId"`
	Total  int    `json:"total"` // users whom the caller ignores now, at most 200
}

// IgnoredUsers answers user:ignored.
type IgnoredUsers struct {
	Users []string `json:"users"` // user ids, sorted
}

// Ignore makes the caller deaf to a user on all devices, from now on: the user's whispers, proposed
// trades and challenges do not arrive. The user is not told: whispers are answered as if the caller
// were offline, the others as if the caller did not react. Ignoring twice is the same as ignoring
// once. Errors: INVALID, TOO_MANY_IGNORED {limit}, UNAVAILABLE.
func (s *Service) Ignore(ctx context.Context, p event.Player, in IgnoreRequest) (Ignored, error) {
	if in.UserID == p.UserID {
		return Ignored{}, fault.Invalid("userId", "another user's id")
	}
	total, err := s.ignores.addIgnored(ctx, p.UserID, in.UserID)
	return Ignored{UserID: in.UserID, Total: total}, err
}

// Unignore ends what user:ignore began. It is no error when the caller does not ignore the user.
// Errors: INVALID, UNAVAILABLE.
func (s *Service) Unignore(ctx context.Context, p event.Player, in IgnoreRequest) (Ignored, error) {
	total, err := s.ignores.removeIgnored(ctx, p.UserID, in.UserID)
	return Ignored{UserID: in.UserID, Total: total}, err
}

// ListIgnored lists the users whom the caller ignores. Errors: UNAVAILABLE.
func (s *Service) ListIgnored(ctx context.Context, p event.Player, _ event.None) (IgnoredUsers, error) {
	users, err := s.ignores.listIgnored(ctx, p.UserID)
	return IgnoredUsers{Users: users}, err
}

// Ignores reports whether a user ignores another one. With an error, the answer is what this node
// knew last. Errors: UNAVAILABLE.
func (s *Service) Ignores(ctx context.Context, userID, otherID string) (bool, error) {
	return s.ignores.hasIgnored(ctx, userID, otherID)
}

const (
	// ignoreMemory is how many pairs of users a node remembers.
	ignoreMemory = 8192
	// ignorePause is for how long Redis is not asked after it did not answer.
	ignorePause = 500 * time.Millisecond
)

// ignoreLists are the users whom each user ignores, in Redis. Each question is asked there, so an
// answer is never old. For the time when Redis is away, the node remembers the pairs of which it
// learned last that one ignores the other.
type ignoreLists struct {
	rdb   redis.UniversalClient // nil: nobody ignores anybody
	limit time.Duration         // for a question
	now   func() time.Time

	mu          sync.Mutex
	known       map[ignoredPair]struct{} // guarded by mu
	pausedUntil time.Time                // guarded by mu
}

// An ignoredPair is a user who ignores another.
type ignoredPair struct{ userID, otherID string }

// errIgnoresPaused says that Redis did not answer a moment ago.
var errIgnoresPaused = fault.Unavailable(feature, redisx.RetryAfter, nil)

// hasIgnored reports whether a user ignores another. With an error, the answer is what this node
// knew last.
func (l *ignoreLists) hasIgnored(ctx context.Context, userID, otherID string) (bool, error) {
	if l.rdb == nil {
		return false, nil
	}
	pair := ignoredPair{userID, otherID}
	l.mu.Lock()
	_, was := l.known[pair]
	isPaused := l.now().Before(l.pausedUntil)
	l.mu.Unlock()
	if isPaused {
		return was, errIgnoresPaused
	}
	within, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	is, err := l.rdb.SIsMember(within, keys.IgnoredUsers(userID), otherID).Result()
	if err != nil {
		if ctx.Err() == nil {
			l.mu.Lock()
			l.pausedUntil = l.now().Add(ignorePause)
			l.mu.Unlock()
			if within.Err() != nil {
				return was, fault.Unavailable(feature, redisx.RetryAfter, err)
			}
		}
		return was, wrapIgnoreError(ctx, userID, err)
	}
	l.rememberPair(pair, is)
	return is, nil
}

// rememberPair notes whether a user ignores another. When there are too many pairs, any other is
// forgotten.
func (l *ignoreLists) rememberPair(pair ignoredPair, isIgnored bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isIgnored {
		delete(l.known, pair)
		return
	}
	for other := range l.known {
		if len(l.known) < ignoreMemory {
			break
		}
		delete(l.known, other)
	}
	if l.known == nil {
		l.known = map[ignoredPair]struct{}{}
	}
	l.known[pair] = struct{}{}
}

// addIgnored returns how many a user ignores, with the new one.
func (l *ignoreLists) addIgnored(ctx context.Context, userID, otherID string) (total int, err error) {
	if l.rdb == nil {
		return 0, errIgnoresPaused
	}
	total, err = addIgnoredScript.Do(ctx, l.rdb, []string{keys.IgnoredUsers(userID)}, otherID, MaxIgnored).Int()
	switch {
	case err != nil:
		return 0, wrapIgnoreError(ctx, userID, err)
	case total < 0:
		return 0, ErrTooManyIgnored
	}
	l.rememberPair(ignoredPair{userID, otherID}, true)
	return total, nil
}

// removeIgnored returns how many a user ignores, without the other.
func (l *ignoreLists) removeIgnored(ctx context.Context, userID, otherID string) (total int, err error) {
	if l.rdb == nil {
		return 0, errIgnoresPaused
	}
	var left *redis.IntCmd
	_, err = l.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.SRem(ctx, keys.IgnoredUsers(userID), otherID)
		left = p.SCard(ctx, keys.IgnoredUsers(userID))
		return nil
	})
	if err != nil {
		return 0, wrapIgnoreError(ctx, userID, err)
	}
	l.rememberPair(ignoredPair{userID, otherID}, false)
	return int(left.Val()), nil
}

func (l *ignoreLists) listIgnored(ctx context.Context, userID string) ([]string, error) {
	if l.rdb == nil {
		return []string{}, nil
	}
	users, err := l.rdb.SMembers(ctx, keys.IgnoredUsers(userID)).Result()
	if err != nil {
		return nil, wrapIgnoreError(ctx, userID, err)
	}
	slices.Sort(users)
	return users, nil
}

func wrapIgnoreError(ctx context.Context, userID string, err error) error {
	return redisx.WrapFault(ctx, feature, "whom "+userID+" ignores", err)
}
