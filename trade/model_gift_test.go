package trade_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// giftModel is one idempotency key on a Cluster, sent over two nodes: each makes a gift of its own
// under it. How goods get into escrow and out of it is model's; here a hold that comes behind the
// end of its gift finds the mark.
type giftModel struct {
	record  int8 // whose gift stands under the key; 0: nobody's
	claimed int8 // the pair's fence,
	newest  int8 // and whose gift was settled under it
	gifts   [2]byte
	held    [2]bool
	given   int8
	nodes   [2]giver
}

// A giver is about to: 'r' recall, 'c' claim, 'q' end what the other left, 'b' begin, 'k' take the
// key, 'h' hold, 'd' decide; 0 is gone. Its gift is 's' settling, 'c' completed, 'f' failed, or 0
// when it has none.
type giver struct {
	at    byte
	was   int8 // what it has read under the key
	late  bool // its record is on its way
	heard int8 // which gift it was told to be done
}

// ends decides a gift that is settling.
func (m giftModel) ends(i int, to byte) giftModel {
	if m.gifts[i] != 's' {
		return m
	}
	if m.gifts[i] = to; to == 'c' {
		m.given++
	}
	m.held[i] = false
	return m
}

// keyed is record.lua.
func (m giftModel) keyed(i int, minds bool) (giftModel, bool) {
	mine := int8(i + 1)
	if minds && m.record != m.nodes[i].was && m.record != mine {
		return m, false
	}
	m.record = mine
	return m, true
}

// recalled is recall: what the key stands for, once it is decided.
func (m giftModel) recalled(i int) (n giftModel, free bool) {
	if m.record == 0 || m.gifts[m.record-1] == 'f' {
		m.nodes[i].was = m.record
		return m, true
	}
	if m.gifts[m.record-1] == 'c' {
		m.nodes[i].heard = m.record
	}
	return m, false // LOCKED, or the answer
}

func (m giftModel) next(minds bool) (all []giftModel) {
	add := func(n giftModel, i int, at byte) {
		n.nodes[i].at = at
		all = append(all, n)
	}
	for i, h := range m.nodes {
		mine := int8(i + 1)
		if h.late {
			n, _ := m.keyed(i, minds)
			n.nodes[i].late = false
			add(n, i, h.at)
		}
		if m.gifts[i] == 's' { // the sweeper, or anybody by force
			add(m.ends(i, 'f'), i, h.at)
		}
		if h.at != 0 {
			add(m, i, 0) // it dies
		}
		switch n := m; h.at {
		case 'r':
			if n, free := m.recalled(i); free {
				add(n, i, 'c')
			} else {
				add(n, i, 0)
			}
		case 'c':
			if n.claimed > mine {
				add(n, i, 0)
				break
			}
			n.claimed, n.newest = mine, mine
			if m.newest != 0 && m.newest != mine {
				add(n, i, 'q')
			} else {
				add(n, i, 'b')
			}
		case 'q':
			add(m.ends(1-i, 'f'), i, 'b')
		case 'b':
			n.gifts[i] = 's'
			add(n, i, 'k')
		case 'k':
			if n, ok := m.keyed(i, minds); ok {
				add(n, i, 'h')
			} else { // given up, and looked up
				n, _ := m.ends(i, 'f').recalled(i)
				add(n, i, 0)
			}
			n = m.ends(i, 'f') // no answer
			n.nodes[i].late = true
			add(n, i, 0)
		case 'h':
			if n.gifts[i] != 's' {
				add(n, i, 0)
				break
			}
			n.held[i] = true
			add(n, i, 'd')
		case 'd':
			n = m.ends(i, 'c')
			if n.gifts[i] == 'c' {
				n.nodes[i].heard = mine
			}
			add(n, i, 0)
			n.nodes[i].heard = 0 // no answer
			add(n, i, 0)
		}
	}
	return all
}

func (m giftModel) wrong() string {
	done := int8(0)
	for i, g := range m.gifts {
		if g == 'c' {
			done++
		}
		switch h := m.nodes[i].heard; {
		case g == 'c' && m.record != int8(i+1):
			return "the key does not lead to what was given under it"
		case h != 0 && m.gifts[h-1] != 'c':
			return "somebody was told of a gift that was not given"
		case m.held[i] && g != 's':
			return "goods stay in escrow"
		}
	}
	if done > 1 || done != m.given {
		return "it was given twice"
	}
	return ""
}

func exploreGift(minds bool) (states, given int, wrong string) {
	start := giftModel{nodes: [2]giver{{at: 'r'}, {at: 'r'}}}
	seen, todo := map[giftModel]bool{start: true}, []giftModel{start}
	for len(todo) > 0 {
		m := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if w := m.wrong(); w != "" {
			return len(seen), given, fmt.Sprintf("%s: %+v", w, m)
		}
		given += int(m.given)
		for _, n := range m.next(minds) {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return len(seen), given, ""
}

func TestTheModelOfAKeyIsSound(t *testing.T) {
	t.Parallel()
	states, given, wrong := exploreGift(true)
	require.Empty(t, wrong)
	require.Positive(t, given)
	t.Logf("%d states", states)
	_, _, wrong = exploreGift(false)
	require.NotEmpty(t, wrong, "a key that is taken whatever stands there: the exploration must notice")
	t.Log(wrong)
}
