package testclient

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// connecting is what the pages of TestOrigins do: attempt connects the official client, and says
// how that went and whether the client will try again.
const connecting = `
window.attempt = async (client, url, options) => {
	const { io } = await import(client);
	const socket = window.socket = io(url, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 20, timeout: 15000, ...options });
	return new Promise((resolve) => {
		socket.once('connect', () => resolve('connected'));
		socket.once('connect_error', (e) => resolve(e.message + ', active: ' + socket.active));
	});
};
window.post = async (url, options) => 'status ' + (await fetch(url, { method: 'POST', ...options })).status;
`

// A visitor is a page that connects to a gateway.
type visitor struct {
	tab
	client string // the URL of the official client, as a module
	target string // of the gateway; "" is the page's own
}

// outcome runs an expression of a promise, and returns what becomes of it.
func (v visitor) outcome(expression string) any {
	v.t.Helper()
	v.eval(fmt.Sprintf(`window.outcome = undefined; Promise.resolve(%s).then((o) => { window.outcome = o; }, (e) => { window.outcome = String(e); }); 0`, expression))
	v.is(`window.outcome !== undefined`)
	return v.eval(`window.outcome`)
}

func (v visitor) connects(options string) any {
	v.t.Helper()
	return v.outcome(fmt.Sprintf(`window.attempt(%q, %q, %s)`, v.client, v.target, options))
}

// upgrades waits until the connection is a websocket.
func (v visitor) upgrades() {
	v.t.Helper()
	v.is(`window.socket.connected && window.socket.io.engine.transport.name === 'websocket'`)
}

// submits posts a form into the page's frame, and waits for the answer.
func (v visitor) submits(url string) {
	v.t.Helper()
	v.eval(fmt.Sprintf(`window.isAnswered = false;
		document.querySelector('iframe').addEventListener('load', () => { window.isAnswered = true; });
		const form = document.body.appendChild(document.createElement('form'));
		form.method = 'POST'; form.target = 'answer'; form.action = %q; form.submit()`, url))
	v.is(`window.isAnswered`)
}

// A gateway without --dev, and three pages: its own, one of --allowed-origins, and a foreign one.
// All are pages of one site, so that the browser sends the cookie with each.
func TestOrigins(t *testing.T) {
	t.Parallel()
	elsewhere := func() *httptest.Server {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<!doctype html><title>a page</title><link rel="icon" href="data:,"><iframe name="answer"></iframe>`))
		})
		mux.HandleFunc("GET /client.js", func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, files, "vendor/socket.io.esm.min.js")
		})
		s := httptest.NewServer(mux)
		t.Cleanup(s.Close)
		return s
	}
	allowed, foreign := elsewhere(), elsewhere()
	s, browser := serveWith(t, "--page", "--allowed-origins", allowed.URL), chromium(t)
	login := func(t *testing.T) string {
		return s.cli(t, "session", "create", "--user", "ann", "--username", "ann")
	}
	visit := func(t *testing.T, v visitor) visitor {
		v.eval(connecting + `0`)
		v.eval(fmt.Sprintf(`document.cookie = 'sid=%s; path=/'`, login(t)))
		t.Cleanup(func() { v.eval(`window.socket?.disconnect(); 0`) })
		return v
	}

	t.Run("a page of the gateway", func(t *testing.T) {
		p := visit(t, visitor{open(t, browser, s.url, 800, 600), bundle, ""})
		require.Equal(t, "connected", p.connects(`{ transports: ['polling'] }`))
		require.Equal(t, "connected", p.connects(`{ transports: ['websocket'] }`))
		require.Equal(t, "connected", p.connects(`{}`))
		p.upgrades()
		require.Equal(t, "connected", p.connects(`{ rememberUpgrade: true }`))
		p.upgrades()
		for range 2 { // the first reconnect begins as a websocket
			p.eval(`window.back = false; window.socket.once('connect', () => { window.back = true; }); window.socket.io.engine.close(); 0`)
			p.is(`window.back && window.socket.connected`)
			require.Equal(t, "websocket", p.eval(`window.socket.io.engine.transport.name`))
		}
		require.Equal(t, "status 204", p.outcome(`window.post('/auth/logout')`))
	})

	t.Run("a page of an allowed origin", func(t *testing.T) {
		p := visit(t, visitor{open(t, browser, allowed.URL, 800, 600), "/client.js", s.url})
		const headers = `{ 'x-clientid': 'a', traceparent: '00-1-2-00', baggage: 'a=b', 'sentry-trace': '1' }`
		require.Equal(t, "connected", p.connects(`{ withCredentials: true, transports: ['polling'], extraHeaders: `+headers+` }`))
		require.Equal(t, "connected", p.connects(`{ withCredentials: true, extraHeaders: `+headers+` }`))
		p.upgrades()
		require.Equal(t, "status 204", p.outcome(fmt.Sprintf(`window.post('%s/auth/logout', { credentials: 'include', headers: %s })`, s.url, headers)))
	})

	t.Run("a page of an origin that is not allowed", func(t *testing.T) {
		page, console := openPage(t, browser, foreign.URL, 800, 600)
		p := visit(t, visitor{page, "/client.js", s.url})
		id := login(t)
		require.Equal(t, "xhr poll error, active: true", p.connects(`{ transports: ['polling'], auth: { sessionId: '`+id+`' } }`))
		require.Contains(t, console.String(), "CORS")
		p.eval(`window.socket.disconnect(); 0`)
		require.Equal(t, "This page may not use your session, active: false", p.connects(`{ transports: ['websocket'] }`))
		require.Equal(t, "connected", p.connects(`{ transports: ['websocket'], auth: { sessionId: '`+id+`' } }`))

		// A form posts without asking first, and carries the cookie within one site.
		p.submits(s.url + "/auth/logout")
		require.Contains(t, p.eval(`document.cookie`), "sid=")

		// Over another name of this machine the page is of another site: the form carries no cookie.
		_, port, err := net.SplitHostPort(foreign.Listener.Addr().String())
		require.NoError(t, err)
		page, _ = openPage(t, browser, "http://localhost:"+port, 800, 600)
		visitor{tab: page}.submits(s.url + "/auth/logout")
		require.Contains(t, p.eval(`document.cookie`), "sid=")

		for _, transport := range []string{"polling", "websocket"} {
			line := fmt.Sprintf(`"msg":"origin not allowed","node":"demo-1","origin":%q,"host":%q,"transport":%q`, foreign.URL, s.url[len("http://"):], transport)
			require.Eventually(t, func() bool { return strings.Contains(s.log.String(), line) }, 10*time.Second, 20*time.Millisecond, "%s\n%s", line, s.log)
		}
	})
}
