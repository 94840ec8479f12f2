package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// A Ban keeps a user from logging in and from connecting.
type Ban struct {
	Reason string    // for the player; may be empty
	Until  time.Time // by this machine's clock
}

// banValue is the JSON of a ban.
type banValue struct {
	Reason string `json:"reason"`
	Until  int64  `json:"until"` // Unix ms
}

// maxBan is how long a ban lasts at most.
const maxBan = maxTTL

// BanUser keeps a user from logging in and connecting for d, and ends all sessions of the user with
// the code BANNED, which closes their sockets on every node. A new ban replaces the one before. It
// returns how many sessions it ended. The ban is stored first: where ending the sessions fails, it
// is in force, and the call may be repeated. Errors: INVALID, and those of Redis.
func (s *Store) BanUser(ctx context.Context, userID, reason string, d time.Duration) (ended int, err error) {
	if err := identity.CheckID("user", userID); err != nil {
		return 0, err
	}
	if d < time.Second || d > maxBan {
		return 0, errBanLength
	}
	until := s.now().Add(d)
	value, err := json.Marshal(banValue{truncateText(reason), until.UnixMilli()})
	if err != nil {
		return 0, fmt.Errorf("ban user: %w", err)
	}
	if err := s.rdb.Set(ctx, keys.UserBan(userID), value, d).Err(); err != nil {
		return 0, fmt.Errorf("ban user: %w", err)
	}
	told := "Until " + until.UTC().Format(time.RFC3339) + "."
	if reason != "" {
		told = truncateText(reason) + " " + told
	}
	return s.DestroyUser(ctx, userID, Banned, told, "")
}

// UnbanUser lifts a ban. It returns ErrNotFound when there was none.
func (s *Store) UnbanUser(ctx context.Context, userID string) error {
	n, err := s.rdb.Del(ctx, keys.UserBan(userID)).Result()
	switch {
	case err != nil:
		return fmt.Errorf("unban user: %w", err)
	case n == 0:
		return ErrNotFound
	}
	return nil
}

// FindBan returns the ban of a user, or ErrNotFound. A ban that another program wrote badly is in
// force until its key expires.
func (s *Store) FindBan(ctx context.Context, userID string) (Ban, error) {
	ban, _, err := s.findBanAndRun(ctx, userID, nil)
	return ban, err
}

// findBanAndRun is FindBan that also runs a call of a script, unless it is nil. If hasRun is false,
// the call may run later, and the caller must not read its reply.
func (s *Store) findBanAndRun(ctx context.Context, userID string, call *redisx.Call) (ban Ban, hasRun bool, err error) {
	read, err := s.banReads.Do(ctx, banRead{userID: userID, call: call})
	if err != nil {
		return Ban{}, false, fmt.Errorf("find ban: %w", err)
	}
	return read.ban, true, read.err
}

// A banRead asks for the ban of one user, and holds the answer.
type banRead struct {
	userID string
	call   *redisx.Call // to be run with it; may be nil
	ban    Ban
	err    error
}

// readBans reads many bans in one round trip: each handshake asks for one, and they come in storms.
func (s *Store) readBans(ctx context.Context, all []*banRead) {
	var calls []*redisx.Call
	for _, r := range all {
		if r.call != nil {
			calls = append(calls, r.call)
		}
	}
	found := make([]*redis.StringCmd, len(all))
	redisx.RunScriptsWith(ctx, s.rdb, func(pipe redis.Pipeliner) {
		for i, r := range all {
			found[i] = pipe.Get(ctx, keys.UserBan(r.userID))
		}
	}, calls...)
	for i, r := range all {
		r.ban, r.err = parseBan(found[i])
	}
}

// parseBan reads the answer of FindBan's command.
func parseBan(read *redis.StringCmd) (Ban, error) {
	text, err := read.Result()
	switch {
	case errors.Is(err, redis.Nil), isWrongType(err):
		return Ban{}, ErrNotFound
	case err != nil:
		return Ban{}, fmt.Errorf("find ban: %w", err)
	}
	var value banValue
	_ = json.Unmarshal([]byte(text), &value) // what can not be read is left out
	ban := Ban{Reason: truncateText(value.Reason)}
	if value.Until > 0 {
		ban.Until = time.UnixMilli(value.Until)
	}
	return ban, nil
}
