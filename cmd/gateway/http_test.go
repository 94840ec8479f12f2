package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	a := do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`)
	require.Equal(t, 201, a.status)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	body := a.json(t)
	require.Equal(t, map[string]any{"userId": "ann", "username": "ann", "characterId": "ann", "roles": []any{"player"}}, body["user"])
	require.InDelta(t, time.Now().Add(30*time.Minute).UnixMilli(), body["expiresAt"], 60_000)
	require.Contains(t, a.header.Get("Set-Cookie"), "sid="+body["sessionId"].(string))
	require.NotEmpty(t, a.header.Get("RateLimit"))

	for name, c := range map[string]struct {
		body  string
		field any
	}{
		"no name":       {`{}`, "username"},
		"a bad name":    {`{"username":"a b"}`, "username"},
		"a number":      {`{"username":7}`, "username"},
		"unknown field": {`{"username":"ann","admin":true}`, "admin"},
		"not JSON":      {`{`, ""},
	} {
		a := do(t, "POST", g.public+"/auth/login", c.body)
		require.Equal(t, 400, a.status, name)
		require.Equal(t, "INVALID", a.problem(t), name)
		require.Equal(t, c.field, a.json(t)["field"], name)
	}
	require.Equal(t, 400, do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`, "Content-Type", "text/plain").status)
	require.Equal(t, 413, do(t, "POST", g.public+"/auth/login", `{"username":"`+strings.Repeat("x", 70<<10)+`"}`).status)
}

func TestLoginIsClosedWithoutDev(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t))
	a := do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`)
	require.Equal(t, 403, a.status)
	require.Equal(t, "FORBIDDEN", a.problem(t))
	require.NotContains(t, g.out.String(), "guests")
}

func TestLoginIsLimited(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", patientLimits, "--limit", "login=2/1m")
	for _, left := range []string{"1", "0"} {
		a := do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`)
		require.Equal(t, 201, a.status)
		require.Equal(t, left, a.header.Get("X-RateLimit-Remaining"))
	}
	a := do(t, "POST", g.public+"/auth/login", `{"username":"bob"}`)
	require.Equal(t, 429, a.status)
	require.Equal(t, "RATE_LIMITED", a.problem(t))
	body := a.json(t)
	require.Equal(t, "login", body["policy"])
	require.Equal(t, "ip", body["scope"])
	require.InDelta(t, 60_000, body["retryAfterMs"], 30_000)
	require.Regexp(t, `^(60|[345]\d)$`, a.header.Get("Retry-After"))
	require.Equal(t, `"login";q=2;w=60`, a.header.Get("RateLimit-Policy"))
	require.Regexp(t, `^"login";r=0;t=\d+$`, a.header.Get("RateLimit"))
	require.Equal(t, "2", a.header.Get("X-RateLimit-Limit"))
	require.Equal(t, "0", a.header.Get("X-RateLimit-Remaining"))
	require.NotEmpty(t, a.header.Get("X-RateLimit-Reset"))
}

func TestLogoutClosesTheSocket(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	for name, header := range map[string]func(id string) []string{
		"bearer": bearer,
		"cookie": func(id string) []string { return []string{"Cookie", "sid=" + id} },
	} {
		t.Run(name, func(t *testing.T) {
			id := g.guest(name)
			p := g.connect(id)
			a := do(t, "POST", g.public+"/auth/logout", "", header(id)...)
			require.Equal(t, 204, a.status)
			require.Empty(t, a.body)
			require.Equal(t, "LOGGED_OUT", p.event("session:revoked")["code"])
			require.True(t, p.ended())
			again := do(t, "POST", g.public+"/auth/logout", "", header(id)...)
			require.Equal(t, 204, again.status, "the answer to the first may have been lost")
		})
	}
	require.Equal(t, 401, do(t, "POST", g.public+"/auth/logout", "").status)
	id := g.guest("eve")
	a := do(t, "POST", g.public+"/auth/logout", "", "Cookie", "sid="+id, "Origin", "https://evil.example")
	require.Equal(t, 403, a.status, "a foreign page may not use the cookie")
	g.connect(id)
}

func TestLogoutOverTheSocketAnswersFirst(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	id := g.guest("ann")
	one, two := g.connect(id), g.connect(id)
	one.ok("session:logout", "")
	for _, p := range []*player{one, two} {
		require.Equal(t, "LOGGED_OUT", p.event("session:revoked")["code"])
		require.True(t, p.ended())
	}
}

func TestLogoutEverywhereClosesTheSocketsOnEveryNode(t *testing.T) {
	t.Parallel()
	redis := redistest.URL(t)
	one, two := serve(t, "--redis", redis, "--dev"), serve(t, "--redis", redis, "--dev")
	for name, logout := range map[string]func(id string, p *player){
		"by event": func(_ string, p *player) { p.ok("session:logout", `{"everywhere":true}`) },
		"by HTTP": func(id string, _ *player) {
			require.Equal(t, 204, do(t, "POST", one.public+"/auth/logout", `{"everywhere":true}`, bearer(id)...).status)
		},
	} {
		t.Run(name, func(t *testing.T) {
			id := one.guest("ann")
			here, there, bob := one.connect(id), two.connect(two.guest("ann")), two.connect(two.guest("bob"))
			logout(id, here)
			for _, p := range []*player{here, there} {
				require.Equal(t, "LOGGED_OUT", p.event("session:revoked")["code"])
				require.True(t, p.ended())
			}
			bob.ok("session:ping", "")
		})
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	for _, c := range []struct {
		method, url string
		want        int
	}{
		{"GET", g.public + "/", 200},
		{"GET", g.public + "/health/live", 200},
		{"GET", g.public + "/health/ready", 200},
		{"GET", g.public + "/health/redis", 200},
		{"GET", g.public + "/metrics", 404},
		{"GET", g.public + "/health/detailed", 404},
		{"GET", g.public + "/debug/pprof/", 404},
		{"GET", g.public + "/nothing", 404},
		{"GET", g.admin + "/health/live", 200},
		{"GET", g.admin + "/health/ready", 200},
		{"GET", g.admin + "/health/redis", 200},
		{"GET", g.admin + "/health/detailed", 200},
		{"GET", g.admin + "/metrics", 200},
		{"GET", g.admin + "/debug/pprof/", 200},
		{"GET", g.admin + "/debug/pprof/goroutine", 200},
		{"GET", g.admin + "/debug/pprof/cmdline", 404},
		{"GET", g.admin + "/", 404},
		{"POST", g.admin + "/auth/login", 404},
		{"GET", g.admin + "/socket.io/?EIO=4&transport=polling", 404},
		{"POST", g.public + "/chat/message", 401},
		{"POST", g.public + "/combat/action", 401},
		{"POST", g.public + "/trade/execute", 404},
	} {
		a := do(t, c.method, c.url, "")
		// A path that only answers to another method may say so.
		if c.want == 404 && a.status == 405 {
			continue
		}
		require.Equal(t, c.want, a.status, "%s %s: %.200s", c.method, c.url, a.body)
	}
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	p := g.connect(g.guest("ann"))
	p.ok("session:ping", "")
	p.refused("chat:join", `{"channel":"nowhere"}`)
	g.handshake("unknown").take("44", func(frame) bool { return true })
	require.Eventually(t, func() bool {
		text := string(do(t, "GET", g.admin+"/metrics", "").body)
		for _, line := range []string{
			"gateway_connections 1", "gateway_connections_opened_total 1", `gateway_connections_refused_total{code="SESSION_INVALID"} 1`,
			`gateway_redis_state{state="up"} 1`, `gateway_log_lines_dropped_total{reason="full"} 0`, "go_goroutines ", `code="INVALID"`,
		} {
			if !strings.Contains(text, line) {
				t.Log("missing:", line)
				return false
			}
		}
		return true
	}, patience, 100*time.Millisecond)
}

func TestPostsAreTheEventsWithTheirLimits(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", patientLimits, "--limit", "combat=10/1m", "--limit", "chat=10/1m")
	id := g.guest("ann")
	p := g.connect(id)

	p.ok("chat:join", `{"channel":"global"}`)
	a := do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"hi there"}`, bearer(id)...)
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Equal(t, "9", a.header.Get("X-RateLimit-Remaining"))
	heard := p.event("chat:message")
	require.Equal(t, "hi there", heard["text"])
	require.Equal(t, a.json(t)["id"], heard["id"])
	for range 9 {
		p.ok("chat:message", `{"channel":"global","text":"x"}`)
	}
	a = do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"one more"}`, bearer(id)...)
	require.Equal(t, 429, a.status)
	require.Equal(t, "chat", a.json(t)["policy"])
	require.Equal(t, "RATE_LIMITED", p.refused("chat:message", `{"channel":"global","text":"x"}`)["code"])

	fight := p.ok("combat:start", `{"npc":"training-dummy"}`)["combatId"].(string)
	act := fmt.Sprintf(`{"combatId":%q,"action":"defend"}`, fight)
	a = do(t, "POST", g.public+"/combat/action", act, bearer(id)...)
	require.Equal(t, 200, a.status, "%s", a.body)
	require.Contains(t, a.json(t), "state")
	require.Equal(t, fight, p.event("combat:update")["combatId"])
	for range 9 {
		p.ask("combat:action", act)
	}
	a = do(t, "POST", g.public+"/combat/action", act, bearer(id)...)
	require.Equal(t, 429, a.status)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, "combat", a.json(t)["policy"])

	eve := g.guest("eve")
	for name, c := range map[string]struct {
		path, body string
		headers    []string
		want       int
		code       string
	}{
		"no session":      {"/chat/message", `{"channel":"global","text":"x"}`, nil, 401, "UNAUTHENTICATED"},
		"unknown session": {"/combat/action", act, bearer("nobody"), 401, "UNAUTHENTICATED"},
		"invalid":         {"/chat/message", `{"channel":"global"}`, bearer(eve), 400, "INVALID"},
		"not JSON":        {"/chat/message", `hello`, bearer(eve), 400, "INVALID"},
		"no fight":        {"/combat/action", `{"combatId":"01ARZ3NDEKTSV4RRFFQ69G5FAV","action":"attack"}`, bearer(eve), 404, "NOT_FOUND"},
		"too large":       {"/chat/message", `{"text":"` + strings.Repeat("x", 70<<10) + `"}`, bearer(eve), 413, "PAYLOAD_TOO_LARGE"},
		"a form":          {"/chat/message", `{"channel":"global","text":"x"}`, append(bearer(eve), "Content-Type", "text/plain"), 400, "INVALID"},
		"a foreign page":  {"/chat/message", `{"channel":"global","text":"x"}`, []string{"Cookie", "sid=" + eve, "Origin", "https://evil.example"}, 403, "FORBIDDEN"},
	} {
		a := do(t, "POST", g.public+c.path, c.body, c.headers...)
		require.Equal(t, c.want, a.status, "%s: %s", name, a.body)
		require.Equal(t, c.code, a.problem(t), name)
	}
}

func TestPagesOfAllowedOriginsMayReadAnswers(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--allowed-origins", "https://Play.example", "--allowed-origins", "https://two.example:8443")
	dev := serve(t, "--redis", redistest.URL(t), "--dev")
	const poll = "/socket.io/?EIO=4&transport=polling"
	for _, c := range []struct {
		g      *gate
		origin string
		want   bool
	}{
		{g, "https://play.example", true},
		{g, "https://two.example:8443", true},
		{g, "https://two.example", false},
		{g, "http://play.example", false},
		{g, "https://play.example.evil.example", false},
		{g, "http://localhost:3000", false},
		{g, "null", false},
		{dev, "http://localhost:3000", true},
		{dev, "http://127.0.0.1:3000", true},
		{dev, "http://localhost.evil.example", false},
		{dev, "https://play.example", false},
	} {
		a := do(t, "GET", c.g.public+poll, "", "Origin", c.origin)
		require.Equal(t, 200, a.status)
		want := ""
		if c.want {
			want = c.origin
			require.Equal(t, "true", a.header.Get("Access-Control-Allow-Credentials"))
		}
		require.Equal(t, want, a.header.Get("Access-Control-Allow-Origin"), c.origin)
		pre := do(t, "OPTIONS", c.g.public+"/auth/login", "", "Origin", c.origin,
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
		require.Equal(t, want, pre.header.Get("Access-Control-Allow-Origin"), c.origin)
	}
}

// A body that never ends holds nothing for long.
func TestABodyMustArrive(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--body-timeout", "300ms")
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.public, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"use")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 400, res.StatusCode)
	require.NoError(t, res.Body.Close())
}
