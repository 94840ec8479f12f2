package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A studio is a profile service that can be well, slow or away.
type studio struct {
	*httptest.Server
	asked atomic.Int64
	down  atomic.Bool
	saved atomic.Pointer[string]
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	s := &studio{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		switch {
		case s.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.Method == http.MethodPut:
			b, _ := io.ReadAll(r.Body)
			text := string(b)
			s.saved.Store(&text)
		case r.URL.Path == "/users/ann":
			_, _ = io.WriteString(w, `{"userId":"ann","username":"Ann","level":7,"createdAt":1}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestUsersComeFromTheProfileService(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	url := redistest.URL(t)
	a, b := serve(t, "--redis", url, "--profiles-url", s.URL), serve(t, "--redis", url, "--profiles-url", s.URL)
	for _, g := range []*gate{a, b, a, b} {
		got := do(t, "GET", g.public+"/api/users/ann", "")
		require.Equal(t, 200, got.status, "%s", got.body)
		require.Equal(t, "Ann", got.json(t)["username"])
		require.Equal(t, "public, max-age=60", got.header.Get("Cache-Control"))
		tag := got.header.Get("ETag")
		require.Regexp(t, `^"[0-9a-f]{24}"$`, tag)
		for _, known := range []string{tag, `"x", W/` + tag, "*"} {
			again := do(t, "GET", g.public+"/api/users/ann", "", "If-None-Match", known)
			require.Equal(t, 304, again.status)
			require.Empty(t, again.body)
		}
		require.Equal(t, 200, do(t, "GET", g.public+"/api/users/ann", "", "If-None-Match", `"other"`).status)
	}
	require.Equal(t, int64(1), s.asked.Load(), "two nodes, one question")

	for range 3 {
		got := do(t, "GET", a.public+"/api/users/eve", "")
		require.Equal(t, 404, got.status)
		require.Equal(t, "NOT_FOUND", got.problem(t))
	}
	require.Equal(t, int64(2), s.asked.Load(), "nothing is remembered too")
	for _, path := range []string{"/api/users/a%20", "/api/users/a%2fb", "/api/users/..%2fx", "/api/users/" + strings.Repeat("x", 129), "/api/users/", "/api/nothing", "/api/"} {
		require.Equal(t, 404, do(t, "GET", a.public+path, "").status, path)
	}
	require.Equal(t, int64(2), s.asked.Load(), "such ids are not asked for")

	s.down.Store(true)
	require.Equal(t, 200, do(t, "GET", a.public+"/api/users/ann", "").status, "cached")
	got := do(t, "GET", a.public+"/api/users/bob", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "UNAVAILABLE", got.problem(t))
	require.NotEmpty(t, got.header.Get("Retry-After"))
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
}

func TestUsersWithoutRedis(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	server := redistest.Server(t)
	g := serve(t, "--redis", server.URL(), "--profiles-url", s.URL, "--limit", "api=off")
	server.Kill()
	start := time.Now()
	require.Equal(t, 200, do(t, "GET", g.public+"/api/users/ann", "").status, "the source answers")
	require.Equal(t, 404, do(t, "GET", g.public+"/api/users/eve", "").status)
	require.Less(t, time.Since(start), patience)
	for range 10 {
		do(t, "GET", g.public+"/api/users/ann", "")
	}
	require.NotEqual(t, "closed", do(t, "GET", g.admin+"/health/detailed", "").json(t)["breakers"].(map[string]any)["cache"])
	server.Restart()
	require.Eventually(t, func() bool {
		do(t, "GET", g.public+"/api/users/ann", "")
		return server.Client().Exists(t.Context(), keys.User("ann")).Val() == 1
	}, patience, tick)
}

func TestCharactersAreWrittenThrough(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	url := redistest.URL(t)
	a, b := serve(t, "--redis", url, "--profiles-url", s.URL), serve(t, "--redis", url, "--profiles-url", s.URL)
	session := func(role string) string {
		id, errs, code := command(t, "session", "create", "--redis", url, "--user", "u-"+role, "--username", role, "--role", role)
		require.Zero(t, code, errs)
		return strings.TrimSpace(id)
	}
	hero := func(level int) string {
		return fmt.Sprintf(`{"ownerId":"ann","name":"Ann","class":"mage","level":%d,"stats":{"maxHp":10,"maxEnergy":1,"attack":1,"defense":1,"speed":1}}`, level)
	}
	service := session("service")
	for level := 1; level < 3; level++ {
		put := do(t, "PUT", a.public+"/api/characters/c1", hero(level), bearer(service)...)
		require.Equal(t, 200, put.status, "%s", put.body)
		require.Equal(t, "c1", put.json(t)["characterId"])
		require.Contains(t, *s.saved.Load(), fmt.Sprintf(`"level":%d`, level))
		require.Eventually(t, func() bool {
			got := do(t, "GET", b.public+"/api/characters/c1", "")
			return got.status == 200 && got.json(t)["level"] == float64(level)
		}, patience, tick, "the other node sees it")
	}
	name := strings.Repeat("漢", 50)
	put := do(t, "PUT", a.public+"/api/characters/c1", strings.Replace(hero(2), `"Ann"`, `" `+name+`\ud83d "`, 1), bearer(service)...)
	require.Equal(t, 200, put.status, "%s", put.body)
	require.Equal(t, name+"\ufffd", put.json(t)["name"], "a name is cleaned, never refused")
	require.Contains(t, *s.saved.Load(), name+"\ufffd")
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
	}{
		"nobody":       {hero(3), nil, 401},
		"a player":     {hero(3), bearer(session("player")), 403},
		"another id":   {strings.Replace(hero(3), "{", `{"characterId":"c2",`, 1), bearer(service), 400},
		"bad level":    {hero(0), bearer(service), 400},
		"unknown":      {strings.Replace(hero(3), "{", `{"hp":1,`, 1), bearer(service), 400},
		"no JSON":      {"hello", bearer(service), 400},
		"form":         {hero(3), append(bearer(service), "Content-Type", "text/plain"), 400},
		"too large":    {`{"name":"` + strings.Repeat("x", 70<<10) + `"}`, bearer(service), 413},
		"foreign page": {hero(3), []string{"Cookie", "sid=" + service, "Origin", "https://evil.example"}, 403},
	} {
		got := do(t, "PUT", a.public+"/api/characters/c1", c.body, c.headers...)
		require.Equal(t, c.status, got.status, "%s: %s", name, got.body)
		got.problem(t)
	}
	require.Contains(t, *s.saved.Load(), `"level":2`)

	s.down.Store(true)
	require.Equal(t, 503, do(t, "PUT", a.public+"/api/characters/c1", hero(9), bearer(service)...).status)
	require.Equal(t, 2.0, do(t, "GET", a.public+"/api/characters/c1", "").json(t)["level"], "what the source did not take is not cached")
}

func TestDemoUsers(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	require.Equal(t, "ann", do(t, "GET", g.public+"/api/users/ann", "").json(t)["username"])
	require.Equal(t, "ann", do(t, "GET", g.public+"/api/characters/ann-alt", "").json(t)["ownerId"])
	require.Equal(t, 404, do(t, "GET", g.public+"/api/users/nobody", "").status)
	strict := serve(t, "--redis", redistest.URL(t))
	require.Equal(t, 404, do(t, "GET", strict.public+"/api/users/ann", "").status, "without a profile service nobody is known")
}

func TestLeaderboardsAreTheWarmedList(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	g := serve(t, "--redis", server.URL())
	// Another program may warm a list of its own, which the gateway's job leaves alone.
	require.NoError(t, server.Client().Set(t.Context(), keys.Leaderboard("raids"), `[{"rank":1,"id":"ann","score":7}]`, time.Minute).Err())
	got := do(t, "GET", g.public+"/api/leaderboards/raids", "")
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"name":"raids","entries":[{"rank":1,"id":"ann","score":7}]}`, string(got.body))
	require.JSONEq(t, `{"name":"global","entries":[]}`, string(do(t, "GET", g.public+"/api/leaderboards/global", "").body))
	require.NotEmpty(t, got.header.Get("ETag"))
	require.Equal(t, 404, do(t, "GET", g.public+"/api/leaderboards/nothing", "").status)
	require.Equal(t, 404, do(t, "GET", g.public+"/api/leaderboards/a:b", "").status)
}

// A player is listed by the name that the profile has, and by the session's where the
// profile service knows nobody, or is away.
func TestPresenceShowsTheNamesOfProfiles(t *testing.T) {
	t.Parallel()
	s := newStudio(t)
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--profiles-url", s.URL)
	ann, bob := g.connect(create(t, url, "ann")), g.connect(create(t, url, "bob"))
	for _, p := range []*player{ann, bob} {
		p.ok("chat:join", `{"channel":"global"}`)
	}
	require.Eventually(t, func() bool {
		list := fmt.Sprint(ann.ok("presence:list", `{"channel":"global"}`)["users"])
		return strings.Contains(list, "username:Ann") && strings.Contains(list, "username:bob")
	}, patience, tick)
}
