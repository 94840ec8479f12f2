package chaos

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// tradeAtRandom lets all players trade at random through gateways that choose picks, each at three
// tables, until stop.
func (w *world) tradeAtRandom(choose func() *gatewayProcess, stop <-chan struct{}) (wait func() int) {
	var all sync.WaitGroup
	var rounds atomic.Int64
	for table := range 3 * len(names) {
		me := table % len(names)
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(table), 7)) //nolint:gosec // a test
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
				a.closeConnection()
				b.closeConnection()
				twin.closeConnection()
			}
		})
	}
	return func() int { all.Wait(); return int(rounds.Load()) }
}

// visit connects a player; it returns nil when the gateway is dead.
func (w *world) visit(g *gatewayProcess, me int) *player {
	p, err := dialPlayer(g.addr, me, w.logins[me])
	if err != nil {
		return nil
	}
	return p
}

// deed does something that two players do; twin is a second connection of a's.
func (w *world) deed(dice *rand.Rand, a, b, twin *player) {
	switch dice.IntN(7) {
	case 0:
		w.giveGift(a, w.newGift(a.me, b.me, 2*stock*int64(len(names)))) // nobody has so many
	case 1, 2:
		w.giveGift(a, w.newGift(a.me, b.me, 1+dice.Int64N(3)))
	case 3:
		w.giveTwice(a, twin, w.newGift(a.me, b.me, 1+dice.Int64N(3)))
	default:
		id := w.offerBarter(a, b, 2)
		switch dice.IntN(4) {
		case 0:
			w.acceptBoth(a, b, id, twin, b)
		case 1:
			w.acceptBoth(a, b, id, twin)
		case 2:
			w.acceptBoth(a, b, id)
		default:
			w.acceptTrade(b, id)
			w.acceptTrade(a, id)
		}
	}
}

// A storm is a world in which blows fall on gateways, on Redis and on what is between them.
type storm struct {
	*world
	dice *rand.Rand

	mu    sync.Mutex
	gates []*gatewayProcess // guarded by mu
}

// chooseGateway picks a gateway.
func (s *storm) chooseGateway() *gatewayProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gates[rand.IntN(len(s.gates))]
}

// pauseUpTo waits for up to so many ms, in which the players trade on.
func (s *storm) pauseUpTo(ms int) { time.Sleep(time.Duration(s.dice.IntN(ms)) * time.Millisecond) }

// faultOnWire returns a blow that spoils one connection between the gateways and Redis, for up to a
// second.
func faultOnWire(begin func(*redistest.Wire, time.Duration)) func(*storm) {
	return func(s *storm) {
		wire := s.wires[s.dice.IntN(len(s.wires))]
		begin(wire, time.Duration(s.dice.IntN(300))*time.Millisecond)
		s.pauseUpTo(1000)
		wire.Mend()
	}
}

var blows = []struct {
	name string
	fall func(*storm)
}{
	{"killed", (*storm).replaceGateway},
	{"killed again", (*storm).replaceGateway},
	{"stopped", func(s *storm) {
		g := s.chooseGateway()
		g.sendSignal(syscall.SIGSTOP)
		time.Sleep(3500 * time.Millisecond) // a lease lasts 3 s
		g.sendSignal(syscall.SIGCONT)
	}},
	{"Redis restarted", func(s *storm) { s.restart(s.dice.IntN(len(s.servers))) }},
	{"late", faultOnWire((*redistest.Wire).Delay)},
	{"uneven", faultOnWire((*redistest.Wire).Jitter)},
	{"in pieces", faultOnWire(func(w *redistest.Wire, d time.Duration) { w.Trickle(d / 1000) })},
	{"reset", faultOnWire(func(w *redistest.Wire, _ time.Duration) { w.Reset() })},
	{"silent", faultOnWire(func(w *redistest.Wire, _ time.Duration) { w.BlackHole() })},
	{"cut", faultOnWire(func(w *redistest.Wire, _ time.Duration) { w.Cut() })},
}

// replaceGateway kills a gateway and starts another.
func (s *storm) replaceGateway() {
	i := s.dice.IntN(len(s.gates))
	s.gates[i].killProcess()
	fresh := s.startGateway("")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[i] = fresh
}

// Everything at once, each once or for a while: gateways are killed, stopped for longer than a
// lease and replaced, Redis is restarted with its append-only file, connections are cut, delayed,
// silenced and reset.
func TestStorm(t *testing.T) {
	t.Parallel()
	lasts, calm := time.Duration(0), 300
	if isFullRun() {
		lasts, calm = 3*time.Minute, 1000
	}
	for name, at := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &storm{world: newWorld(t, at(t)), dice: rand.New(rand.NewPCG(3, 7))} //nolint:gosec // a test
			s.gates = []*gatewayProcess{s.startGateway(""), s.startGateway("")}
			stop := make(chan struct{})
			wait := s.tradeAtRandom(s.chooseGateway, stop)
			fallen := 0
			for begun := time.Now(); fallen == 0 || time.Since(begun) < lasts; {
				for _, i := range s.dice.Perm(len(blows)) {
					s.pauseUpTo(calm)
					blows[i].fall(s)
					fallen++
				}
			}
			close(stop)
			rounds := wait()
			settled := s.verify(s.chooseGateway())
			require.Less(t, settled, settleWithin)
			gifts, trades := s.countCompleted()
			t.Logf("%d rounds, %d gifts and %d trades completed under %d blows; settled %v after the end", rounds, gifts, trades, fallen, settled.Round(time.Millisecond))
			require.Positive(t, gifts)
			require.Positive(t, trades)
		})
	}
}
