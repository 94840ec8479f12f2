package testclient

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// One gateway and one browser serve all of these; each has players of its own.
func TestPage(t *testing.T) {
	t.Parallel()
	s, browser := serve(t), chromium(t)
	for name, test := range map[string]func(*testing.T, server, context.Context){
		"two tabs":       twoTabs,
		"widths":         widths,
		"ended session":  endedSession,
		"side by side":   sideBySide,
		"a duel":         duel,
		"a victory":      victory,
		"whispers":       whispers,
		"two offers":     twoOffers,
		"any event":      anyEvent,
		"connection":     connection,
		"page alone":     pageAlone,
		"reachable":      reachable,
		"states":         reachableStates,
		"keyboard":       keyboard,
		"focus":          focusStays,
		"stillness":      stillness,
		"lost":           lost,
		"came late":      cameLate,
		"came anew":      cameAnew,
		"banned":         banned,
		"ignoring":       ignoring,
		"backend events": backendEvents,
		"a backend":      realBackend,
		"sizes":          sizes,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, browser) })
	}
}

// Ann and Bob are two tabs of one browser: they talk, she gives him a potion, and she fights
// until the gateway stops her.
func twoTabs(t *testing.T, s server, browser context.Context) {
	for item, qty := range map[string]int{"sword": 3, "potion": 12, "iron-ore": 40} {
		s.cli(t, "trade", "mint", "--character", "ann", "--item", item, "--qty", strconv.Itoa(qty))
	}
	ann, bob := open(t, browser, s.url, 1440, 900), open(t, browser, s.url, 1440, 900)
	bob.login("bob")
	ann.login("ann")
	ann.says("node", "demo-1")
	ann.says("transport", "websocket")
	for range 8 {
		ann.click("ping")
	}
	ann.says("latency", "ms")
	ann.is(`/^(30:00|29:\d\d)$/.test(document.querySelector('[data-testid=ttl]').textContent)`)

	// Both see the messages of both, and markup in a message is text.
	bob.chat("Anyone for the <b>harbor</b> raid?")
	ann.says("messages", "Anyone for the <b>harbor</b> raid?")
	require.EqualValues(t, 0, ann.eval(`document.querySelectorAll('[data-testid=messages] b:not(header b)').length`))
	ann.chat("Me! Give me two minutes.")
	bob.says("messages", "Me! Give me two minutes.")
	bob.chat("Bring potions, please.")
	ann.says("messages", "Bring potions, please.")
	ann.chat("I have twelve. Take one, then you see how it works.")
	bob.says("messages", "Take one")
	ann.is(`document.querySelectorAll('[data-testid=message].own:not(.pending)').length === 2`)
	ann.write("channel", "zone:harbor\r")
	ann.is(`document.querySelector('[data-channel="zone:harbor"]')?.getAttribute('aria-selected') === 'true'`)
	bob.chat("Still there?")
	ann.is(`document.querySelector('[data-channel=global] .unread')?.textContent === '1'`)
	ann.clickAt(`[data-channel=global]`)
	ann.says("messages", "Still there?")

	// A gift moves the items; sent again with the same key, it does not.
	bob.click("tab-items")
	ann.click("tab-items")
	bob.is(`!document.querySelector('[data-testid=empty]').hidden`)
	bob.says("mint", "gateway trade mint --character bob")
	ann.write("give-to", "bob")
	ann.set("give-item", "potion")
	ann.click("give")
	ann.says("give-outcome", "completed")
	ann.is(`document.querySelector('[data-item=potion]')?.dataset.qty === '11'`)
	bob.is(`document.querySelector('[data-item=potion]')?.dataset.qty === '1'`)
	ann.click("give-again")
	ann.matches("trade:execute ok", 2)
	ann.click("refresh")
	ann.is(`document.querySelector('[data-item=potion]')?.dataset.qty === '11'`)

	// A fight: with the mouse, with the keyboard, and once too often.
	ann.click("tab-fight")
	ann.click("fight-start")
	ann.is(`document.querySelectorAll('[data-testid=fighter]').length === 2`)
	ann.click("attack")
	ann.says("fight-log", "Training dummy")
	ann.run(chromedp.KeyEvent("d"))
	ann.says("fight-log", "guard")
	ann.matches("combat:update", 2)
	// Ten actions are allowed in five seconds. The bar of the limit shows the refusal for so long.
	ann.eval(`window.waits = []; ((limit) => new MutationObserver(() => limit.matches('.refused') && window.waits.push(limit.querySelector('.left').textContent)).observe(limit, { attributes: true, childList: true, subtree: true }))(document.querySelector('[data-testid=limit-combat]')); 0`)
	ann.eval(`for (let i = 0; i < 12; i++) document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', bubbles: true, cancelable: true })); 0`)
	ann.told("toasts", "RATE_LIMITED")
	ann.says("fight-log", "RATE_LIMITED")
	ann.is(`window.waits.some((left) => left.startsWith('wait'))`)
	var before int
	ann.counts("combat:action", func(n int) bool {
		before = ann.matching("combat:action ok")
		return before+ann.matching("combat:action RATE_LIMITED") == 14
	})
	require.GreaterOrEqual(t, before, 10)
	ann.is(`document.querySelector('[data-testid=toast]')?.getAnimations().length !== 1`)
	ann.picture("screenshot")
	ann.dark(true)
	ann.picture("screenshot-dark")
	ann.dark(false)
	ann.is(`!document.querySelector('[data-testid=limit-combat]').classList.contains('refused')`)
	ann.click("attack")
	ann.matches("combat:action ok", before+1)

	// A reload comes back as the same player; a logout does not touch the other tab.
	ann.run(chromedp.Reload())
	ann.says("who", "ann")
	ann.is(`document.querySelector('[data-testid=state]')?.dataset.state === 'connected'`)
	ann.click("logout")
	ann.is(`!document.querySelector('#login').hidden && !document.querySelector('[data-testid=console]')`)
	bob.click("ping")
	bob.matches("session:ping ok", 2)
	require.NotContains(t, bob.eval(`document.body.textContent`), bob.eval(`JSON.parse(sessionStorage.getItem('gateway.sessions'))?.[0] ?? null`),
		"what opens a session is not shown")
}

func widths(t *testing.T, s server, browser context.Context) {
	for name, c := range map[string]struct {
		transport     string
		width, height int64
	}{
		"polling on a phone":    {"polling", 390, 844},
		"websocket on a tablet": {"websocket", 820, 1180},
		"polling on a desk":     {"polling", 1280, 720},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, browser, s.url+"/?transport="+c.transport, c.width, c.height)
			p.login("walt")
			p.says("transport", c.transport)
			p.chat("hello from " + name)
			p.is(fmt.Sprintf(`[...document.querySelectorAll('[data-testid=message].own:not(.pending)')].some((n) => n.textContent.includes(%q))`, "hello from "+name))
			p.click("fight-start")
			p.click("flee")
			p.says("fight-log", "flee")
			require.EqualValues(t, c.width, p.eval(`document.documentElement.scrollWidth`), "nothing sticks out")
			require.Equal(t, "", p.eval(`[...document.querySelectorAll('button, input, select, a')].filter((n) => n.checkVisibility() && !n.textContent.trim() && !n.getAttribute('aria-label') && !n.closest('label')).map((n) => n.outerHTML).join()`),
				"every control has a name")
		})
	}
}

// An open session that the server ends brings the login back, and says why.
func endedSession(t *testing.T, s server, browser context.Context) {
	p := open(t, browser, s.url+"/?transport=websocket", 1280, 800)
	p.login("eve")
	id, ok := p.eval(`JSON.parse(sessionStorage.getItem('gateway.sessions'))?.[0] ?? null`).(string)
	require.True(t, ok)
	s.cli(t, "session", "revoke", "--", id) // an id may begin with a -
	p.says("login-notice", "SESSION_REVOKED")
	require.Nil(t, p.eval(`JSON.parse(sessionStorage.getItem('gateway.sessions'))?.[0] ?? null`))

	p.clickAt("#by-session summary")
	p.run(chromedp.SendKeys(p.sel("session-id"), id+"\r"))
	p.says("login-notice", "This session is unknown or over")
	p.login("eve")
}

func pageAlone(t *testing.T, _ server, browser context.Context) {
	t.Run("these tests click again at what moves", func(t *testing.T) {
		p := open(t, browser, page(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `<!doctype html><title>a page</title><link rel="icon" href="data:,"><button data-testid="moves" style="position: fixed; left: 10px; top: 10px">Here</button>`)
		})), 800, 600)
		p.eval(`window.clicked = [];
			addEventListener('pointerdown', () => { document.querySelector('button').style.left = '400px'; }, { once: true });
			addEventListener('click', (e) => clicked.push(e.target.textContent)); 0`)
		p.click("moves")
		require.Equal(t, "Here", p.eval(`clicked.join()`))
		require.Equal(t, "400px", p.eval(`document.querySelector('button').style.left`))
	})
	t.Run("without the bundle it says how to get it", func(t *testing.T) {
		p := open(t, browser, page(t, newPageHandler(clone(t), true, "/socket.io/", false)), 800, 600)
		p.is(`document.body.textContent.includes('make build')`)
	})
	t.Run("without guest logins it asks for a session id", func(t *testing.T) {
		p := open(t, browser, page(t, Handler(false, "/socket.io/", false)), 800, 600)
		p.is(`document.querySelector('[data-testid=session-id]').checkVisibility()`)
		require.Equal(t, false, p.eval(`document.querySelector('[data-testid=login-form]').checkVisibility()`))
	})
}
