package trade_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is one trade on a Cluster as saga.go and sweep.go have it: a gives one of two apples for
// one of b's two coins, a has accepted. What stands in Redis, how far everybody is who is at work
// on it, and which of their commands are still on their way. Every step of every actor, a death at
// any point, and every late or doubled command is explored.
//
// Two nodes hold the lock of the pair one after the other, under the fences 1 and 2; the first may
// stand still for as long as it likes. The second settles the same trade, or another deal of the
// pair, which takes what apples a has.
type model struct {
	status  byte // 'o' open, 's' settling, 'c' completed, 'f' failed, 'x' cancelled, 'e' expired
	fence   int8 // under which it is settling
	changed bool // a new offer took the acceptances back
	expired bool // by Redis's clock, as is
	over    bool // the deadline of the settlement,
	skewed  bool // and when no hold can be on its way any more

	apples, coins [2]int8 // in the inventories
	spent         int8    // apples that went with the other deal
	hold          [2]byte // 0, 'h' in escrow, 'd' the mark that close left
	ledger        bool

	claimed int8 // the pair's fence
	other   bool // the pair's newest trade is the other deal
	list    byte // when the sweeper looks: 'e' when it expires, 's' soon, 'n' now; 0 never

	holders  [2]holder
	cancel   byte // the party that cancels: 'w' watch, 'x' end, 0 gone
	look     byte // the sweeper has read it open, and is about to put it off: 'l', or 'm' when it was moved on the list since
	offering bool // the party that changes an offer has yet to
	outdated bool // the other deal was settled under fence 2
	stale    bool // and the trade was decided under fence 1 after that
}

// A holder of the lock is about to: 'w' watch, 'c' claim, 'b' begin, '0' '1' hold, 'd' decide, 'A'
// 'B' close, 'l' append, 'z' put it off; 'f' fail it, 'q' end what the one before left, 'o' settle
// the other deal; 0 is gone.
type holder struct {
	at   byte
	late bool // what it watched for is over: it may not begin any more
	// Commands that it sent and that have not arrived: begin, hold of each side, decide, fail.
	begin, decide, fail bool
	hold                [2]bool
}

// rulesOf are what a planted bug takes away.
type rulesOf struct{ marks, deadline, once, late, resolve, unmoved, watch, fence, version, clock bool }

var sound = rulesOf{true, true, true, true, true, true, true, true, true, true}

// watched is watch.lua, for soon.
func (m model) watched() model {
	if m.list = 's'; m.look == 'l' {
		m.look = 'm'
	}
	return m
}

func (m model) final() bool { return m.status != 'o' && m.status != 's' }

// begun is accept.lua with a fence.
func (m model) begun(i int, r rulesOf) (model, bool) {
	mine := int8(i + 1)
	switch {
	case m.status == 's' && m.fence == mine:
		return m, true
	case m.status != 'o', m.expired, m.changed && r.version, m.holders[i].late && r.late:
		return m, false
	}
	m.status, m.fence = 's', mine
	return m, true
}

// take is hold.lua.
func (m model) take(side int, r rulesOf) (n model, ok, short bool) {
	has := &m.apples[0]
	if side == 1 {
		has = &m.coins[1]
	}
	switch {
	case m.hold[side] == 'h':
		return m, true, false
	case m.hold[side] == 'd' && r.marks, m.over && r.deadline:
		return m, false, false
	case *has < 1:
		return m, false, true
	}
	*has--
	m.hold[side] = 'h'
	return m, true, false
}

// end is end.lua: the settlement is completed under a fence, or failed by one, or by anybody (0).
func (m model) end(to byte, fence int8) model {
	if m.status != 's' || fence != 0 && fence != m.fence {
		return m
	}
	m.status = to
	m.stale = to == 'c' && fence == 1 && m.outdated
	return m
}

// closed is close.lua, by the decision.
func (m model) closed(side int, r rulesOf) model {
	if m.hold[side] == 'h' {
		switch {
		case m.status == 'c' && side == 0:
			m.coins[0]++
		case m.status == 'c':
			m.apples[1]++
		case side == 0:
			m.apples[0]++
		default:
			m.coins[1]++
		}
		if !r.once {
			return m
		}
	}
	m.hold[side] = 'd'
	if m.skewed {
		m.hold[side] = 0
	}
	return m
}

// wrong names what may never be.
func (m model) wrong() string {
	apples, coins := m.apples[0]+m.apples[1]+m.spent, m.coins[0]+m.coins[1]
	from, to := 0, 1 // whose escrow has the apple, whose the coin: what was given, or after the decision what is still to come
	if m.status == 'c' {
		from, to = 1, 0
	}
	if m.hold[from] == 'h' {
		apples++
	}
	if m.hold[to] == 'h' {
		coins++
	}
	escrow := m.hold[0] == 'h' || m.hold[1] == 'h'
	switch {
	case apples != 2 || coins != 2:
		return "goods are lost or doubled"
	case m.status != 'c' && (m.apples[1] != 0 || m.coins[0] != 0):
		return "goods moved without a decision"
	case m.ledger && m.status != 'c':
		return "an entry without a decision"
	case m.status == 'c' && m.changed:
		return "what was completed is not what both accepted"
	case m.list == 0 && (!m.final() || escrow || m.status == 'c' && !m.ledger):
		return "nobody will look at it"
	case m.list == 'e' && (m.status == 's' || escrow):
		return "it is looked at when it expires, minutes later"
	case m.stale:
		return "decided by a holder who was overtaken"
	}
	return ""
}

// plain is the same state without what makes no difference any more.
func (m model) plain() model {
	if m.status != 'o' { // to an offer, a cancellation and the trade's own end it is over
		m.expired, m.offering, m.changed = true, false, m.changed && m.status != 'f'
		if m.cancel == 'x' {
			m.cancel = 0
		}
	}
	for i, h := range m.holders {
		m.holders[i].late = h.late && (h.at == 'c' || h.at == 'b' || h.begin)
	}
	return m
}

// settles lets the sweeper alone go on: all others are dead, what is on its way arrives, time goes
// by. It tells what is wrong then.
func (m model) settles(r rulesOf) string {
	m.cancel, m.offering, m.look, m.expired = 0, false, 0, true
	for i := range m.holders {
		m.holders[i].at, m.holders[i].late = 0, true
		for all := m.arrives(i, r); len(all) > 0; all = m.arrives(i, r) {
			m = all[0]
		}
	}
	if m.fence != 0 {
		m.over, m.skewed = true, true
	}
	for range 4 {
		if m.list != 0 {
			m.list = 'n'
		}
		if all := m.sweeps(r); len(all) > 0 {
			m = all[len(all)-1]
		}
	}
	if w := m.wrong(); w != "" {
		return w
	}
	if !m.final() || m.hold != [2]byte{} || m.list != 0 || m.ledger != (m.status == 'c') {
		return "the sweeper does not bring it to its end"
	}
	return ""
}

// explore walks through all states, and returns how many there are, how the trade ends in them, and
// the first that is wrong.
func explore(r rulesOf) (states int, ends map[byte]int, wrong string) {
	seen, ends := map[model]bool{}, map[byte]int{}
	var todo []model
	for _, second := range []byte{'w', 'o'} {
		start := model{status: 'o', apples: [2]int8{2, 0}, coins: [2]int8{0, 2}, list: 'e', cancel: 'w', offering: true}
		start.holders[0].at, start.holders[1].at = 'w', second
		seen[start], todo = true, append(todo, start)
	}
	for len(todo) > 0 {
		m := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		w := m.wrong()
		if w == "" {
			w = m.settles(r)
		}
		if w != "" {
			return len(seen), ends, fmt.Sprintf("%s: %+v", w, m)
		}
		ends[m.status]++
		for _, n := range m.next(r) {
			if n = n.plain(); !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return len(seen), ends, ""
}

func TestTheModelOfTheStepsIsSound(t *testing.T) {
	t.Parallel()
	states, ends, wrong := explore(sound)
	require.Empty(t, wrong)
	t.Logf("%d states", states)
	for _, status := range []byte("oscfxe") {
		require.Positive(t, ends[status], "%c", status)
	}
	for name, plant := range map[string]func(r *rulesOf){
		"a late hold finds no mark":                       func(r *rulesOf) { r.marks = false },
		"a late hold minds no deadline":                   func(r *rulesOf) { r.deadline = false },
		"close does not take the hold up":                 func(r *rulesOf) { r.once = false },
		"a late begin is taken":                           func(r *rulesOf) { r.late = false },
		"claim does not end what was left":                func(r *rulesOf) { r.resolve = false },
		"the sweeper puts off what was watched since":     func(r *rulesOf) { r.unmoved = false },
		"a settlement begins that the sweeper knows not":  func(r *rulesOf) { r.watch = false },
		"an overtaken holder's claim is taken":            func(r *rulesOf) { r.fence = false },
		"marks stay behind when it is forgotten":          func(r *rulesOf) { r.clock = false },
		"a settlement begins with what was not agreed to": func(r *rulesOf) { r.version = false },
	} {
		r := sound
		plant(&r)
		_, _, wrong := explore(r)
		require.NotEmpty(t, wrong, "%s: the exploration must notice", name)
		t.Log(name, "→", wrong)
	}
}
