package server

import (
	"bytes"
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
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/profiles"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/leaderboard"
)

// serviceRole is the role of the game's own servers.
const serviceRole = "service"

const (
	// apiTimeout bounds a request that asks a source.
	apiTimeout = 10 * time.Second
	// boardTTL is how long a leaderboard is cached that no job warms.
	boardTTL = time.Minute
)

var boardName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// profileAPI serves what reads and writes profiles and leaderboards over HTTP.
type profileAPI struct {
	profiles    *profileReader
	leaderboard *leaderboard.Service
	cache       *cache.Manager
	identify    func(http.Handler) http.Handler // refuses callers without a session
	log         *zap.Logger
}

// routes returns the handler of /api/. The policy `api` stands in front of it.
func (a *profileAPI) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /api/users/{id}", a.serveJSON(60, func(ctx context.Context, r *http.Request) (any, error) {
		return a.profiles.readUser(ctx, r.PathValue("id"))
	}))
	mux.Handle("GET /api/characters/{id}", a.serveJSON(0, func(ctx context.Context, r *http.Request) (any, error) {
		return a.profiles.readCharacter(ctx, r.PathValue("id"))
	}))
	mux.Handle("PUT /api/characters/{id}", a.identify(a.serveJSON(0, a.putCharacter)))
	mux.Handle("GET /api/leaderboards/{name}", a.serveJSON(10, func(ctx context.Context, r *http.Request) (any, error) {
		return a.readLeaderboard(ctx, r.PathValue("name"))
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fault.ErrNotFound.WriteProblem(w) })
	return mux
}

// putCharacter stores a character for one of the game's servers.
func (a *profileAPI) putCharacter(ctx context.Context, r *http.Request) (any, error) {
	if p, _ := gateway.PlayerOf(r); !p.HasRole(serviceRole) {
		return nil, fault.ErrForbidden
	}
	var c profiles.Character
	if err := readJSONBody(r, &c); err != nil {
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
	c = c.Clean()
	return c, a.profiles.saveCharacter(ctx, c)
}

// board is what GET /api/leaderboards/{name} answers.
type board struct {
	Name    string         `json:"name"`
	Entries jsontext.Value `json:"entries"`
}

// readLeaderboard returns the list that a job has warmed, or the list as it is now.
func (a *profileAPI) readLeaderboard(ctx context.Context, name string) (board, error) {
	if !boardName.MatchString(name) {
		return board{}, fault.ErrNotFound
	}
	list, err := cache.Aside(ctx, a.cache, keys.Leaderboard(name), func(ctx context.Context) (jsontext.Value, error) {
		top, err := a.leaderboard.Top(ctx, name, housekeeping.BoardLength)
		if err != nil {
			return nil, err
		}
		return json.Marshal(top, json.Deterministic(true))
	}, cache.Options{TTL: boardTTL, NegativeTTL: -1, Jitter: -1})
	return board{name, list}, err
}

// serveJSON answers what serve returns as JSON with an ETag, and an error as a problem. maxAge is
// in seconds; with 0 callers ask again each time, which the ETag makes cheap.
func (a *profileAPI) serveJSON(maxAge int, serve func(ctx context.Context, r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), apiTimeout)
		defer cancel()
		out, err := serve(ctx, r)
		var body []byte
		if err == nil {
			body, err = json.Marshal(out, json.Deterministic(true))
		}
		if err != nil {
			a.writeProblem(w, r, err)
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
		if r.Method != http.MethodPut && matchesETag(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n'))
	})
}

// writeProblem answers with a problem. What is not the caller's fault goes to the log.
func (a *profileAPI) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.Of(err)
	if f.Status() >= http.StatusInternalServerError && r.Context().Err() == nil {
		p, _ := gateway.PlayerOf(r)
		a.log.Warn("request could not be served", zap.String("path", r.Pattern), zap.String("user", p.UserID),
			zap.String("session", identity.SessionTag(p.SessionID)), zap.Error(err))
	}
	w.Header().Set("Cache-Control", "no-store")
	f.WriteProblem(w)
}

// matchesETag reports whether If-None-Match (RFC 9110) names the tag: a weak comparison with any of
// a list.
func matchesETag(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimPrefix(strings.TrimSpace(part), "W/"); part == tag || part == "*" {
			return true
		}
	}
	return false
}

const maxAPIBody = 64 << 10 // bytes

// readJSONBody reads a JSON object strictly: an unknown member is an error.
func readJSONBody(r *http.Request, in any) error {
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
	if body := bytes.TrimSpace(raw); len(body) == 0 || body[0] != '{' {
		return fault.Invalid("", "expected an object")
	}
	return event.Decode(raw, in)
}
