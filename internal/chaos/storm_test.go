package chaos

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redistest"
)

// A wire stands between the gateways and Redis; it can be cut and slowed.
type wire struct {
	to    string
	l     net.Listener
	delay atomic.Int64 // ns, of each piece of data

	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
}

func newWire(t *testing.T, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{to: to, l: l, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); w.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
	return w
}

func (w *wire) carry(c net.Conn) {
	up, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = c.Close()
		return
	}
	w.mu.Lock()
	w.open[c], w.open[up] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		defer to.Close()
		b := make([]byte, 16<<10)
		for {
			n, err := from.Read(b)
			if d := w.delay.Load(); d > 0 {
				time.Sleep(time.Duration(d)) // that is what it is for
			}
			if n > 0 {
				if _, err := to.Write(b[:n]); err != nil {
					return
				}
			}
			if err != nil {
				_ = err == io.EOF
				return
			}
		}
	}
	both.Go(func() { pass(up, c) })
	both.Go(func() { pass(c, up) })
	both.Wait()
	w.mu.Lock()
	delete(w.open, c)
	delete(w.open, up)
	w.mu.Unlock()
}

// cut ends all connections, in the middle of whatever they carry.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.Close()
	}
}

// busy lets all players trade at random through gateways that choose picks, until stop.
func (w *world) busy(choose func() *gate, stop <-chan struct{}) (wait func() int) {
	var all sync.WaitGroup
	var rounds atomic.Int64
	for me := range users {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(me), 7)) //nolint:gosec // a test
			for {
				select {
				case <-stop:
					return
				default:
				}
				g, h := choose(), choose()
				other := (me + 1 + dice.IntN(users-1)) % users
				a, err := join(g.addr, "", w.logins[me])
				if err != nil {
					time.Sleep(20 * time.Millisecond) // it is dead just now
					continue
				}
				if b, err := join(h.addr, "", w.logins[other]); err == nil {
					for range 6 {
						switch dice.IntN(4) {
						case 0:
							w.barter(a, b, other, false)
						case 1:
							w.barter(a, b, other, true)
						default:
							w.give(a, me, other, 1+dice.IntN(3))
						}
						rounds.Add(1)
					}
					b.leave()
				}
				a.leave()
			}
		})
	}
	return func() int { all.Wait(); return int(rounds.Load()) }
}

// Everything at once, for a while: gateways are killed, stopped for longer than a lease and replaced, Redis
// is restarted with its append-only file, connections are cut and delayed.
func TestStorm(t *testing.T) {
	lasts := 12 * time.Second
	if whole() {
		lasts = 2 * time.Minute
	}
	server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	line := newWire(t, server.Addr())
	w := newWorld(t, server.URL(), "redis://"+line.l.Addr().String())
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
		switch what := dice.IntN(10); {
		case what < 4:
			blows["killed"]++
			g.kill()
			fresh := w.start("")
			mu.Lock()
			gates[i] = fresh
			mu.Unlock()
		case what < 6:
			blows["cut"]++
			line.cut()
		case what < 8:
			blows["delayed"]++
			line.delay.Store(int64(time.Duration(dice.IntN(300)) * time.Millisecond))
			time.Sleep(500 * time.Millisecond) // while it is slow
			line.delay.Store(0)
		case what < 9:
			blows["stopped"]++
			g.signal(syscall.SIGSTOP)
			time.Sleep(3500 * time.Millisecond) // a lease lasts 3 s
			g.signal(syscall.SIGCONT)
		default:
			blows["redis"]++
			server.Restart()
		}
	}
	close(stop)
	rounds := wait()
	settled := w.verify(choose())
	w.mu.Lock()
	done := len(w.gifts)
	completed := 0
	for _, c := range w.trades {
		if c {
			completed++
		}
	}
	w.mu.Unlock()
	t.Logf("%d rounds, %d gifts and %d trades completed; blows: %s; settled %v after the end",
		rounds, done, completed, strings.TrimPrefix(fmt.Sprint(blows), "map"), settled.Round(time.Millisecond))
	require.Positive(t, done)
	require.Positive(t, completed)
}
