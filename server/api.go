package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/internal/profiles"
	"github.com/aeturnis/realtime/keys"
)

// serviceRole is that of the game's own servers.
const serviceRole = "service"

const (
	// apiTime bounds a request that asks a source.
	apiTime = 10 * time.Second
	// staleProfile is how long after its TTL a profile is served when the source fails.
	staleProfile = time.Hour
	// boardTTL is how long a leaderboard is cached that no job warms.
	boardTTL = time.Minute
)

var boardName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// apiRoutes is what reads and writes profiles and boards. The policy `api` stands in front.
func (n *node) apiRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /api/users/{id}", n.answer(60, func(ctx context.Context, r *http.Request) (any, error) {
		return n.user(ctx, r.PathValue("id"))
	}))
	mux.Handle("GET /api/characters/{id}", n.answer(0, func(ctx context.Context, r *http.Request) (any, error) {
		return n.character(ctx, r.PathValue("id"))
	}))
	mux.Handle("PUT /api/characters/{id}", n.gateway.Identify(n.answer(0, n.putCharacter)))
	mux.Handle("GET /api/leaderboards/{name}", n.answer(10, func(ctx context.Context, r *http.Request) (any, error) {
		return n.leaderboard(ctx, r.PathValue("name"))
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fault.ErrNotFound.WriteProblem(w) })
	return mux
}

// profileOptions are those of everything that the profile source knows.
func (n *node) profileOptions() cache.Options {
	return cache.Options{
		TTL: n.cfg.CacheTTL, RefreshThreshold: 0.1, StaleFor: staleProfile, SoftTimeout: time.Second, LoadTimeout: 5 * time.Second,
	}
}

// user is a user's profile, cached. Errors: NOT_FOUND, UNAVAILABLE.
func (n *node) user(ctx context.Context, id string) (profiles.User, error) {
	if !profiles.ValidID(id) {
		return profiles.User{}, fault.ErrNotFound
	}
	return cache.Aside(ctx, n.cache, keys.User(id), func(ctx context.Context) (profiles.User, error) {
		return n.people.User(ctx, id)
	}, n.profileOptions())
}

// character is a character, cached. Errors: NOT_FOUND, UNAVAILABLE.
func (n *node) character(ctx context.Context, id string) (profiles.Character, error) {
	if !profiles.ValidID(id) {
		return profiles.Character{}, fault.ErrNotFound
	}
	return cache.Aside(ctx, n.cache, keys.Character(id), func(ctx context.Context) (profiles.Character, error) {
		return n.people.Character(ctx, id)
	}, n.profileOptions())
}

// putCharacter stores a character with the source, then in the cache.
func (n *node) putCharacter(ctx context.Context, r *http.Request) (any, error) {
	if p, _ := gateway.PlayerOf(r); !p.HasRole(serviceRole) {
		return nil, fault.ErrForbidden
	}
	var c profiles.Character
	if err := readBody(r, &c); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if c.CharacterID == "" {
		c.CharacterID = id
	}
	if c.CharacterID != id {
		return nil, fault.Invalid("characterId", "is not that of the path")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	err := cache.WriteThrough(ctx, n.cache, keys.Character(id), c, n.people.SaveCharacter, n.cfg.CacheTTL+staleProfile)
	return c, err
}

// board is what GET /api/leaderboards/{name} answers.
type board struct {
	Name    string         `json:"name"`
	Entries jsontext.Value `json:"entries"`
}

// leaderboard is the warmed list; one that nobody warmed is asked for.
func (n *node) leaderboard(ctx context.Context, name string) (board, error) {
	if !boardName.MatchString(name) {
		return board{}, fault.ErrNotFound
	}
	list, err := cache.Aside(ctx, n.cache, keys.Leaderboard(name), func(ctx context.Context) (jsontext.Value, error) {
		return n.topOf(ctx, name)
	}, cache.Options{TTL: boardTTL, NegativeTTL: -1, Jitter: -1})
	return board{name, list}, err
}

// topOf is a leaderboard's list as it is now, as JSON.
func (n *node) topOf(ctx context.Context, name string) (jsontext.Value, error) {
	list, err := n.boards.Top(ctx, name, housekeeping.BoardLength)
	if err != nil {
		return nil, err
	}
	return json.Marshal(list, json.Deterministic(true))
}

// answer serves what serve returns, as JSON with an ETag; an error is a problem. maxAge is in
// seconds; 0 has callers ask again each time, which an ETag makes cheap.
func (n *node) answer(maxAge int, serve func(ctx context.Context, r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), apiTime)
		defer cancel()
		out, err := serve(ctx, r)
		var body []byte
		if err == nil {
			body, err = json.Marshal(out, json.Deterministic(true))
		}
		if err != nil {
			n.refuse(w, r, err)
			return
		}
		sum := sha256.Sum256(body)
		tag := `"` + hex.EncodeToString(sum[:12]) + `"`
		h := w.Header()
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache")
		if maxAge > 0 {
			h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", maxAge))
		}
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodPut && matches(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n'))
	})
}

// refuse answers with a problem; what is not the caller's doing goes to the log.
func (n *node) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.Of(err)
	if f.Status() >= http.StatusInternalServerError && r.Context().Err() == nil {
		n.log.Warn("request could not be served", zap.String("path", r.Pattern), zap.Error(err))
	}
	w.Header().Set("Cache-Control", "no-store")
	f.WriteProblem(w)
}

// matches is If-None-Match (RFC 9110): weak comparison with any of a list.
func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimPrefix(strings.TrimSpace(part), "W/"); part == tag || part == "*" {
			return true
		}
	}
	return false
}

const maxAPIBody = 64 << 10 // bytes

// readBody reads a JSON object, strictly.
func readBody(r *http.Request, in any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return fault.Invalid("", "Content-Type must be application/json")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxAPIBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fault.ErrTooLarge
	case err != nil:
		return fault.Invalid("", "the body could not be read").Because(err)
	}
	err = json.Unmarshal(raw, in, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &semantic):
		return fault.Invalid(strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", "."), "unknown, or of the wrong type").Because(err)
	}
	return fault.Invalid("", "not valid JSON").Because(err)
}
