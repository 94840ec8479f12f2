package testclient

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// violations is what axe-core has against what is shown, by the success criteria of WCAG 2.2 A and
// AA and its best practices: one line each, with the elements.
const violations = `window.found = undefined;
axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa', 'best-practice'] }).then(({ violations }) => {
	window.found = violations.map((v) => v.id + ' (' + v.help + '): ' + v.nodes.map((n) => n.html.slice(0, 200) + (n.any[0]?.message ?? n.all[0]?.message ?? n.none[0]?.message ?? '')).join(' | ')).join('\n');
}, (e) => { window.found = 'axe: ' + e; }); 0`

// isReachable requires that axe-core has nothing against what is shown, light and dark.
func (p tab) isReachable(view string) {
	p.t.Helper()
	source, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	require.NoError(p.t, err, "axe-core is missing: run npm ci in web/testclient")
	if p.eval(`typeof axe`) == "undefined" {
		p.eval(string(source) + "\n;0")
	}
	p.eval(`document.querySelectorAll('.console').forEach((n) => { n.scrollTop = 0; }); 0`) // else the sticky bars cover what is under them
	for _, dark := range []bool{false, true} {
		p.dark(dark)
		p.eval(violations)
		p.is(`window.found !== undefined`)
		if found := fmt.Sprint(p.eval(`window.found`)); found != "" {
			p.t.Errorf("%s (dark: %v):\n%s", view, dark, found)
		}
	}
	p.dark(false)
}

// reachable looks at every view with axe-core.
func reachable(t *testing.T, s server, browser context.Context) {
	for name, size := range map[string][2]int64{"desk": {1440, 900}, "phone": {390, 844}} {
		t.Run(name, func(t *testing.T) {
			me, other := "rae-"+name, "ray-"+name
			s.cli(t, "trade", "mint", "--character", me, "--item", "potion", "--qty", "2")
			p := open(t, browser, s.url, size[0], size[1])
			p.is(`!document.querySelector('#login').hidden`)
			p.isReachable("login")
			p.write("username", me+"\r")
			p.settled(me)
			p.chat("Hello.")
			p.says("messages", "Hello.")
			p.isReachable("chat and fight")
			p.click("fight-start")
			p.is(`document.querySelectorAll('[data-testid=fighter]').length === 2`)
			p.isReachable("a fight")
			p.click("tab-items")
			p.is(`document.querySelector('[data-item=potion]')`)
			p.isReachable("items")
			p.click("tab-ranks")
			p.says("my-rank", "Win a fight")
			p.isReachable("ranks")
			p.eval(`document.querySelector('[data-testid=event]').click()`)
			p.run(chromedp.WaitVisible(p.sel("detail")))
			p.isReachable("an event's details")
			p.click("detail-close")

			// A second player: fight, trade and people of both.
			p.click("add-player")
			p.run(chromedp.WaitVisible(p.sel("cancel")))
			p.isReachable("the login of a second player")
			p.write("username", other+"\r")
			p.player(2).settled(other)
			p.player(1).click("tab-trade")
			p.isReachable("no trade yet")
			p.player(1).write("trade-to", other+"\r")
			p.player(2).run(chromedp.WaitVisible(p.player(2).sel("offer-add")))
			p.isReachable("two players who trade")
			p.player(2).click("trade-cancel")
			p.player(1).says("trade-reason", "cancelled")
			p.player(1).click("toggle")
			p.player(1).has("state", `n.dataset.state === 'offline'`)
			p.isReachable("offline")
			p.player(1).click("toggle")
			p.player(1).settled(me)
			p.player(1).click("logout")
			p.is(`document.querySelectorAll('[data-testid=console]').length === 1`)
			p.click("logout")
			p.is(`!document.querySelector('[data-testid=console]')`)
		})
	}
}

// keyboard plays without a mouse: tabs by arrows, events by arrows, and nothing moves the focus.
func keyboard(t *testing.T, s server, browser context.Context) {
	p := open(t, browser, s.url, 1280, 720)
	p.login("kay")
	focused := func(id string) { p.is(fmt.Sprintf(`document.activeElement?.dataset.testid === %q`, id)) }
	tabTo := func(id string) {
		t.Helper()
		for range 80 {
			if p.eval(`document.activeElement?.dataset.testid ?? ''`) == id {
				return
			}
			p.run(chromedp.KeyEvent("\t"))
		}
		require.Fail(t, "Tab does not get there", id)
	}
	tabTo("chat-text")
	p.run(chromedp.KeyEvent("hello\r"))
	p.says("messages", "hello")
	focused("chat-text")

	tabTo("tab-fight")
	p.run(chromedp.KeyEvent(kb.ArrowRight))
	focused("tab-trade")
	require.Equal(t, true, p.eval(`document.querySelector('[data-testid=trade-propose]').checkVisibility()`))
	p.run(chromedp.KeyEvent(kb.ArrowLeft))
	tabTo("fight-start")
	p.run(chromedp.KeyEvent("\r"))
	p.is(`document.querySelectorAll('[data-testid=fighter]').length === 2`)
	focused("attack")
	p.run(chromedp.KeyEvent("\r"), chromedp.KeyEvent("d"))
	p.says("fight-log", "guard")

	// The list of events is one tab stop, in which arrows choose; what comes moves neither the
	// choice nor the list.
	tabTo("events")
	p.run(chromedp.KeyEvent(kb.ArrowDown))
	p.is(`document.querySelectorAll('[data-testid=event][aria-selected=true]').length === 1`)
	chosen := `document.getElementById(document.querySelector('[data-testid=events]').getAttribute('aria-activedescendant'))`
	p.is(chosen + `?.getAttribute('aria-selected') === 'true'`)
	p.eval(`window.chosen = ` + chosen + `; window.was = window.chosen.getBoundingClientRect().top; 0`)
	before := p.eval(`document.querySelector('[data-testid=detail]').textContent`)
	castMessages(t, s, "kay", 100, 1_000_000_000)
	p.says("messages", "kay 99,")
	p.says("follow", "new")
	require.Equal(t, true, p.eval(chosen+` === window.chosen && window.was === window.chosen.getBoundingClientRect().top`))
	require.Equal(t, before, p.eval(`document.querySelector('[data-testid=detail]').textContent`))
	focused("events")
	p.run(chromedp.KeyEvent("\r"))
	focused("detail")
	p.run(chromedp.KeyEvent("\x1b"))
	focused("events")
	p.is(`document.querySelector('[data-testid=follow]').hidden`)

	// Who has scrolled up to read stays there; what is new is counted.
	p.eval(`document.querySelector('.messages').scrollTop = -120; 0`)
	p.is(`document.querySelector('.messages').scrollTop < -100`)
	p.eval(`window.seen = [...document.querySelectorAll('[data-testid=message]')].map((n) => n.textContent + n.getBoundingClientRect().top).join(); 0`)
	castMessages(t, s, "up", 40, 1_000_000_000)
	p.says("newer", "40 new")
	p.is(`document.querySelector('.messages').scrollTop < -100`)
	tabTo("newer")
	p.run(chromedp.KeyEvent("\r"))
	p.says("messages", "up 39,")

	// What a screen reader hears.
	heard := func(text string) { p.says("announcer", text) }
	heard("more")
	p.click("drop")
	heard("kay: reconnecting")
	heard("kay: connected")
	p.click("tab-trade")
	p.write("trade-to", "kay\r")
	p.run(chromedp.WaitVisible(p.sel("toast")))
	heard(strings.TrimSpace(fmt.Sprint(p.eval(`document.querySelector('[data-testid=toast] b').textContent`))))
}

// stillness: who wants less motion gets none.
func stillness(t *testing.T, s server, browser context.Context) {
	p := open(t, browser, s.url, 1280, 720)
	p.media("prefers-reduced-motion", "reduce")
	p.login("ida")
	p.click("fight-start")
	p.click("attack")
	p.says("fight-log", "Training dummy")
	require.Equal(t, 0.0, p.eval(`document.getAnimations().length`))
	require.Equal(t, "", p.eval(`[...document.querySelectorAll('*')].filter((n) => parseFloat(getComputedStyle(n).transitionDuration) > 0).map((n) => n.className).join()`))
}
