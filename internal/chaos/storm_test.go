package chaos

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redistest"
)

// busy lets all players trade at random through gateways that choose picks, until stop.
func (w *world) busy(choose func() *gate, stop <-chan struct{}) (wait func() int) {
	var all sync.WaitGroup
	var rounds atomic.Int64
	for me := range names {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(me), 7)) //nolint:gosec // a test
			for {
				select {
				case <-stop:
					return
				default:
				}
				other := (me + 1 + dice.IntN(len(names)-1)) % len(names)
				a, b, twin := w.visit(choose(), me), w.visit(choose(), other), w.visit(choose(), me)
				if a == nil || b == nil || twin == nil {
					time.Sleep(20 * time.Millisecond) // one is dead just now
					continue
				}
				for range 6 {
					w.deed(dice, a, b, twin)
					rounds.Add(1)
				}
				a.leave()
				b.leave()
				twin.leave()
			}
		})
	}
	return func() int { all.Wait(); return int(rounds.Load()) }
}

// visit is nil when the gateway is dead.
func (w *world) visit(g *gate, me int) *player {
	p, err := join(g.addr, me, w.logins[me])
	if err != nil {
		return nil
	}
	return p
}

// deed is something that two do; twin is a second connection of a's.
func (w *world) deed(dice *rand.Rand, a, b, twin *player) {
	switch dice.IntN(7) {
	case 0:
		w.give(a, w.present(a.me, b.me, 2*stock*int64(len(names)))) // nobody has so many
	case 1, 2:
		w.give(a, w.present(a.me, b.me, 1+dice.Int64N(3)))
	case 3:
		w.giveTwice(a, twin, w.present(a.me, b.me, 1+dice.Int64N(3)))
	default:
		id := w.barter(a, b, 2)
		switch dice.IntN(4) {
		case 0:
			w.both(a, b, id, twin, b)
		case 1:
			w.both(a, b, id, twin)
		case 2:
			w.both(a, b, id)
		default:
			w.accept(b, id)
			w.accept(a, id)
		}
	}
}

// faults are what becomes of a connection to Redis for a while.
var faults = []struct {
	name  string
	begin func(*redistest.Wire, *rand.Rand)
}{
	{"late", func(w *redistest.Wire, dice *rand.Rand) { w.Delay(time.Duration(dice.IntN(300)) * time.Millisecond) }},
	{"uneven", func(w *redistest.Wire, dice *rand.Rand) { w.Jitter(time.Duration(dice.IntN(300)) * time.Millisecond) }},
	{"in pieces", func(w *redistest.Wire, dice *rand.Rand) { w.Trickle(time.Duration(dice.IntN(500)) * time.Microsecond) }},
	{"reset", func(w *redistest.Wire, _ *rand.Rand) { w.Reset() }},
	{"silent", func(w *redistest.Wire, _ *rand.Rand) { w.BlackHole() }},
	{"cut", func(w *redistest.Wire, _ *rand.Rand) { w.Cut() }},
}

// Everything at once, for a while: gateways are killed, stopped for longer than a lease and replaced, Redis
// is restarted with its append-only file, connections are cut, delayed, silenced and reset.
func TestStorm(t *testing.T) {
	t.Parallel()
	lasts := 10 * time.Second
	if whole() {
		lasts = 2 * time.Minute
	}
	for name, at := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, at(t))
			var mu sync.Mutex
			gates := []*gate{w.start(""), w.start("")} // guarded by mu
			choose := func() *gate {
				mu.Lock()
				defer mu.Unlock()
				return gates[rand.IntN(len(gates))]
			}
			stop := make(chan struct{})
			wait := w.busy(choose, stop)
			dice := rand.New(rand.NewPCG(3, 7)) //nolint:gosec // a test
			blows := map[string]int{}
			for end := time.Now().Add(lasts); time.Now().Before(end); {
				time.Sleep(time.Duration(200+dice.IntN(500)) * time.Millisecond) // let them trade
				mu.Lock()
				i := dice.IntN(len(gates))
				g := gates[i]
				mu.Unlock()
				switch what := dice.IntN(20); {
				case what < 6:
					blows["killed"]++
					g.kill()
					fresh := w.start("")
					mu.Lock()
					gates[i] = fresh
					mu.Unlock()
				case what < 16:
					fault, wire := faults[dice.IntN(len(faults))], w.wires[dice.IntN(len(w.wires))]
					blows[fault.name]++
					fault.begin(wire, dice)
					time.Sleep(time.Duration(dice.IntN(1000)) * time.Millisecond) // while it is so
					wire.Mend()
				case what < 18:
					blows["stopped"]++
					g.signal(syscall.SIGSTOP)
					time.Sleep(3500 * time.Millisecond) // a lease lasts 3 s
					g.signal(syscall.SIGCONT)
				default:
					blows["redis"]++
					w.restart(dice.IntN(len(w.servers)))
				}
			}
			close(stop)
			rounds := wait()
			settled := w.verify(choose())
			gifts, trades := w.completed()
			t.Logf("%d rounds, %d gifts and %d trades completed; blows: %s; settled %v after the end",
				rounds, gifts, trades, strings.TrimPrefix(fmt.Sprint(blows), "map"), settled.Round(time.Millisecond))
			require.Positive(t, gifts)
			require.Positive(t, trades)
		})
	}
}
