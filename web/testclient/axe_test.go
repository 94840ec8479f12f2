package testclient

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// small are the controls that fingers miss: less than 44 px wide or high. A box is hit on its
// label.
const small = `[...document.querySelectorAll('button, input, select, textarea, summary, a, [role=option]')].filter((n) => n.checkVisibility() && !n.matches('.skip')).map((n) => (n.matches('[type=checkbox]') ? n.closest('label') : n)).filter((n) => { const r = n.getBoundingClientRect(); return r.width < 43.9 || r.height < 43.9; }).map((n) => n.outerHTML.slice(0, 90) + Math.round(n.getBoundingClientRect().width) + 'x' + Math.round(n.getBoundingClientRect().height)).join('\n')`

// squeezed are the buttons whose text is wider than they are.
const squeezed = `[...document.querySelectorAll('button')].filter((n) => n.checkVisibility() && n.scrollWidth > n.clientWidth + 1).map((n) => n.textContent).join()`

// isReachable requires that axe-core has nothing against what is shown, light and dark, that no
// button is too narrow, and that controls on a phone are as large as fingers. With SHOTS it puts a
// picture of each into that folder.
func (p tab) isReachable(view string) {
	p.t.Helper()
	p.eval(`document.querySelectorAll('.console').forEach((n) => { n.scrollTop = 0; }); 0`) // else the sticky bars cover what is under them
	p.isReachableHere(view)
}

// isReachableHere does the same where the page is scrolled to.
func (p tab) isReachableHere(view string) {
	p.t.Helper()
	source, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	require.NoError(p.t, err, "axe-core is missing: run npm ci in web/testclient")
	if p.eval(`typeof axe`) == "undefined" {
		p.eval(string(source) + "\n;0")
	}
	if found := fmt.Sprint(p.eval(squeezed)); found != "" {
		p.t.Errorf("%s: the text of buttons sticks out: %s", view, found)
	}
	if p.eval(`innerWidth < 720`) == true {
		if found := fmt.Sprint(p.eval(small)); found != "" {
			p.t.Errorf("%s: too small for fingers: %s", view, found)
		}
	}
	for _, dark := range []bool{false, true} {
		p.dark(dark)
		p.is(`document.getAnimations().every((a) => a.effect.getTiming().iterations === Infinity || a.playState !== 'running')`) // what fades in has no contrast yet
		p.eval(violations)
		p.is(`window.found !== undefined`)
		if found := fmt.Sprint(p.eval(`window.found`)); found != "" {
			p.t.Errorf("%s (dark: %v):\n%s", view, dark, found)
		}
		p.look(view, dark)
	}
	p.dark(false)
}

// look takes a picture of what is shown, and where panels stand below each other also of the one
// for playing.
func (p tab) look(view string, dark bool) {
	p.t.Helper()
	folder := os.Getenv("SHOTS")
	if folder == "" {
		return
	}
	path := filepath.Join(folder, strings.NewReplacer("/", "_", " ", "_", "'", "").Replace(fmt.Sprint(p.t.Name(), " ", view, " ", map[bool]string{false: "light", true: "dark"}[dark])))
	p.shot(path + ".png")
	if p.eval(`innerWidth < 720 && document.querySelector('.console')?.scrollTop === 0`) == true {
		p.eval(`document.querySelector('.decks').scrollIntoView(); 0`)
		p.shot(path + "_play.png")
		p.eval(`document.querySelector('.console').scrollTop = 0; 0`)
	}
}

// reachableSizes are the sizes at which views are looked at: a phone and another one, with SHOTS
// all three.
func reachableSizes(other string) map[string][2]int64 {
	sizes := map[string][2]int64{"desk": {1440, 900}, "laptop": {1280, 720}, "phone": {390, 844}}
	if os.Getenv("SHOTS") == "" {
		maps.DeleteFunc(sizes, func(name string, _ [2]int64) bool { return name != "phone" && name != other })
	}
	return sizes
}

// reachable looks at every view with axe-core.
func reachable(t *testing.T, s server, browser context.Context) {
	for name, size := range reachableSizes("desk") {
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

// reachableStates looks at what is not always there: refusals, challenges, whispers, whom one
// ignores, a connection that is lost and comes back, and the end of a session.
func reachableStates(t *testing.T, s server, browser context.Context) {
	for name, size := range reachableSizes("laptop") {
		t.Run(name, func(t *testing.T) {
			me, other := "uma-"+name, "ugo-"+name
			s.cli(t, "trade", "mint", "--character", me, "--item", "potion", "--qty", "2")
			u := open(t, browser, s.url, 1280, 720)
			u.login(other)
			p := loginThroughGap(t, s, browser, me)
			p.run(chromedp.EmulateViewport(size[0], size[1]))
			p.says("people", other)
			if p.eval(`document.querySelector('[data-testid=people]').checkVisibility()`) == false {
				p.click("fold")
			}
			person := func(who string) chromedp.CSS { return chromedp.CSS(`[data-user=` + who + `] summary`) }
			p.hasOnly(me, other)
			p.clickAt(person(other))
			p.isReachable("people")
			p.click("ignore-" + other)
			p.says("ignored", other)
			p.eval(`document.querySelector('[data-testid=ignored-box]').open = true; 0`)
			p.isReachable("ignored users")
			p.click("unignore-" + other)
			p.is(`document.querySelector('[data-testid=ignored-box]').hidden`)
			p.clickAt(person(other))
			p.click("whisper-" + other)
			p.chat("Only for you.")
			p.says("messages", "Only for you.")
			p.is(`!document.querySelector('.there').checkVisibility()`) // there is nobody to list
			p.isReachable("a whisper")

			u.write("opponent", me+"\r")
			p.says("challenges", "challenges you")
			p.isReachable("a challenge")
			p.eval(`document.querySelector('[data-testid=decline]')?.click(); 0`) // it may have gone: it is open for 30 s
			p.is(`document.querySelectorAll('[data-testid=challenge]').length === 0`)
			p.write("opponent", "training-dummy\r")
			p.is(`document.querySelectorAll('[data-testid=fighter]').length === 2`)
			p.eval(`for (let i = 0; i < 12; i++) document.querySelector('[data-testid=attack]').click(); 0`) // ten are allowed
			p.told("toasts", "RATE_LIMITED")
			p.isReachable("a refusal")
			p.eval(`document.querySelector('[data-testid=limits]').scrollIntoView(); 0`)
			p.isReachableHere("limits")
			p.eval(`((n) => { n.value = '{"channel":"global","text":"x","loud":1}'; n.dispatchEvent(new Event('input', {bubbles: true})); n.scrollIntoView(); })(document.querySelector('[data-testid=send-payload]')); 0`)
			p.says("send-problem", "loud: unknown field")
			p.click("send")
			p.says("send-outcome", "INVALID")
			p.isReachableHere("a payload that is refused")
			p.eval(`((n) => { n.value = 'nothing like it'; n.dispatchEvent(new Event('input', {bubbles: true})); n.scrollIntoView(); })(document.querySelector('[data-testid=filter]')); 0`)
			p.says("event-count", "0 match")
			p.isReachableHere("a filter that nothing matches")

			p.cut()
			p.says("banner", "Trying again")
			p.isReachable("reconnecting")
			p.mend()
			p.says("banner", "and nothing is missing")
			p.isReachable("recovered")
			s.cli(t, "user", "ban", me, "--for", "24h", "--reason", "spam")
			p.says("login-notice", "BANNED")
			p.eval(`document.querySelector('#by-session').open = true; 0`)
			p.isReachable("banned")
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
	p.eval(`window.spoken = []; window.stayedMs = []; new MutationObserver((changes) => changes.forEach(({ addedNodes, removedNodes }) => {
		addedNodes.forEach((n) => { n.since = performance.now(); });
		if (addedNodes.length) spoken.push([...addedNodes].filter((n) => n.textContent.startsWith('npc')).length);
		removedNodes.forEach((n) => n.since && stayedMs.push(performance.now() - n.since));
	})).observe(document.querySelector('[data-testid=announcer]'), { childList: true }); 0`)
	castMessages(t, s, "kay", 100, time.Second)
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
	p.eval(`requestAnimationFrame(() => { window.hasScrolled = document.querySelector('.messages').scrollTop < -100; }); 0`) // the page hears of it in the frame
	p.is(`window.hasScrolled`)
	castMessages(t, s, "up", 40, time.Second)
	p.says("newer", "40 new")
	p.is(`document.querySelector('.messages').scrollTop < -100`)
	tabTo("newer")
	p.run(chromedp.KeyEvent("\r"))
	p.says("messages", "up 39,")

	// What a screen reader hears.
	heard := func(text string) { t.Helper(); p.told("announcer", text) }
	p.is(`told.announcer.some((said) => /^and \d+ more$/.test(said))`)
	// What happens to the connection is heard in a flood of messages too.
	p.eval(`new MutationObserver((changes, observer) => {
		if (!told.announcer.some((said) => said.includes('flood'))) return;
		observer.disconnect();
		setTimeout(() => document.querySelector('[data-testid=drop]').click(), 300);
	}).observe(document.querySelector('[data-testid=announcer]'), { childList: true }); 0`)
	castMessages(t, s, "flood", 50, 2*time.Second)
	heard("kay: reconnecting")
	heard("kay: connected")
	heard("and nothing is missing")
	p.click("tab-trade")
	p.write("trade-to", "kay\r")
	p.is(`told.toasts.length > 0`)
	code, _, _ := strings.Cut(fmt.Sprint(p.eval(`told.toasts.at(-1)`)), " ")
	heard(code)
	p.write("trade-to", "kay\r") // the same refusal is heard again
	p.is(fmt.Sprintf(`told.announcer.filter((said) => said.includes(%q)).length === 2`, code))
	p.has("announcer", `n.getAttribute('aria-atomic') === 'false'`) // what was heard before is not repeated
	require.Equal(t, 3.0, p.eval(`Math.max(...spoken)`), "of a flood, in each second")
	p.eval(`import('/js/announce.js').then(({ announce }) => {
		for (let i = 0; i < 30; i++) announce('state ' + i);
		for (const status of ['away', 'back', 'away']) announce('now: ' + status);
	}); 0`)
	heard("now: away")
	require.Equal(t, "state 24,state 25,state 26,state 27,state 28,state 29,now: back,now: away", p.eval(`told.announcer.slice(told.announcer.indexOf('state 24')).filter((said) => /^(state|now)/.test(said)).join()`))
	require.Equal(t, false, p.eval(`told.announcer.includes('state 23')`), "eight in a second, the newest")

	// A text stays for at least 5 s, and goes with the next one.
	p.eval(`window.settledAt = performance.now(); 0`)
	p.is(`performance.now() - settledAt > 5100`)
	p.write("trade-to", "kay\r")
	p.is(`stayedMs.length > 0`)
	require.GreaterOrEqual(t, p.eval(`Math.min(...stayedMs)`), 4990.0, "ms")
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
