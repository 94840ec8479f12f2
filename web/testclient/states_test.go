package testclient

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// proxied is a gateway behind a server that a test can change: answer, unless it returns false.
func proxied(t *testing.T, s server, answer http.HandlerFunc, isMine func(*http.Request) bool) string {
	t.Helper()
	target, err := url.Parse(s.url)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isMine(r) {
			answer(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// lost connections say why, when the next attempt is, and what came of it.
func lost(t *testing.T, s server, browser context.Context) {
	var isOverloaded, isDraining atomic.Bool // a server that drains asks for ten minutes
	front := proxied(t, s, func(w http.ResponseWriter, _ *http.Request) {
		message, seconds := "Overloaded", "2"
		if isDraining.Load() {
			message, seconds = "Draining", "600"
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", seconds)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, `{"code":4,"message":%q}`, message)
	}, func(r *http.Request) bool { return isOverloaded.Load() && strings.HasPrefix(r.URL.Path, "/socket.io/") })
	p, _ := openPage(t, browser, front+"/?transport=polling", 1280, 720)
	p.login("lou")
	p.hasOnly("lou")
	isOverloaded.Store(true)
	p.click("drop")
	p.says("banner", "Trying again")
	p.says("banner", "The server is overloaded")
	p.says("banner", "Trying again in 2 s.")
	p.has("state", `n.dataset.state === 'reconnecting'`)
	p.picture("screenshot-reconnecting")
	isDraining.Store(true)
	p.says("banner", "This server is about to stop, and takes no new connections. Trying again in 5") // 599 s and less
	isOverloaded.Store(false)
	p.click("try-now")
	p.settled("lou")
	p.says("banner", "and nothing is missing: no event came late.")

	// Of what only a server can say, the words alone are looked at.
	words := func(expression string) string {
		p.eval(`window.said = undefined; import('/js/explain.js').then((m) => { window.said = ` + expression + `; }); 0`)
		p.is(`window.said !== undefined`)
		return fmt.Sprint(p.eval(`window.said`))
	}
	require.Contains(t, words(`m.explainEnd({ code: 'ORIGIN_REFUSED' })`), "--allowed-origins "+front)
	require.Contains(t, words(`m.explainEnd({ code: 'REPLACED' })`), "another device")
	require.Contains(t, words(`m.explainEnd({ code: 'TOO_MANY_CONNECTIONS' })`), "Close one")
	require.Contains(t, words(`m.explainLoss('transport close', { closing: { code: 'DRAINING' } })`), "about to stop")
	require.Contains(t, words(`m.explainLoss('transport close', { closing: { code: 'SLOW_CONSUMER' } })`), "too slowly")
	require.Contains(t, words(`m.explainLoss('x', { error: { context: { status: 429 } } })`), "Too many connections")

	// A recovered connection: the server's part is played by the test.
	p.eval(`import('/js/client.js').then(({ Client }) => {
		const socket = { io: { backoff: { duration: () => 1 }, on() {}, engine: {} }, on() {}, onAny(f) { this.hear = f; }, connect() {}, timeout: () => ({ emitWithAck: () => new Promise((r) => { window.answer = r; }) }), recovered: true };
		window.outcome = [];
		new Client(() => socket, { sessionId: 'x', contract: { asks: new Map() } }).on('welcome', (e) => window.outcome.push(e.recovered)).on('recovered', (e) => window.outcome.push(e.late)).open();
		socket.hear('session', { recovered: true });
		socket.hear('limits', {});
		for (let i = 0; i < 12; i++) socket.hear('chat:message', {});
		window.answer({ ok: true, data: {} });
	}); 0`)
	p.is(`window.outcome?.join() === 'true,12'`)
}

// A gap is a player's way to the gateway that can be cut: then handshakes are refused as by a
// server that is overloaded.
type gap struct {
	tab
	isCut        atomic.Bool
	waitsSeconds atomic.Int64 // how long the server asks to wait while it is cut
}

// login opens the page through a gap.
func loginThroughGap(t *testing.T, s server, browser context.Context, name string) *gap {
	t.Helper()
	g := &gap{}
	g.waitsSeconds.Store(600)
	front := proxied(t, s, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", strconv.FormatInt(g.waitsSeconds.Load(), 10))
		http.Error(w, "no", http.StatusServiceUnavailable)
	},
		func(r *http.Request) bool { return g.isCut.Load() && strings.HasPrefix(r.URL.Path, "/socket.io/") })
	g.tab, _ = openPage(t, browser, front+"/?transport=polling", 1280, 720)
	g.login(name)
	return g
}

// cut ends the connection; it does not come back before mend.
func (g *gap) cut() {
	g.t.Helper()
	g.isCut.Store(true)
	g.click("drop")
	g.says("banner", "The server is overloaded, and takes no new connections for now. Trying again in ")
	g.has("state", `n.dataset.state === 'reconnecting'`)
}

// mend lets the player try again at once: by itself the page would wait for minutes.
func (g *gap) mend() {
	g.t.Helper()
	g.isCut.Store(false)
	g.click("try-now")
}

// What others say while a player is cut off comes late: it is counted, and in the chat once, in its
// place.
func cameLate(t *testing.T, s server, browser context.Context) {
	g, pia := loginThroughGap(t, s, browser, "gus"), open(t, browser, s.url, 1280, 720)
	pia.login("pia")
	pia.chat("late 0, before")
	g.says("messages", "late 0")
	g.hasOnly("gus", "pia")
	g.cut()
	for i := range 3 {
		pia.chat(fmt.Sprintf("late %d, while he is away", i+1))
		pia.is(fmt.Sprintf(`document.querySelectorAll('[data-testid=message].own:not(.pending)').length === %d`, i+2))
	}
	g.mend()
	g.says("banner", "and nothing is missing: 3 events came late.")
	g.says("recovery", "recovered")
	pia.chat("late 4, after")
	g.says("messages", "late 4")
	require.Equal(t, "0,1,2,3,4", g.eval(`[...document.querySelectorAll('[data-testid=message] p')].map((n) => n.textContent.match(/^late (\d)/)?.[1]).filter(Boolean).join()`))
}

// A player whose connection Redis has forgotten gets a new one. What was said meanwhile is read
// again.
func cameAnew(t *testing.T, s server, browser context.Context) {
	g, pip := loginThroughGap(t, s, browser, "gil"), open(t, browser, s.url, 1280, 720)
	pip.login("pip")
	g.cut()
	pip.chat("anew 1, while he is away")
	pip.is(`document.querySelectorAll('[data-testid=message].own:not(.pending)').length === 1`)
	options, err := redis.ParseURL(s.redis)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	records, err := client.Keys(t.Context(), "{socket.io:log}:conn:*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, records)
	require.NoError(t, client.Del(t.Context(), records...).Err())
	g.mend()
	g.says("banner", "Back, as a new connection. What was said meanwhile is read again; other events may be missing.")
	g.says("recovery", "new")
	g.settled("gil")
	g.says("messages", "anew 1")
	pip.chat("anew 2, after")
	g.says("messages", "anew 2")
	require.Equal(t, "1,2", g.eval(`[...document.querySelectorAll('[data-testid=message] p')].map((n) => n.textContent.match(/^anew (\d)/)?.[1]).filter(Boolean).join()`))
}

// ended sessions: banned, with reason and time.
func banned(t *testing.T, s server, browser context.Context) {
	p, _ := openPage(t, browser, s.url, 1280, 720)
	p.login("bea")
	id := fmt.Sprint(p.eval(`JSON.parse(sessionStorage.getItem('gateway.sessions'))[0]`))
	s.cli(t, "user", "ban", "bea", "--for", "24h", "--reason", "spam")
	p.says("login-notice", "banned")
	p.says("login-notice", "spam")
	p.says("login-notice", "BANNED")
	p.clickAt("#by-session summary")
	p.run(chromedp.SendKeys(p.sel("session-id"), id+"\r"))
	p.has("login-notice", `n.textContent.includes('(')`)
}

// ignoring: a whisper of an ignored user does not arrive, until they are heard again.
func ignoring(t *testing.T, s server, browser context.Context) {
	ivy, ivo := open(t, browser, s.url, 1280, 720), open(t, browser, s.url, 1280, 720)
	ivy.login("ivy")
	ivo.login("ivo")
	ivy.is(`document.querySelector('[data-user=ivo] summary')`)
	ivy.hasOnly("ivy", "ivo")
	ivo.hasOnly("ivy", "ivo")
	ivy.clickAt(`[data-user=ivo] summary`)
	ivy.click("ignore-ivo")
	ivy.says("ignored", "ivo")
	ivo.is(`document.querySelector('[data-user=ivy] summary')`)
	ivo.clickAt(`[data-user=ivy] summary`)
	ivo.click("whisper-ivy")
	ivo.chat("Are you there?")
	ivo.says("messages", "not online")
	ivy.run(chromedp.Reload())
	ivy.settled("ivy")
	ivy.says("ignored", "ivo") // it is kept
	ivy.eval(`document.querySelector('[data-testid=ignored-box]').open = true; 0`)
	ivy.click("unignore-ivo")
	ivy.is(`document.querySelector('[data-testid=ignored-box]').hidden`)
	ivo.chat("And now?")
	ivy.is(`document.querySelector('[data-channel="@ivo"] .unread')?.textContent === '1'`)
	require.Equal(t, false, ivy.eval(`document.body.textContent.includes('Are you there?')`))
}

// A backend's own event is in the send box, with a template of its schema.
func backendEvents(t *testing.T, s server, browser context.Context) {
	const contract = `{"channels": {"asks": {"messages": {"quest_start": {"name": "quest:start", "payload": {"$ref": "#/components/schemas/Quest"}}}}, "casts": {"messages": {}}},
		"operations": {"quest_start": {"summary": "Starts a quest.", "x-limits": ["quests"]}},
		"components": {"schemas": {"Quest": {"type": "object", "required": ["questId", "level"], "additionalProperties": false,
			"properties": {"questId": {"type": "string", "enum": ["dragon", "harbor"]}, "level": {"type": "integer", "minimum": 3}}}}}}`
	front := proxied(t, s, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(contract)) }, func(r *http.Request) bool { return r.URL.Path == "/asyncapi.json" })
	p := open(t, browser, front, 1280, 720)
	p.write("username", "quentin\r")
	p.has("state", `n.dataset.state === 'connected'`)
	p.has("send-event", `n.value === 'quest:start'`)
	p.has("send-payload", `JSON.parse(n.value).questId === 'dragon' && JSON.parse(n.value).level === 3`)
	p.says("send-about", "Starts a quest. Limit: quests.")
	p.click("send")
	p.says("send-outcome", "UNKNOWN_EVENT")

	broken := proxied(t, s, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }, func(r *http.Request) bool { return r.URL.Path == "/asyncapi.json" })
	q, _ := openPage(t, browser, broken, 1280, 720)
	q.write("username", "quincy\r")
	q.has("state", `n.dataset.state === 'connected'`)
	q.says("send-about", "HTTP 500")
}

// sizes: what is important is on the screen, and fingers hit what they aim at.
func sizes(t *testing.T, s server, browser context.Context) {
	// cut is each panel of which a part is hidden without a sign: no shadow, nothing to scroll.
	const cut = `[...document.querySelectorAll('.console *')].filter((n) => n.checkVisibility() && !n.closest('.sr') && n.scrollHeight > n.clientHeight + 1 && n.clientHeight > 0 && getComputedStyle(n).overflowY === 'hidden' && n.childElementCount).map((n) => n.className || n.tagName).join()`
	for name, c := range map[string]struct {
		width, height int64
		below         string // what must not be below an edge
	}{
		"desk":   {1440, 900, `.chat, .compose, .join, .fight .begin, .inspector, .connection, .limits, [data-testid=limit-chat], [data-testid=send], [data-testid=send-payload]`},
		"laptop": {1280, 720, `.chat, .compose, .fight .begin, .inspector, .connection, [data-testid=send]`},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, browser, s.url, c.width, c.height)
			p.login("sid")
			require.Equal(t, "", p.eval(fmt.Sprintf(`[...document.querySelectorAll(%q)].filter((n) => { const r = n.getBoundingClientRect(); return r.bottom > innerHeight || r.right > innerWidth; }).map((n) => n.className || n.dataset.testid).join()`, c.below)))
			require.Equal(t, "", p.eval(cut))
			if name == "laptop" {
				p.picture("screenshot-laptop")
			}
			for _, panel := range []string{"limits", "send", "fight"} {
				require.Contains(t, p.eval(fmt.Sprintf(`getComputedStyle(document.querySelector('.panel.%s')).backgroundAttachment`, panel)), "local", "a shadow says that there is more")
			}
		})
	}
	t.Run("two players on a laptop", func(t *testing.T) {
		p := open(t, browser, s.url, 1280, 720)
		p.login("sol")
		p.click("add-player")
		p.write("username", "sue\r")
		p.player(2).settled("sue")
		require.Equal(t, 1280.0, p.eval(`document.querySelector('.consoles').scrollWidth`), "both fit")
		p.player(2).click("logout")
		p.click("logout")
	})
	t.Run("phone", func(t *testing.T) {
		p := open(t, browser, s.url, 390, 844)
		p.run(call(emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: true}))
		require.Equal(t, "", p.eval(small), "the login")
		require.Equal(t, "list-item", p.eval(`getComputedStyle(document.querySelector('#by-session summary')).display`), "a triangle says that it unfolds")
		p.login("tip")
		for _, panel := range []string{"fight", "trade", "items", "ranks"} {
			p.click("tab-" + panel)
			require.Equal(t, "", p.eval(small), panel)
		}
		require.Equal(t, 390.0, p.eval(`document.documentElement.scrollWidth`))
		require.Equal(t, 390.0, p.eval(`document.querySelector('.console').scrollWidth`), "nothing sticks out")
		require.Equal(t, true, p.eval(`document.querySelector('.messages').clientWidth > 330`), "the chat has the width")
		require.Equal(t, false, p.eval(`document.querySelector('[data-testid=people]').checkVisibility()`))
		p.click("fold")
		p.has("people", `n.checkVisibility()`)
		require.Equal(t, "", p.eval(small), "people")
		p.click("fold")
		p.click("tab-fight")
		p.click("fight-start")
		p.is(`document.querySelectorAll('[data-testid=fighter]').length === 2`)
		require.Equal(t, 0.0, p.eval(`[...document.querySelectorAll('kbd')].filter((n) => n.checkVisibility()).length`), "hints of keys on a touch screen")
		require.Equal(t, "", p.eval(cut))
	})
}
