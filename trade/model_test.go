package trade_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is a settlement in steps as steps.go has it, with one apple that a gives to b: what stands in Redis,
// how far the process is that settles, and which of its commands are still on their way. Every step of every
// actor, a death at any point, and every late or doubled command is explored.
type model struct {
	status byte    // 's' settling, 'c' completed, 'f' failed
	over   bool    // the deadline, by Redis's clock
	apples [2]int8 // in the inventories
	hold   [2]byte // 0, 'h' held, 'd' the mark that close left
	ledger int8    // entries
	at     byte    // the process: 0 hold a, 1 hold b, 2 decide, 3 close a, 4 close b, 5 append, 9 gone
	onWay  [2]bool // a second hold, sent before an answer was lost
	swept  bool    // the marks have gone: nothing of this trade may come any more
}

// rulesOf are what a planted bug takes away.
type rulesOf struct{ marks, deadline, once bool }

func (m model) held() int8 {
	if m.hold[0] == 'h' {
		return 1
	}
	return 0
}

// take is hold.lua.
func (m model) take(side int, r rulesOf) (model, bool) {
	switch {
	case m.hold[side] == 'h':
		return m, true
	case m.hold[side] == 'd' && r.marks, m.over && r.deadline, side == 0 && m.apples[0] < 1:
		return m, false
	}
	if side == 0 {
		m.apples[0]--
	}
	m.hold[side] = 'h'
	return m, true
}

// end is close.lua, by the decision.
func (m model) end(side int, r rulesOf) model {
	if m.hold[side] == 'h' {
		switch {
		case m.status == 'c' && side == 1:
			m.apples[1]++
		case m.status == 'f' && side == 0:
			m.apples[0]++
		}
		if !r.once {
			return m
		}
	}
	m.hold[side] = 'd'
	return m
}

// next are all states that one step of anybody leads to.
func (m model) next(r rulesOf) (all []model) {
	add := func(n model) { all = append(all, n) }
	if !m.over {
		n := m
		n.over = true
		add(n)
	}
	if m.at != 9 {
		n := m
		n.at = 9 // it dies
		add(n)
	}
	for side := range 2 { // what was on its way arrives
		if m.onWay[side] {
			n, _ := m.take(side, r)
			n.onWay[side] = false
			add(n)
		}
	}
	switch m.at {
	case 0, 1:
		n, ok := m.take(int(m.at), r)
		if !ok {
			n.at = 9
		} else {
			n.at++
		}
		add(n)
		n.onWay[m.at] = true // it was sent twice, and one is late
		add(n)
	case 2:
		n := m
		n.at = 9
		if m.status == 's' {
			n.status, n.at = 'c', 3
		}
		add(n)
	case 3, 4:
		n := m.end(int(m.at-3), r)
		n.at++
		add(n)
	case 5:
		n := m
		n.ledger, n.at = 1, 9 // once, by the index
		add(n)
	}
	// The sweeper, on any node.
	if m.status == 's' && m.over {
		n := m
		n.status = 'f'
		add(n)
	}
	if m.status != 's' {
		for side := range 2 {
			add(m.end(side, r))
		}
		if m.status == 'c' && m.hold[0] != 'h' && m.hold[1] != 'h' {
			n := m
			n.ledger = 1
			add(n)
		}
	}
	if m.over && m.status != 's' && m.hold == [2]byte{'d', 'd'} {
		n := m
		n.hold, n.swept = [2]byte{}, true
		add(n)
	}
	return all
}

// wrong names what may never be.
func (m model) wrong() string {
	coming := int8(0) // b's, once b's side is closed
	if m.hold[1] == 'h' {
		coming = 1
	}
	switch {
	case m.status != 'c' && (m.apples[0]+m.held() != 1 || m.apples[1] != 0):
		return "an apple is lost or doubled without a decision"
	case m.status == 'c' && (m.apples[0] != 0 || m.apples[1]+coming != 1):
		return "an apple is lost or doubled behind the decision"
	case m.ledger == 1 && m.status != 'c':
		return "an entry without a decision"
	}
	return ""
}

// settle lets the sweeper alone go on: the process is dead, nothing is on its way, time goes by.
func (m model) settle(r rulesOf) string {
	m.at, m.over = 9, true
	for side := range 2 {
		if m.onWay[side] {
			m, _ = m.take(side, r)
			m.onWay[side] = false
		}
	}
	if m.status == 's' {
		m.status = 'f'
	}
	m = m.end(0, r).end(1, r)
	want := [2]int8{1, 0}
	if m.status == 'c' {
		want, m.ledger = [2]int8{0, 1}, 1
	}
	if m.apples != want || m.held() != 0 {
		return fmt.Sprintf("it ends as %c with %v", m.status, m.apples)
	}
	return m.wrong()
}

// explore walks through all states, and returns how many there are and the first that is wrong.
func explore(r rulesOf) (states int, wrong string) {
	start := model{status: 's', apples: [2]int8{1, 0}}
	seen, todo := map[model]bool{start: true}, []model{start}
	for len(todo) > 0 {
		m := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		w := m.wrong()
		if w == "" {
			w = m.settle(r)
		}
		if w != "" {
			return len(seen), fmt.Sprintf("%s: %+v", w, m)
		}
		for _, n := range m.next(r) {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return len(seen), ""
}

func TestTheModelOfTheStepsIsSound(t *testing.T) {
	t.Parallel()
	states, wrong := explore(rulesOf{marks: true, deadline: true, once: true})
	require.Empty(t, wrong)
	require.Greater(t, states, 100)
	t.Logf("%d states", states)
	for name, r := range map[string]rulesOf{
		"a late hold finds no mark":       {deadline: true, once: true},
		"a late hold minds no deadline":   {marks: true, once: true},
		"close does not take the hold up": {marks: true, deadline: true},
	} {
		_, wrong := explore(r)
		require.NotEmpty(t, wrong, "%s: the exploration must notice", name)
		t.Log(name, "→", wrong)
	}
}
