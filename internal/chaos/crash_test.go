package chaos

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redistest"
)

// whole says that `make chaos` runs: every command, and for long.
func whole() bool { return os.Getenv("CHAOS") != "" }

// within is how long what a dead process left may stay unsettled.
const within = 5 * time.Second

// scenes is what the players of a gateway do until it dies: a gift, a trade, and a cancelled trade.
func (w *world) scenes(g, other *gate) {
	a, err := w.seat(g, 0)
	if err != nil {
		return // it died before
	}
	b, err := w.seat(other, 1)
	require.NoError(w.t, err)
	defer a.leave()
	defer b.leave()
	w.give(a, 0, 1, 2)
	w.barter(a, b, 1, false)
	w.barter(a, b, 1, true)
}

// A gateway is killed before and after each of its commands to Redis in turn, while its players trade.
func TestKilledBetweenAnyTwoCommands(t *testing.T) {
	for name, urls := range map[string]func() string{
		"one server": func() string {
			return redistest.Server(t, "--appendonly", "yes", "--appendfsync", "everysec").URL()
		},
		"a Cluster": func() string { return redistest.StartCluster(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			url := urls()
			w := newWorld(t, url, url)
			other := w.start("")
			step := 1
			if !whole() {
				step = 9
			}
			worst, blows := time.Duration(0), 0
			for i, when := range []string{"before", "after"} {
				for n := 1 + i*step/2; ; n += step {
					g := w.start(fmt.Sprint("kill ", when, " ", n))
					w.scenes(g, other)
					died := false
					select {
					case <-g.done:
						died = true
					case <-time.After(50 * time.Millisecond):
						g.kill()
					}
					worst = max(worst, w.verify(other))
					if !died {
						require.Greater(t, n, 20, "it was killed in the middle of everything")
						break
					}
					blows++
				}
			}
			t.Logf("%d blows; all was settled within %v", blows, worst.Round(time.Millisecond))
			require.Less(t, worst, within)
		})
	}
}

// A gateway stands still at a command for longer than its lease, others trade, and it goes on.
func TestStoppedForLongerThanTheLease(t *testing.T) {
	url := redistest.Server(t).URL()
	w := newWorld(t, url, url)
	other := w.start("")
	points := []int{12, 24}
	if whole() {
		points = nil
		for n := 1; n <= 40; n += 3 {
			points = append(points, n)
		}
	}
	for _, n := range points {
		g := w.start(fmt.Sprint("stop before ", n))
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.scenes(g, other)
		}()
		select {
		case <-time.After(3500 * time.Millisecond): // a lease lasts 3 s
		case <-done:
		}
		a, err := w.seat(other, 0)
		require.NoError(t, err)
		w.give(a, 0, 1, 1)
		g.signal(syscall.SIGCONT)
		<-done
		a.leave()
		g.kill()
		w.verify(other)
	}
}
