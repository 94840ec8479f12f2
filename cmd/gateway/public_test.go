package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func TestPlayersLearnOnlyWhetherRedisIsUp(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g := serve(t, "--redis", redis.URL(), "--dev")
	require.Equal(t, map[string]any{"status": "up"}, do(t, "GET", g.public+"/health/redis", "").json(t))
	details := do(t, "GET", g.admin+"/health/redis", "").json(t)
	for _, key := range []string{"status", "latencyMs", "version", "role", "memory", "pool", "server"} {
		require.Contains(t, details, key)
	}

	redis.Kill()
	g.status(g.public+"/health/redis", 503, patience)
	require.Equal(t, map[string]any{"status": "down"}, do(t, "GET", g.public+"/health/redis", "").json(t))
	require.NotEmpty(t, do(t, "GET", g.admin+"/health/redis", "").json(t)["error"])
}

// TestThePageIsServedWithDevOrPage asks without either of them too.
func TestThePageIsServedWithDevOrPage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want int
	}{
		{nil, 404},
		{[]string{"--dev"}, 200},
		{[]string{"--page"}, 200},
	} {
		g := serve(t, append([]string{"--redis", redistest.URL(t)}, c.args...)...)
		for _, path := range []string{"/", "/asyncapi.json", "/events.d.ts", "/js/main.js"} {
			require.Equal(t, c.want, do(t, "GET", g.public+path, "").status, "%s with %v", path, c.args)
		}
		require.Equal(t, 200, do(t, "GET", g.public+"/socket.io/socket.io.js", "").status, "games may load the official client")
	}
}

func TestEveryAnswerForbidsSniffing(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	id := g.guest("ann")
	for _, c := range []struct{ method, url string }{
		{"GET", g.public + "/"},
		{"GET", g.public + "/js/main.js"},
		{"GET", g.public + "/nothing"},
		{"GET", g.public + "/asyncapi.json"},
		{"GET", g.public + "/events.d.ts"},
		{"GET", g.public + "/health/live"},
		{"GET", g.public + "/health/ready"},
		{"GET", g.public + "/health/redis"},
		{"GET", g.public + "/socket.io/socket.io.js"},
		{"GET", g.public + "/socket.io/socket.io.none.js"},
		{"GET", g.public + "/socket.io/?EIO=4&transport=polling"},
		{"GET", g.public + "/socket.io/?EIO=3&transport=polling"},
		{"POST", g.public + "/socket.io/?EIO=4&transport=polling&sid=none"},
		{"GET", g.public + "/api/users/ann"},
		{"GET", g.public + "/api/leaderboards/global"},
		{"GET", g.public + "/api/nothing"},
		{"OPTIONS", g.public + "/auth/login"},
		{"GET", g.public + "/auth/login"},
		{"POST", g.public + "/auth/login"},
		{"POST", g.public + "/auth/renew"},
		{"POST", g.public + "/auth/logout"},
		{"POST", g.public + "/chat/message"},
		{"POST", g.public + "/combat/action"},
		{"GET", g.admin + "/metrics"},
		{"GET", g.admin + "/health/detailed"},
		{"GET", g.admin + "/debug/pprof/"},
		{"GET", g.admin + "/nothing"},
	} {
		for _, headers := range [][]string{nil, bearer(id)} {
			a := do(t, c.method, c.url, "", headers...)
			require.Equal(t, []string{"nosniff"}, a.header.Values("X-Content-Type-Options"), "%s %s (%d)", c.method, c.url, a.status)
		}
	}
}

// Players get the files that are meant for them, and nothing else: no listings, no files of a
// checkout, no debugging, no versions. A session id in a query is nobody's.
func TestNothingElseIsServed(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--page", "--limit", "api=off")
	for _, path := range []string{
		"/.git/config", "/.git/", "/go.mod", "/js", "/js/", "/css/", "/vendor/", "/socket.io/nothing.js", "/socket.io/../go.mod", "/js/..%2f..%2fembed.go",
		"/metrics", "/debug/pprof/", "/debug/vars", "/health/detailed", "/health", "/auth/", "/api/", "/server-status", "/index.php",
	} {
		require.Contains(t, []int{400, 404}, do(t, "GET", g.public+path, "").status, path)
	}
	for _, method := range []string{"TRACE", "TRACK", "PROPFIND"} {
		for _, path := range []string{"/", "/auth/login", "/api/users/ann", "/health/live"} {
			a := do(t, method, g.public+path, "", "X-Secret", "hush")
			require.Contains(t, []int{400, 404, 405}, a.status, "%s %s", method, path)
			require.NotContains(t, string(a.body), "hush")
		}
	}
	for _, path := range []string{"/", "/health/ready", "/health/redis", "/api/users/ann", "/nothing", "/socket.io/" + pollQuery} {
		a := do(t, "GET", g.public+path, "")
		require.Empty(t, a.header.Get("Server")+a.header.Get("X-Powered-By")+a.header.Get("Via"), path)
		require.NotContains(t, string(a.body), "go1.", path)
	}
	id := create(t, url, "ann")
	for _, query := range []string{"sessionId=", "sid=", "token=", "auth="} {
		require.Equal(t, http.StatusUnauthorized, do(t, "POST", g.public+"/chat/message?"+query+id, `{"channel":"global","text":"hi"}`).status)
	}
	p, _, err := dialQuery(t, g, "&sessionId="+id+"&token="+id)
	require.NoError(t, err)
	p.send("40")
	refused := p.take("44", func(frame) bool { return true })
	require.True(t, strings.Contains(string(refused.body), "SESSION_REQUIRED"), "%s", refused.body)
}
