package sessions

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// This file is about sessions of another program: express-session keeps them as JSON under
// sess:<id>, through connect-redis. We read, slide and end them, and never write their text,
// because express-session would overwrite our changes.

// ErrExpressSession refuses an operation that only the site that opened the session can do.
var ErrExpressSession = fault.New(fault.ErrForbidden.Code, "That session belongs to the site that opened it.")

const (
	expressPrefix   = "express:"
	maxExpressBytes = 1 << 20        // bytes of such a session's text
	expressTTL      = 24 * time.Hour // the default of connect-redis, for cookies without maxAge
	maxExpressName  = 4096           // bytes of a text that is read; an id has a bound of its own
)

// ExpressID returns the id that this package uses for a session of express-session. ValidID accepts
// none of these ids, so a client cannot present one: it must show the signed cookie.
func ExpressID(id string) string { return expressPrefix + id }

// cutExpressPrefix reports whether id is one of ExpressID, and returns the id that express-session
// uses.
func cutExpressPrefix(id string) (string, bool) {
	sid, ok := strings.CutPrefix(id, expressPrefix)
	return sid, ok && ValidID(sid)
}

// isKnownID reports whether id has the form of ValidID or of ExpressID.
func isKnownID(id string) bool {
	_, ok := cutExpressPrefix(id)
	return ok || ValidID(id)
}

// sessionKey is the Redis key of a session of either kind.
func sessionKey(id string) string {
	if sid, ok := cutExpressPrefix(id); ok {
		return keys.ExpressSession(sid)
	}
	return keys.Session(id)
}

//go:embed touch_express.lua
var touchExpressSource string

//go:embed destroy_express.lua
var destroyExpressSource string

var touchExpressScript = redisx.NewScript(touchExpressSource)

// touchCall is the call that slides a session of either kind.
func (s *Store) touchCall(id string, now time.Time) *redisx.Call {
	if _, ok := cutExpressPrefix(id); ok {
		return &redisx.Call{Script: touchExpressScript, Keys: []string{sessionKey(id)}, Args: []any{formatInt(expressTTL.Milliseconds())}}
	}
	return &redisx.Call{Script: touchScript, Keys: []string{sessionKey(id)}, Args: []any{formatInt(now.UnixMilli()), formatInt(s.cfg.TTL.Milliseconds())}}
}

// destroyCall is the call that ends a session of either kind.
func (s *Store) destroyCall(id, message string) *redisx.Call {
	if _, ok := cutExpressPrefix(id); ok {
		return &redisx.Call{Script: s.destroyExpressScript, Keys: []string{sessionKey(id)}, Args: []any{keys.Revocations, message}}
	}
	args := []any{keys.Revocations, message, formatInt(endKnownFor.Milliseconds())}
	if s.isSingleServer { // the script removes it from the index: it must not be taken for one that expired
		args = append(args, userIndexPrefix, userIndexSuffix, id)
	}
	return &redisx.Call{Script: s.destroyScript, Keys: []string{sessionKey(id), keys.RenewedSession(id)}, Args: args}
}

// queueExpressRead queues the commands that read such a session. Call the result after Exec.
func (s *Store) queueExpressRead(ctx context.Context, pipe redis.Pipeliner, id string) func() (Session, error) {
	text, ttl := pipe.Get(ctx, sessionKey(id)), pipe.PTTL(ctx, sessionKey(id))
	return func() (Session, error) {
		switch err := text.Err(); {
		case errors.Is(err, redis.Nil), isWrongType(err):
			return Session{}, ErrNotFound
		case errors.Join(err, ttl.Err()) != nil:
			return Session{}, fmt.Errorf("read session: %w", errors.Join(err, ttl.Err()))
		}
		if out, ok := s.decodeExpress(id, text.Val(), ttl.Val()); ok {
			return out, nil
		}
		return Session{}, ErrNotFound
	}
}

// These are the paths at which sites keep what we need; the first one with a value counts.
// Tutorials use the ones in the middle, passport uses the last ones.
var (
	expressUser      = []string{"userId", "user.id", "user.userId", "user._id", "passport.user.id", "passport.user._id", "passport.user", "user"}
	expressName      = []string{"username", "user.username", "user.name", "passport.user.username", "passport.user.displayName"}
	expressCharacter = []string{"characterId", "user.characterId", "passport.user.characterId"}
	expressRoles     = []string{"roles", "user.roles", "passport.user.roles"}
)

// decodeExpress reads the text of express-session. It returns false when the text names no user,
// since nobody has logged in then.
func (s *Store) decodeExpress(id, text string, left time.Duration) (Session, bool) {
	var all map[string]any
	if len(text) > maxExpressBytes || json.Unmarshal([]byte(text), &all, jsontext.AllowInvalidUTF8(true)) != nil || left == ttlNoKey {
		return Session{}, false
	}
	out := Session{ID: id, UserID: firstText(all, expressUser), Username: firstText(all, expressName), CharacterID: firstText(all, expressCharacter), TTL: expressTTL}
	if strings.ContainsRune(out.UserID+out.CharacterID, utf8.RuneError) {
		return Session{}, false // half a surrogate pair was read as that character: ids would be equal
	}
	if !identity.IsID(out.UserID) || out.CharacterID != "" && !identity.IsID(out.CharacterID) {
		return Session{}, false
	}
	out.Username = identity.DisplayName(out.Username, out.UserID)
	for _, path := range expressRoles {
		list, ok := valueAtPath(all, path).([]any)
		if !ok {
			continue
		}
		for _, r := range list {
			if role, ok := r.(string); ok && identity.IsID(role) && len(out.Roles) < 64 {
				out.Roles = append(out.Roles, role)
			}
		}
		break
	}
	if age, ok := valueAtPath(all, "cookie.originalMaxAge").(float64); ok && age >= 1 && age <= float64(maxTTL.Milliseconds()) {
		out.TTL = time.Duration(age) * time.Millisecond
	}
	if left < 0 {
		left = out.TTL
	}
	out.ExpiresAt = s.now().Add(left)
	return out, true
}

// firstText returns the text, or the whole number, at the first path that has one.
func firstText(all map[string]any, paths []string) string {
	for _, path := range paths {
		switch v := valueAtPath(all, path).(type) {
		case string:
			if v != "" && len(v) <= maxExpressName {
				return v
			}
		case float64:
			if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
				return strconv.FormatFloat(v, 'f', 0, 64)
			}
		}
	}
	return ""
}

// valueAtPath returns the value at a dotted path, or nil.
func valueAtPath(all map[string]any, path string) any {
	for {
		name, rest, more := strings.Cut(path, ".")
		v := all[name]
		if !more {
			return v
		}
		if all, _ = v.(map[string]any); all == nil {
			return nil
		}
		path = rest
	}
}

// rememberCharacter stores the character for the user, since the session is not ours to write.
func (s *Store) rememberCharacter(ctx context.Context, id, characterID string) (Session, error) {
	out, err := s.Get(ctx, id)
	if err != nil {
		return Session{}, err
	}
	if err := s.rdb.Set(ctx, keys.LastCharacter(out.UserID), characterID, 0).Err(); err != nil {
		return Session{}, fmt.Errorf("update session: characterId: %w", err)
	}
	out.CharacterID = characterID
	return out, nil
}

// getExpressSession reads such a session. Where the session names no character, it is the last one
// that the user played.
func (s *Store) getExpressSession(ctx context.Context, id string) (Session, error) {
	pipe := s.rdb.Pipeline()
	read := s.queueExpressRead(ctx, pipe, id)
	_, _ = pipe.Exec(ctx) // each command has its own error
	out, err := read()
	if err != nil || out.CharacterID != "" {
		return out, err
	}
	last, err := s.rdb.Get(ctx, keys.LastCharacter(out.UserID)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return Session{}, fmt.Errorf("read session: %w", err)
	}
	out.CharacterID = last
	return out, nil
}
