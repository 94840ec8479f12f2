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

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// This file is about the sessions of another program: those that express-session keeps
// with connect-redis, as JSON under sess:<id>. They are read, slid and ended here as well as there, and never
// written: express-session would overwrite what it did not write itself.

// ErrForeign refuses what only the program can do that opened the session.
var ErrForeign = fault.New(fault.ErrForbidden.Code, "That session belongs to the site that opened it.")

const (
	express      = "express:"
	maxForeign   = 1 << 20        // bytes of such a session
	expressTTL   = 24 * time.Hour // connect-redis's own, for cookies without maxAge
	maxForeigner = 128            // bytes of what names a user there
)

// ExpressID is the id under which a session of express-session is known here. No id that
// ValidID accepts is one of these: who presents them must have shown their signed cookie.
func ExpressID(id string) string { return express + id }

// foreign tells whether an id is one of ExpressID, and which.
func foreign(id string) (string, bool) {
	sid, ok := strings.CutPrefix(id, express)
	return sid, ok && ValidID(sid)
}

// known tells whether an id has one of the two forms.
func known(id string) bool {
	_, ok := foreign(id)
	return ok || ValidID(id)
}

// key is where a session is.
func key(id string) string {
	if sid, ok := foreign(id); ok {
		return keys.ExpressSession(sid)
	}
	return keys.Session(id)
}

//go:embed touch_express.lua
var touchExpressSource string

//go:embed destroy_express.lua
var destroyExpressSource string

var (
	touchExpressScript   = newScript(touchExpressSource)
	destroyExpressScript = newScript(destroyExpressSource)
)

// touchCall slides a session of either kind.
func (s *Store) touchCall(id string, now time.Time) call {
	if _, ok := foreign(id); ok {
		return call{script: touchExpressScript, key: key(id), args: []any{ms(expressTTL.Milliseconds())}}
	}
	return call{script: touchScript, key: key(id), args: []any{ms(now.UnixMilli()), ms(s.cfg.TTL.Milliseconds())}}
}

// destroyCall ends a session of either kind.
func destroyCall(id, message string) call {
	if _, ok := foreign(id); ok {
		return call{script: destroyExpressScript, key: key(id), args: []any{keys.Revocations, message}}
	}
	return call{script: destroyScript, key: key(id), args: []any{keys.Revocations, message}}
}

// readExpress queues what reads such a session; call the result after Exec.
func (s *Store) readExpress(ctx context.Context, pipe redis.Pipeliner, id string) func() (Session, error) {
	text, ttl := pipe.Get(ctx, key(id)), pipe.PTTL(ctx, key(id))
	return func() (Session, error) {
		switch err := text.Err(); {
		case errors.Is(err, redis.Nil), wrongType(err):
			return Session{}, ErrNotFound
		case errors.Join(err, ttl.Err()) != nil:
			return Session{}, fmt.Errorf("session get: %w", errors.Join(err, ttl.Err()))
		}
		if out, ok := s.decodeExpress(id, text.Val(), ttl.Val()); ok {
			return out, nil
		}
		return Session{}, ErrNotFound
	}
}

// Where what we need stands in such a session; the first that is there counts. The middle
// ones are what tutorials do, the last ones passport's.
var (
	expressUser      = []string{"userId", "user.id", "user.userId", "user._id", "passport.user.id", "passport.user._id", "passport.user", "user"}
	expressName      = []string{"username", "user.username", "user.name", "passport.user.username", "passport.user.displayName"}
	expressCharacter = []string{"characterId", "user.characterId", "passport.user.characterId"}
	expressRoles     = []string{"roles", "user.roles", "passport.user.roles"}
)

// decodeExpress reads what express-session wrote. Without a user nobody has logged in: no session.
func (s *Store) decodeExpress(id, text string, left time.Duration) (Session, bool) {
	var all map[string]any
	if len(text) > maxForeign || json.Unmarshal([]byte(text), &all) != nil || left == gone {
		return Session{}, false
	}
	out := Session{ID: id, UserID: first(all, expressUser), Username: first(all, expressName), CharacterID: first(all, expressCharacter), TTL: expressTTL}
	if out.Username == "" {
		out.Username = out.UserID
	}
	if !printable(out.UserID) || !printable(out.Username) || out.CharacterID != "" && !printable(out.CharacterID) {
		return Session{}, false
	}
	for _, path := range expressRoles {
		list, ok := at(all, path).([]any)
		if !ok {
			continue
		}
		for _, r := range list {
			if role, ok := r.(string); ok && printable(role) && len(out.Roles) < 64 {
				out.Roles = append(out.Roles, role)
			}
		}
		break
	}
	if age, ok := at(all, "cookie.originalMaxAge").(float64); ok && age >= 1 && age <= float64(maxTTL.Milliseconds()) {
		out.TTL = time.Duration(age) * time.Millisecond
	}
	if left < 0 {
		left = out.TTL
	}
	out.ExpiresAt = s.now().Add(left)
	return out, true
}

// first is the text, or whole number, at the first path that has one.
func first(all map[string]any, paths []string) string {
	for _, path := range paths {
		switch v := at(all, path).(type) {
		case string:
			if v != "" && len(v) <= maxForeigner {
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

// at is the value at a path, or nil.
func at(all map[string]any, path string) any {
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

// playAs remembers the character of a user whose session is not ours to write.
func (s *Store) playAs(ctx context.Context, id, characterID string) (Session, error) {
	out, err := s.Get(ctx, id)
	if err != nil {
		return Session{}, err
	}
	if err := s.rdb.Set(ctx, keys.LastCharacter(out.UserID), characterID, 0).Err(); err != nil {
		return Session{}, fmt.Errorf("session update character: %w", err)
	}
	out.CharacterID = characterID
	return out, nil
}

// getExpress reads such a session; its user plays whom they last played.
func (s *Store) getExpress(ctx context.Context, id string) (Session, error) {
	pipe := s.rdb.Pipeline()
	read := s.readExpress(ctx, pipe, id)
	_, _ = pipe.Exec(ctx) // each command carries its own error
	out, err := read()
	if err != nil || out.CharacterID != "" {
		return out, err
	}
	last, err := s.rdb.Get(ctx, keys.LastCharacter(out.UserID)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return Session{}, fmt.Errorf("session get: %w", err)
	}
	out.CharacterID = last
	return out, nil
}
