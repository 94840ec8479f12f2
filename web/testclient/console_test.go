package testclient

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// Two guests in one tab: each console is a player of its own, and a reload brings both back.
func sideBySide(t *testing.T, s server, browser context.Context) {
	p := open(t, browser, s.url, 1600, 900)
	p.login("sia")
	p.click("add-player")
	p.write("username", "stu\r")
	p.player(2).settled("stu")
	p.player(1).chat("Can you hear me, Stu?")
	p.player(2).says("messages", "Can you hear me, Stu?")
	p.player(2).chat("Clearly.")
	p.player(1).says("messages", "Clearly.")
	require.Equal(t, 2.0, p.eval(`document.querySelectorAll('[data-testid=player]').length`))
	require.Equal(t, 2.0, p.eval(`document.querySelectorAll('[data-testid=console]').length`))

	p.run(chromedp.Reload())
	p.player(1).settled("sia")
	p.player(2).settled("stu")
	p.player(1).says("messages", "Clearly.") // what was said before
	p.player(1).click("logout")
	p.is(`document.querySelectorAll('[data-testid=console]').length === 1`)
	p.settled("stu")

	p.click("add-player")
	p.run(chromedp.WaitVisible(p.sel("cancel")), chromedp.KeyEvent("\x1b"))
	p.is(`document.querySelector('#login').hidden`)
}

// Dan challenges Eva from his tab; she declines, then accepts after a reload; both see the same
// fight, and a reload comes back to it.
func duel(t *testing.T, s server, browser context.Context) {
	dan, eva := open(t, browser, s.url, 1440, 900), open(t, browser, s.url, 390, 844)
	eva.login("eva")
	dan.login("dan")
	dan.write("opponent", "eva\r")
	dan.says("fight-log", "You have challenged eva: 30 s to answer.")
	eva.says("challenges", "dan challenges you")
	eva.click("decline")
	eva.is(`document.querySelectorAll('[data-testid=challenge]').length === 0`)
	dan.says("fight-log", "Your challenge: declined.")
	dan.write("opponent", "eva\r")
	eva.says("challenges", "dan challenges you")
	eva.run(chromedp.Reload())
	eva.says("challenges", "dan challenges you") // whoever comes back is told again
	eva.run(chromedp.WaitVisible(eva.sel("accept")))
	if to := os.Getenv("SHOW_CHALLENGE"); to != "" {
		eva.eval(`document.querySelector('[data-testid=challenges]').scrollIntoView()`)
		eva.shot(to)
	}
	eva.click("accept")
	eva.is(`document.querySelectorAll('[data-testid=challenge]').length === 0`)
	for _, p := range []tab{dan, eva} {
		p.is(`document.querySelectorAll('[data-testid=fighter]').length === 2`)
		p.says("fight-log", "The fight begins.")
	}
	for i := 0; ; i++ { // a blow may miss
		require.Less(t, i, 40, "nothing hits")
		dan.acts("attack", i)
		if hurt, _ := dan.eval(`Number(document.querySelector('[data-fighter=eva]').dataset.hp) < 100`).(bool); hurt {
			break
		}
	}
	left := fmt.Sprint(dan.eval(`document.querySelector('[data-fighter=eva]').dataset.hp`))
	eva.is(fmt.Sprintf(`document.querySelector('[data-fighter=eva]').dataset.hp === %q`, left))

	eva.eval(`document.querySelector('[data-testid=fight-status]').scrollIntoView()`)
	eva.picture("screenshot-phone")
	dan.picture("screenshot-duel")
	eva.run(chromedp.Reload())
	eva.says("fight-log", "You are back in the fight.")
	eva.is(fmt.Sprintf(`document.querySelector('[data-fighter=eva]').dataset.hp === %q`, left))
	over := `document.querySelector('[data-testid=fight-status]').textContent === 'over'`
	for i := 0; eva.eval(over) != true; i++ { // a flight may be stopped
		require.Less(t, i, 40, "nobody escapes")
		eva.acts("flee", i)
	}
	dan.says("fight-status", "over")
	dan.says("fight-log", "You win.")
	eva.says("fight-log", "dan wins.")
}

// acts does what it has done n times already in this fight, as soon as it may, and waits until the
// log says what came of it.
func (p tab) acts(action string, n int) {
	p.t.Helper()
	p.has(action, `!n.disabled && n.getAttribute('aria-disabled') !== 'true'`)
	p.is(`!document.querySelector('[data-testid=limit-combat].refused')`)
	p.click(action)
	p.is(fmt.Sprintf(`[...document.querySelectorAll('[data-testid=fight-log] li')].filter((line) => line.textContent.includes(%q)).length > %d`, action, n))
}

// Tom and Tia trade: each sees both offers, a change takes both acceptances back, and the goods
// move once both agree.
func twoOffers(t *testing.T, s server, browser context.Context) {
	s.cli(t, "trade", "mint", "--character", "tom", "--item", "shield", "--qty", "2")
	s.cli(t, "trade", "mint", "--character", "tia", "--gold", "500")
	tom, tia := open(t, browser, s.url, 1440, 900), open(t, browser, s.url, 1440, 900)
	tom.login("tom")
	tia.login("tia")
	tom.hasOnly("tom", "tia")
	tom.clickAt(`[data-user=tia] summary`)
	tom.click("trade-tia")
	for _, p := range []tab{tom, tia} {
		p.run(chromedp.WaitVisible(p.sel("offer-add")))
	}

	tom.click("offer-add") // a shield
	tom.click("offer-send")
	tia.is(`document.querySelector('[data-testid=their-offer] [data-item=shield]')?.dataset.qty === '1'`)
	tia.write("offer-qty", "120")
	tia.click("offer-add")
	tia.click("offer-send")
	tom.is(`document.querySelector('[data-testid=their-offer] [data-item=""]')?.dataset.qty === '120'`)
	tom.click("trade-accept")
	tia.has("their-side", `n.classList.contains('accepted')`)

	tia.write("offer-qty", "100") // less than Tom accepted
	tia.click("offer-add")
	tia.click("offer-send")
	tom.is(`document.querySelector('[data-testid=their-offer] [data-item=""]')?.dataset.qty === '100'`)
	tom.has("my-side", `!n.classList.contains('accepted')`)
	tia.has("their-side", `!n.classList.contains('accepted')`)
	tom.click("trade-accept")
	tia.has("their-side", `n.classList.contains('accepted')`)
	tia.picture("screenshot-trade")
	tia.click("trade-accept")
	tom.says("trade-reason", "completed")
	tia.says("trade-reason", "completed")
	tom.is(`document.querySelector('[data-item=shield][data-testid=item]')?.dataset.qty === '1'`)
	tia.is(`document.querySelector('[data-item=shield][data-testid=item]')?.dataset.qty === '1'`)
	tom.says("gold", "100 gold")
	tia.says("gold", "400 gold")

	tia.write("trade-to", "tom\r")
	tom.run(chromedp.WaitVisible(tom.sel("trade-cancel")))
	tom.click("trade-cancel")
	tia.says("trade-reason", "cancelled")
}

// A player who beats a goblin is paid, and is listed on the board.
func victory(t *testing.T, s server, browser context.Context) {
	p := open(t, browser, s.url, 1280, 900)
	p.login("vic")
	p.click("tab-ranks")
	p.says("my-rank", "Win a fight")
	p.click("tab-fight")
	p.write("opponent", "goblin\r")
	over := `document.querySelector('[data-testid=fight-status]').textContent === 'over'`
	for i := 0; p.eval(over) != true; i++ {
		require.Less(t, i, 400, "the goblin does not fall")
		p.eval(`document.querySelector('[data-testid=attack]').click()`)
		p.is(over + ` || !document.querySelector('[data-testid=limit-combat].refused')`)
	}
	p.says("fight-log", "You win.")
	p.click("tab-ranks")
	p.is(`document.querySelector('[data-testid=rank].own')?.textContent.includes('vic')`)
	p.says("my-rank", "You are number")
	p.run(chromedp.SetValue(p.sel("boards"), "weekly"))
	p.eval(`document.querySelector('[data-testid=boards]').dispatchEvent(new Event('change', {bubbles: true}))`)
	p.is(`document.querySelector('[data-testid=rank].own')?.textContent.includes('vic')`)
}

func whispers(t *testing.T, s server, browser context.Context) {
	wes, wil := open(t, browser, s.url, 1280, 900), open(t, browser, s.url, 1280, 900)
	wes.login("wes")
	wil.login("wil")
	wes.says("people", "wil")
	wes.hasOnly("wes", "wil")
	wes.clickAt(`[data-user=wil] summary`)
	wes.click("whisper-wil")
	wes.chat("Only for you, Wil.")
	wil.is(`document.querySelector('[data-channel="@wes"] .unread')?.textContent === '1'`)
	wil.clickAt(`[data-channel="@wes"]`)
	wil.says("messages", "Only for you, Wil.")
	wil.chat("I hear you.")
	wes.says("messages", "I hear you.")

	// Presence: a player who leaves disappears from the list, and one who comes appears.
	wil.click("logout")
	wes.clickAt(`[data-channel=global]`)
	wes.is(`!document.querySelector('[data-user=wil]')`)
	wil.login("wim")
	wes.is(`document.querySelector('[data-user=wim]')`)
	wil.click("logout-everywhere")
	wes.is(`!document.querySelector('[data-user=wim]')`)
}

// The send box knows every event that the server serves, and what it takes.
func anyEvent(t *testing.T, s server, browser context.Context) {
	p := open(t, browser, s.url, 1280, 900)
	p.login("amy")
	pick := func(event string) {
		p.run(chromedp.SetValue(p.sel("send-event"), event))
		p.eval(`document.querySelector('[data-testid=send-event]').dispatchEvent(new Event('change', {bubbles: true}))`)
	}
	pick("chat:message")
	p.has("send-payload", `JSON.parse(n.value).channel === 'global' && JSON.parse(n.value).text === ''`)
	p.says("send-problem", "text: is empty")
	p.write("send-payload", `{"channel":"global","text":"from the box","loud":1}`)
	p.says("send-problem", "loud: unknown field")
	p.click("send")
	p.says("send-outcome", "INVALID: loud unknown field")
	p.write("send-payload", `{"channel":"global","text":"from the box"}`)
	p.has("send-problem", `n.textContent === ''`)
	p.click("send")
	p.says("send-outcome", `ok {"id"`)
	p.says("messages", "from the box")

	pick("session:ping")
	p.has("send-payload", `n.value === ''`)
	p.click("send")
	p.says("send-outcome", `"serverTime"`)
	pick("combat:action")
	p.has("send-payload", `JSON.parse(n.value).action === 'attack'`)
	p.says("send-about", "Limit: combat.")

	served, _ := p.eval(`fetch('/asyncapi.json').then(r => r.json()).then(d => { window.events = Object.values(d.channels.asks.messages).map(m => m.name).sort().join() })`).(string)
	require.Empty(t, served)
	p.is(`window.events && [...document.querySelectorAll('[data-testid=send-event] option')].map(o => o.value).sort().join() === window.events`)
	p.is(`document.querySelector('[data-testid=event][data-event="session:ping"] .ms')?.textContent.endsWith(' ms')`)
}

// A connection that is dropped comes back; one that the player closed stays closed; the player
// chooses the transport.
func connection(t *testing.T, s server, browser context.Context) {
	var polls pollTimes
	cat, cid := open(t, browser, proxied(t, s, nil, polls.record), 1280, 900), open(t, browser, s.url, 1280, 900)
	cat.login("cat")
	cid.login("cid")
	was := cat.matching("limits")
	cat.click("drop")
	cat.counts("limits", func(n int) bool { return n > was })
	cat.settled("cat")

	cat.click("toggle")
	cat.has("state", `n.dataset.state === 'offline'`)
	cat.click("toggle")
	cat.settled("cat")

	pick := func(way string) {
		cat.run(chromedp.SetValue(cat.sel("ways"), way))
		cat.eval(`document.querySelector('[data-testid=ways]').dispatchEvent(new Event('change', {bubbles: true}))`)
	}
	pick("polling")
	cat.says("transport", "polling")
	pick("websocket")
	cat.says("transport", "websocket")

	// A slow reader fetches every four seconds what the server keeps for it meanwhile.
	was = cat.matching("chat:join ok")
	polls.forget()
	cat.click("slow")
	cat.says("transport", "polling")
	cat.says("node", "demo-1")
	cat.counts("chat:join ok", func(n int) bool { return n > was })
	cid.chat("Are you asleep?")
	cat.says("messages", "Are you asleep?")
	cat.settled("cat")
	require.Eventually(t, func() bool { return len(polls.gaps()) >= 3 }, patience, 50*time.Millisecond)
	for _, gap := range polls.gaps() {
		require.Greater(t, gap, 3950*time.Millisecond, "it reads late")
	}
	cat.click("slow")
	cat.says("transport", "websocket")
}

// pollTimes are the times at which the polls of one connection began.
type pollTimes struct {
	mu sync.Mutex
	of map[string][]time.Time // by connection; guarded by mu
}

// record takes down a request that is a poll, and leaves it to the gateway.
func (p *pollTimes) record(r *http.Request) bool {
	if id := r.URL.Query().Get("sid"); r.Method == http.MethodGet && r.URL.Query().Get("transport") == "polling" && id != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.of == nil {
			p.of = map[string][]time.Time{}
		}
		p.of[id] = append(p.of[id], time.Now())
	}
	return false
}

func (p *pollTimes) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of = nil
}

// gaps returns the times from one poll of a connection to its next.
func (p *pollTimes) gaps() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gaps []time.Duration
	for _, times := range p.of {
		for i := range len(times) - 1 {
			gaps = append(gaps, times[i+1].Sub(times[i]))
		}
	}
	return gaps
}
