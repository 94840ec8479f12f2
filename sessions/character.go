package sessions

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

//go:embed character.lua
var characterSource string

// characterLua is character.lua behind the keys that it needs.
var characterLua = characterKeysLua() + characterSource

func characterKeysLua() string {
	const user = "\x00"
	ofBefore, ofAfter, _ := strings.Cut(keys.UserSessions(user), user)
	lastBefore, lastAfter, _ := strings.Cut(keys.LastCharacter(user), user)
	return fmt.Sprintf("local SESSION, SESSIONS_BEFORE, SESSIONS_AFTER, LAST_BEFORE, LAST_AFTER = %q, %q, %q, %q, %q\n",
		keys.Session(""), ofBefore, ofAfter, lastBefore, lastAfter)
}

// characterScript runs on one server only: it builds the keys that it reads.
var characterScript = redisx.NewMergingScript(redisx.ScriptParts{Before: characterLua, Each: "return character_of(ARGV[1], tonumber(ARGV[2]))\n"})

// CharacterOf returns the character that a user plays: the one of the newest living session that
// has one, or else the last one that was ever stored, or else ErrNotFound. On one server it takes
// one round trip, which many callers share; otherwise two.
func (s *Store) CharacterOf(ctx context.Context, userID string) (characterID string, err error) {
	if s.isSingleServer {
		id, err := s.scripts.Do(ctx, characterScript, nil, userID, s.now().UnixMilli()).Text()
		switch {
		case err == nil && id == "":
			return "", ErrNotFound
		case err == nil:
			return id, nil
		case !errors.Is(err, redis.Nil) && !isWrongType(err):
			return "", fmt.Errorf("read character of user: %w", err)
		}
	}
	pipe := s.rdb.Pipeline()
	ids := pipe.ZRange(ctx, keys.UserSessions(userID), 0, -1)
	last := pipe.Get(ctx, keys.LastCharacter(userID))
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := ids.Err(); err != nil {
		return "", fmt.Errorf("read character of user: %w", err)
	}
	if err := last.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read character of user: %w", err)
	}
	living, err := s.readLivingSessions(ctx, userID, ids.Val())
	if err != nil {
		return "", fmt.Errorf("read character of user: %w", err)
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

// CharacterLua returns the text of a Lua function character_of(user, now), with now in Unix
// milliseconds, for scripts that run on the server of the sessions. The function returns the
// character as CharacterOf does, the empty string instead of ErrNotFound, and false (or raises an
// error) where only CharacterOf can tell. CharacterLua returns "" when there are several servers.
func (s *Store) CharacterLua() string {
	if !s.isSingleServer {
		return ""
	}
	return characterLua
}
