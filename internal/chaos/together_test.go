package chaos

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/trade"
)

// insist asks until it is answered otherwise than with LOCKED, and returns what it was told first
// and last.
func (w *world) insist(p *player, g gift) (first, last string) {
	first, answered := w.giveGift(p, g)
	for last = first; !answered; {
		time.Sleep(time.Millisecond) // while the other is at it
		last, answered = w.giveGift(p, g)
	}
	return first, last
}

// One player is connected to two gateways, and sends the same key to both at the same moment: with
// the same body it is one settlement, and one answer; with another body one of the two is a
// CONFLICT.
func TestTheSameKeyFromTwoNodes(t *testing.T) {
	t.Parallel()
	rounds := 30
	if isFullRun() {
		rounds = 200
	}
	for name, at := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, at(t))
			one, two := w.startGateway(""), w.startGateway("")
			here, there := w.connectForTest(one, 0), w.connectForTest(two, 0)
			firsts := map[string]int{}
			for i := range rounds {
				g := w.newGift(0, 1, 1)
				other := g
				if i%2 == 1 {
					other.goods = trade.Goods{Gold: 1}
				}
				var first, last [2]string
				var both sync.WaitGroup
				both.Go(func() { first[0], last[0] = w.insist(here, g) })
				both.Go(func() { first[1], last[1] = w.insist(there, other) })
				both.Wait()
				firsts[fmt.Sprintf("%q %q", min(first[0], first[1]), max(first[0], first[1]))]++
				if i%2 == 0 {
					require.Equal(t, [2]string{}, last, "the key is one gift") // which one, give compares
					continue
				}
				require.ElementsMatch(t, []string{"", "CONFLICT"}, last[:], "the key is one of the two")
				done, at, refused, by := g, there, other, here
				if last[0] != "" {
					done, at, refused, by = other, here, g, there
				}
				// Each on the other's node.
				_, code := w.insist(at, done)
				require.Empty(t, code)
				_, code = w.insist(by, refused)
				require.Equal(t, "CONFLICT", code)
			}
			w.mu.Lock()
			w.open = nil // all were answered in the end
			w.mu.Unlock()
			w.verify(one)
			require.Len(t, w.readLedgerMoves(), rounds, "one settlement for each key")
			t.Logf("%d keys; first answers: %v", rounds, firsts)
		})
	}
}

// Two players, each connected to two gateways, accept at the same moment, and cancel on the other
// one: what one of them was told is what both nodes say of the trade.
func TestBothAcceptAndCancelOnTwoNodes(t *testing.T) {
	t.Parallel()
	rounds := 24
	if isFullRun() {
		rounds = 240
	}
	for name, at := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, at(t))
			one, two := w.startGateway(""), w.startGateway("")
			a, b := w.connectForTest(one, 0), w.connectForTest(two, 1)
			elsewhere := []*player{w.connectForTest(two, 0), w.connectForTest(one, 1)}
			ended := map[trade.Status]int{}
			for i := range rounds {
				id := w.offerBarter(a, b, 200)
				require.NotEmpty(t, id)
				w.acceptBoth(a, b, id, elsewhere[:i%3]...)
				for _, p := range elsewhere[i%3:] {
					if i%3 == 0 { // both were LOCKED out by the other, perhaps
						w.acceptTrade(p, id)
					}
				}
				var told []trade.Trade
				for _, p := range append([]*player{a, b}, elsewhere...) {
					var now trade.Trade
					require.Eventually(t, func() bool {
						got, err := p.askServer("trade:state", trade.Ask{TradeID: id}, &now)
						return err == nil && got.Error.Code == "" && now.Status != trade.Settling
					}, 10*time.Second, 5*time.Millisecond)
					w.noteTrade(now)
					told = append(told, now)
				}
				for _, now := range told[1:] {
					require.Equal(t, told[0], now, "all connections are told the same")
				}
				ended[told[0].Status]++
				if told[0].Status == trade.Open {
					w.cancelTrade(a, id)
				}
			}
			w.verify(two)
			t.Logf("%v", ended)
			require.GreaterOrEqual(t, ended[trade.Completed], rounds/3)
			require.Positive(t, ended[trade.Cancelled])
		})
	}
}
