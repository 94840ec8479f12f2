package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// Each way in which proxies write an address: five players, of whom each has a limit of three
// logins in 60 s, log in once.
func TestPlayersBehindAProxyDoNotShareItsAddress(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]string{
		"a port":           "203.0.113.%d:49152",
		"quoted":           `"203.0.113.%d:49152"`,
		"IPv6 with a port": "[2001:db8:0:%d::7]:443",
		"IPv6, quoted":     `"[2001:db8:0:%d::7]:443"`,
		"then unknown":     "1.2.3.%d, unknown",
		"trailing comma":   "203.0.113.%d,",
		"NAT64":            "64:ff9b::203.0.113.%d",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, "--redis", redistest.URL(t), "--dev", "--trusted-proxies", "127.0.0.1", patientLimits, "--limit", "login=3/60s")
			statuses := func(players int) (all []int) {
				for i := range players {
					a := do(t, "POST", g.public+"/auth/login", fmt.Sprintf(`{"username":"p%d"}`, i), "X-Forwarded-For", fmt.Sprintf(form, i+1))
					all = append(all, a.status)
				}
				return all
			}
			require.Equal(t, []int{201, 201, 201, 201, 201}, statuses(5))
			metrics := string(do(t, "GET", g.admin+"/metrics", "").body)
			const counter = `gateway_client_addresses_unknown_total{reason="unreadable"}`
			if name != "then unknown" {
				require.NotContains(t, metrics, counter)
				return
			}
			require.Contains(t, metrics, counter+" 5")
			const line = "a trusted proxy sends an X-Forwarded-For whose entry is no address: the entry before it counts, or else all its players share the proxy's address"
			require.Len(t, g.logged(1, line, map[string]any{"peer": "127.0.0.1", "entry": "unknown"}), 1, "once, not five times")
		})
	}
}

func TestAProxyThatIsNotBelievedIsTold(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	for range 2 {
		do(t, "GET", g.public+"/api/leaderboards/wins", "", "X-Forwarded-For", "203.0.113.7")
	}
	found := g.logged(1, "X-Forwarded-For is not believed, because its sender is none of --trusted-proxies: its players share its address", map[string]any{"peer": "127.0.0.1"})
	require.Len(t, found, 1)
	require.Contains(t, string(do(t, "GET", g.admin+"/metrics", "").body), `gateway_client_addresses_unknown_total{reason="untrusted"} 2`)
}

// What tracing tools and client libraries of a page add to its requests.
func TestAllowedPagesSendTheHeadersTheyLike(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--allowed-origins", "https://play.example")
	preflight := func(path, method, origin, headers string) http.Header {
		return do(t, "OPTIONS", g.public+path, "", "Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", headers).header
	}
	for _, headers := range []string{"x-clientid", "traceparent", "baggage,sentry-trace", "authorization,content-type,idempotency-key,x-anything"} {
		for path, method := range map[string]string{
			"/socket.io/?EIO=4&transport=polling": "GET", "/socket.io/?EIO=4&transport=polling&sid=x": "POST",
			"/auth/login": "POST", "/auth/logout": "POST", "/api/characters/c1": "PUT", "/api/users/u1": "GET",
		} {
			answer := preflight(path, method, "https://play.example", headers)
			require.Equal(t, "https://play.example", answer.Get("Access-Control-Allow-Origin"), path)
			require.Equal(t, headers, answer.Get("Access-Control-Allow-Headers"), path)
			require.Equal(t, method, answer.Get("Access-Control-Allow-Methods"), path)
			require.Equal(t, "true", answer.Get("Access-Control-Allow-Credentials"), path)
			answer = preflight(path, method, "https://evil.example", headers)
			require.Empty(t, answer.Get("Access-Control-Allow-Origin"), path)
			require.Empty(t, answer.Get("Access-Control-Allow-Headers"), path)
		}
	}
}

// One line and one count for each handshake of a page whose origin is not allowed, whether its
// browser lets it go on or not.
func TestTheOperatorSeesForeignPages(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--trusted-proxies", "127.0.0.1", "--allowed-origins", "https://play.example")
	host := strings.TrimPrefix(g.public, "http://")
	const path = "/socket.io/?EIO=4&transport="
	from := func(origin string, more ...string) []string {
		return append([]string{"Origin", origin, "X-Forwarded-For", "203.0.113.7", "X-Forwarded-Host", "game.example"}, more...)
	}
	line := func(transport, origin string) map[string]any {
		return map[string]any{"origin": origin, "host": host + ", game.example", "transport": transport, "addr": "203.0.113.7"}
	}
	for _, origin := range []string{"https://play.example", "https://game.example", g.public} {
		require.Equal(t, 200, do(t, "GET", g.public+path+"polling", "", from(origin)...).status)
	}
	require.Equal(t, 200, do(t, "GET", g.public+path+"polling", "").status)

	require.Equal(t, 200, do(t, "GET", g.public+path+"polling", "", from("https://evil.example")...).status)
	require.Len(t, g.logged(1, "origin not allowed", nil), 1)
	g.logged(1, "origin not allowed", line("polling", "https://evil.example"))

	header := http.Header{}
	for name, value := range map[string]string{"Origin": "null", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "game.example"} {
		header.Set(name, value)
	}
	header.Set("Cookie", "sid=any")
	conn, res, err := websocket.DefaultDialer.DialContext(t.Context(), socketURL(g.public), header)
	require.NoError(t, err)
	require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte("40")))
	g.logged(1, "connection refused", map[string]any{"code": "ORIGIN_REFUSED", "origin": "null", "host": host + ", game.example"})
	require.NoError(t, conn.Close())
	require.NoError(t, res.Body.Close())
	g.logged(1, "origin not allowed", line("websocket", "null"))

	do(t, "OPTIONS", g.public+path+"polling", "", from("https://evil.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-clientid")...)
	do(t, "OPTIONS", g.public+"/auth/login", "", from("https://evil.example", "Access-Control-Request-Method", "POST")...)
	g.logged(2, "origin not allowed", line("polling", "https://evil.example"))
	g.logged(1, "origin not allowed", line("http", "https://evil.example"))
	require.Len(t, g.logged(4, "origin not allowed", nil), 4)
	metrics := string(do(t, "GET", g.admin+"/metrics", "").body)
	for transport, n := range map[string]int{"polling": 2, "websocket": 1, "http": 1} {
		require.Contains(t, metrics, fmt.Sprintf(`gateway_origins_not_allowed_total{transport="%s"} %d`, transport, n))
	}
}

// The page of the gateway's own host: by the Host, and by the X-Forwarded-Host of a trusted proxy.
func TestPagesOfTheOwnHostUseTheCookie(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	trusting, wary := serve(t, "--redis", url, "--trusted-proxies", "127.0.0.1"), serve(t, "--redis", url)
	logout := func(g *gate, origin string, more ...string) int {
		return do(t, "POST", g.public+"/auth/logout", "", append([]string{"Cookie", "sid=" + create(t, url, "ann"), "Origin", origin}, more...)...).status
	}
	require.Equal(t, 204, logout(wary, wary.public))
	require.Equal(t, 403, logout(wary, "https://game.example"))
	require.Equal(t, 403, logout(wary, "https://game.example", "X-Forwarded-Host", "game.example"), "anybody may have written it")
	require.Equal(t, 204, logout(trusting, "https://game.example", "X-Forwarded-Host", "game.example"))
	require.Equal(t, 204, logout(trusting, "https://game.example:8443", "X-Forwarded-Host", "game.example:8443"))
	require.Equal(t, 403, logout(trusting, "https://evil.example", "X-Forwarded-Host", "game.example"))
}
