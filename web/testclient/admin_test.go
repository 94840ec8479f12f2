package testclient

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// adminLogIn fills in the form of the official Admin UI. Its fields have no names.
func (p tab) adminLogIn(url, name, password string) {
	p.t.Helper()
	p.run(chromedp.WaitVisible(chromedp.CSS(`.v-dialog form button[type=submit]`)))
	p.eval(fmt.Sprintf(`(() => {
		const [url, name] = document.querySelectorAll('.v-dialog form input[type=text]');
		for (const [field, value] of [[url, %q], [name, %q], [document.querySelector('.v-dialog form input[type=password]'), %q]]) {
			field.value = value;
			field.dispatchEvent(new Event('input'));
		}
	})(); 0`, url, name, password))
	p.is(`!document.querySelector('.v-dialog form button[type=submit]').disabled`)
	p.eval(`document.querySelector('.v-dialog form button[type=submit]').click(); 0`)
}

// shows waits until a text is on the page.
func (p tab) shows(text string) {
	p.t.Helper()
	p.is(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// TestTheOfficialAdminUI uses Socket.IO's own page against a cluster of two.
func TestTheOfficialAdminUI(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	hash, err := bcrypt.GenerateFromPassword([]byte("engine"), bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(users, []byte("ada:"+string(hash)+"\n"), 0o600))
	args := []string{"--dev", "--log-level", "error", "--admin-ui", "full", "--admin-ui-users-file", users}
	s, browser := serveWith(t, args...), chromium(t)
	two := s.start(t, append(args, "--node", "demo-2")...)

	amy, bea := open(t, browser, s.url+"/?transport=websocket", 1280, 720), open(t, browser, two.url+"/?transport=polling", 1280, 720)
	amy.login("amy")
	bea.login("bea")
	bea.says("node", "demo-2")
	amy.has("admin-ui", `!n.hidden && n.getAttribute('href') === '/admin-ui/'`)
	amy.isReachable("a link to the Admin UI")

	p, _ := openPage(t, browser, s.url+"/admin-ui/", 1440, 900) // the console has what the form was refused
	p.adminLogIn(s.url, "ada", "wrong")
	p.shows("Invalid credentials")
	p.adminLogIn(s.url, "ada", "engine")
	p.is(`!document.querySelector('.v-dialog--active')`)

	visit := func(view string) {
		t.Helper()
		p.eval(fmt.Sprintf(`location.hash = '#/%s'; 0`, view))
	}
	// Both nodes say what they do, again and again.
	visit("servers/")
	p.shows("demo-1")
	p.shows("demo-2")
	const uptimes = `[...document.querySelectorAll('tbody tr')].map((r) => r.innerText.match(/(\d+)s/)?.[1]).join()`
	before := fmt.Sprint(p.eval(uptimes))
	p.is(fmt.Sprintf(`%s !== %q`, uptimes, before))
	p.is(`document.querySelectorAll('tbody tr').length === 2 && !document.body.innerText.includes('unhealthy')`)
	p.picture("screenshot-admin-ui-servers")

	// The sockets of both nodes, and their rooms.
	visit("sockets/")
	p.is(`document.querySelectorAll('tbody tr').length === 2 && document.body.innerText.includes('127.0.0.1')`)
	p.shows("WebSocket")
	p.shows("HTTP long-polling")
	visit("rooms/")
	p.shows("chat:global")
	p.shows("user:amy")
	p.shows("user:bea")
	p.is(`document.getAnimations().length === 0`) // views fade in
	p.picture("screenshot-admin-ui")

	// The page shows connections that begin and end, and the events that clients send.
	cleo := open(t, browser, two.url, 1280, 720)
	cleo.login("cleo")
	p.shows("user:cleo")
	cleo.write("channel", "zone:harbor\r")
	p.shows("chat:zone:harbor")
	cleo.click("logout")
	p.is(`!document.body.innerText.includes('user:cleo')`)
	amy.chat("What is said is nobody's business.")
	visit("events/")
	p.shows("chat:message")
	p.is(`!document.body.innerText.includes('business')`)

	// A disconnect of a player on the other node; the player is told.
	visit("rooms/")
	p.shows("user:bea")
	p.eval(`[...document.querySelectorAll('tbody tr')].find((r) => r.innerText.includes('user:bea')).click(); 0`)
	p.is(`document.querySelectorAll('.v-main tbody tr button').length >= 2`)
	p.eval(`document.querySelector('.v-main .mdi-logout').closest('button').click(); 0`)
	bea.says("login-notice", "disconnected")
	require.Contains(t, s.cli(t, "audit-log", "--json"), "admin-ui disconnect")

	// A page that is loaded again comes back without the password.
	p.run(chromedp.Reload())
	visit("sockets/")
	p.is(`document.querySelectorAll('tbody tr').length === 1 && document.body.innerText.includes('127.0.0.1')`)
	require.Nil(t, p.eval(`document.querySelector('.v-dialog--active')`))
}

// TestAdminPage: the files of the Admin UI are served to those that take gzip and to others, and
// nothing else is.
func TestAdminPage(t *testing.T) {
	t.Parallel()
	h := AdminPage()
	page := get(t, h, "GET", "/admin-ui/")
	require.Equal(t, 200, page.Code, "run `make build`, or `npm ci` in web/testclient")
	require.Equal(t, "text/html; charset=utf-8", page.Header().Get("Content-Type"))
	require.NotContains(t, page.Body.String(), "https:", "it loads nothing from elsewhere")
	require.Contains(t, page.Header().Get("Content-Security-Policy"), "default-src 'self'")
	zipped := get(t, h, "GET", "/admin-ui/", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", zipped.Header().Get("Content-Encoding"))
	require.NotEqual(t, page.Header().Get("ETag"), zipped.Header().Get("ETag"))
	body, err := io.ReadAll(zipped.Result().Body)
	require.NoError(t, err)
	body, err = unzip(body)
	require.NoError(t, err)
	require.Equal(t, page.Body.String(), string(body))
	for path, code := range map[string]int{
		"/admin-ui/css/materialdesignicons.min.css": 200, "/admin-ui/fonts/materialdesignicons-webfont.woff2": 200, "/admin-ui/favicon.png": 200,
		"/admin-ui/none.js": 404, "/admin-ui/../README.md": 404, "/admin-ui//etc/passwd": 404, "/admin-ui/css/": 404,
	} {
		require.Equal(t, code, get(t, h, http.MethodGet, path).Code, path)
	}
	require.Equal(t, 405, get(t, h, http.MethodPost, "/admin-ui/").Code)
	require.Equal(t, 404, get(t, newAdminPage(clone(t)), "GET", "/admin-ui/").Code)
	require.Contains(t, get(t, Handler(true, "/socket.io/", true), "GET", "/").Body.String(), `data-admin-ui="on"`)
	require.Contains(t, get(t, Handler(true, "/socket.io/", false), "GET", "/").Body.String(), `data-admin-ui="off"`)
}
