package testclient

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// focus gives an element the focus, as a reader does with Tab or a click.
func (p tab) focus(id string) {
	p.t.Helper()
	p.has(id, `n.checkVisibility()`)
	p.eval(fmt.Sprintf(`document.querySelector(%q).focus(); 0`, string(p.sel(id))))
}

// hasFocus waits until the element with the focus is that of a test id, or is in it.
func (p tab) hasFocus(id string) {
	p.t.Helper()
	p.is(fmt.Sprintf(`document.activeElement?.closest('[data-testid="%s"]')`, id))
}

// focusStays: what other players do, and what ends, takes the focus from nobody. Where its element
// goes, it goes to what stands in its place.
func focusStays(t *testing.T, s server, browser context.Context) {
	fay, foe := open(t, browser, s.url, 1280, 720), loginThroughGap(t, s, browser, "foe")
	fay.login("fay")
	fay.hasFocus("console")
	fay.says("people", "foe")

	// A challenge comes while she writes in another panel: that one stays, and the other's tab has a
	// mark until she looks.
	fay.click("tab-trade")
	fay.write("trade-to", "fo")
	foe.write("opponent", "fay\r")
	fay.told("toasts", "foe challenges you.")
	fay.says("tab-fight", "news")
	fay.hasFocus("trade-to")
	fay.run(chromedp.KeyEvent("e"))
	fay.has("trade-to", `n.value === 'foe' && n.checkVisibility()`)
	// He begins a trade as well, which takes the place of what she writes in.
	foe.click("tab-trade")
	foe.write("trade-to", "fay\r")
	fay.hasFocus("offer-what")
	foe.click("trade-cancel")
	fay.says("trade-reason", "cancelled")
	fay.hasFocus("trade-to")

	fay.click("tab-fight")
	fay.has("tab-fight", `!n.textContent.includes('news')`)
	if left, _ := fay.eval(`parseInt(document.querySelector('[data-testid=challenge] small')?.textContent ?? 0)`).(float64); left < 15 { // of 30 s
		fay.is(`document.querySelectorAll('[data-testid=challenge]').length === 0`)
		foe.click("tab-fight")
		foe.write("opponent", "fay\r")
	}
	fay.focus("decline")
	fay.run(chromedp.KeyEvent("\r"))
	fay.is(`document.querySelectorAll('[data-testid=challenge]').length === 0`)
	fay.is(`document.activeElement?.getAttribute('aria-label') === 'Fight log'`)

	// A fight ends: another Enter does not begin the next one.
	fay.focus("fight-start")
	fay.run(chromedp.KeyEvent("\r"))
	fay.hasFocus("attack")
	over := `document.querySelector('[data-testid=fight-status]').textContent === 'over'`
	for i := 0; fay.eval(over) != true; i++ {
		require.Less(t, i, 400, "she does not get away")
		fay.is(over + ` || !document.querySelector('[data-testid=limit-combat].refused')`)
		fay.eval(`((n) => { n.focus(); n.click(); })(document.querySelector('[data-testid=flee]')); 0`)
	}
	fay.is(`document.activeElement?.getAttribute('aria-label') === 'Fight log'`)

	// A notice stays while it has the focus, and gives it back.
	fay.click("tab-trade")
	fay.write("trade-to", "fay\r")
	fay.is(`((n) => { n?.focus(); return Boolean(n); })(document.querySelector('[data-testid=toast] button'))`)
	fay.run(chromedp.KeyEvent("\r"))
	fay.hasFocus("trade-to")

	// A player leaves whose name in the list has the focus.
	fay.is(`document.querySelector('[data-user=foe] summary')`)
	fay.eval(`document.querySelector('[data-user=foe] summary').focus(); 0`)
	foe.click("logout")
	fay.is(`!document.querySelector('[data-testid=people] [data-user=foe]')`)
	fay.hasFocus("people")

	// The login of another player lies over the page: the focus stays in it. When that player's
	// session ends, she plays on.
	fay.click("add-player")
	fay.hasFocus("username")
	for range 12 {
		fay.run(chromedp.KeyEvent("\t"))
		require.Equal(t, true, fay.eval(`document.activeElement === document.body || Boolean(document.activeElement.closest('#login, .skip, #toasts'))`))
	}
	fay.write("username", "fin\r")
	fay.player(2).settled("fin")
	fay.player(1).focus("chat-text")
	s.cli(t, "user", "ban", "fin", "--for", "24h", "--reason", "spam")
	fay.told("toasts", "This user is banned")
	fay.is(`document.querySelectorAll('[data-testid=console]').length === 1 && document.querySelector('#login').hidden`)
	fay.hasFocus("chat-text")

	// The connection comes back by itself while she is at "Try now".
	foe.login("fox")
	foe.waitsSeconds.Store(1)
	foe.cut()
	foe.focus("try-now")
	foe.isCut.Store(false)
	foe.settled("fox")
	foe.hasFocus("state")
}
