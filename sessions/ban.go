package sessions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/identity"
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
	return parseBan(s.rdb.Get(ctx, keys.UserBan(userID)))
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
