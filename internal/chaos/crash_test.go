package chaos

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// scenes are what the players of a gateway do until it dies: a gift; a trade; a trade that one side
// cancels while both accept; a trade that the other side cannot keep.
var scenes = []func(w *world, a, b *player){
	func(w *world, a, _ *player) { w.giveGift(a, w.newGift(0, 1, 2)) },
	func(w *world, a, b *player) {
		id := w.offerBarter(a, b, 200)
		w.acceptTrade(b, id)
		w.acceptTrade(a, id)
	},
	func(w *world, a, b *player) { w.acceptBoth(a, b, w.offerBarter(a, b, 200), a) },
	func(w *world, a, b *player) {
		ring := w.mintRing(b.me)
		id := w.offerBarter(a, b, 200, ring)
		g := w.newGift(b.me, 2, 1)
		g.goods = trade.Goods{Items: []trade.Line{ring}}
		w.giveGift(b, g)
		w.acceptTrade(b, id)
		w.acceptTrade(a, id)
	},
}

// playScenes plays the scenes in order and returns how many came to their end.
func (w *world) playScenes(g, other *gatewayProcess) (done int) {
	a, err := w.connectPlayer(g, 0)
	if err != nil {
		return 0 // it died before
	}
	defer a.closeConnection()
	b, err := w.connectPlayer(other, 1)
	require.NoError(w.t, err)
	defer b.closeConnection()
	for i, scene := range scenes {
		scene(w, a, b)
		if !g.isAlive() {
			return i
		}
	}
	return len(scenes)
}

// everywhere runs a part of a test on each site, for blows before and after a command; the whole of
// it on worlds of their own, side by side.
func everywhere(t *testing.T, part func(t *testing.T, w *world, when ...string)) {
	t.Parallel()
	for name, at := range sites {
		if !isFullRun() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				part(t, newWorld(t, at(t)), "before", "after")
			})
			continue
		}
		for _, when := range []string{"before", "after"} {
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()
				part(t, newWorld(t, at(t)), when)
			})
		}
	}
}

// A gateway is killed before and after each of its commands to Redis in turn, while its players
// trade.
func TestKilledBetweenAnyTwoCommands(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, when ...string) {
		other := w.startGateway("")
		n, step := 1, 1
		if !isFullRun() {
			n, step = 4, 15
		}
		worst, blows, struck := time.Duration(0), 0, map[int]int{}
		for alive := false; !alive; n += step {
			g := w.startGateway(fmt.Sprint("kill ", when[n%len(when)], " ", n))
			done := w.playScenes(g, other)
			alive = g.isAlive()
			g.killProcess()
			worst = max(worst, w.verify(other))
			if !alive {
				struck[done]++
				blows++
			}
		}
		t.Logf("%d blows, by scene: %v; all was settled within %v", blows, struck, worst.Round(time.Millisecond))
		require.Less(t, worst, settleWithin)
		require.Positive(t, blows)
		for scene := range scenes {
			require.True(t, !isFullRun() || struck[scene] > 0, "it was killed in scene %d", scene)
		}
	})
}

// A gateway stands still at a command for longer than its lease, others trade, and it goes on.
func TestStoppedForLongerThanTheLease(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, when ...string) {
		other := w.startGateway("")
		a := w.connectForTest(other, 0)
		n, step, stops := 1, 2, 0
		if !isFullRun() {
			n, step = 5, 40
		}
		for more := true; more; n += step {
			g := w.startGateway(fmt.Sprint("stop ", when[n%len(when)], " ", n))
			played := make(chan int, 1)
			go func() { played <- w.playScenes(g, other) }()
			if waitUntilStopped(t, g, played) {
				time.Sleep(3500 * time.Millisecond) // a lease lasts 3 s
				stops++
				w.giveGift(a, w.newGift(0, 1, 1))
				g.sendSignal(syscall.SIGCONT)
			} else { // it needed no such command
				more = false
			}
			require.Equal(t, len(scenes), receive(t, played))
			g.killProcess()
			require.Less(t, w.verify(other), settleWithin)
		}
		t.Logf("%d stops", stops)
		require.Positive(t, stops)
	})
}

// A gateway that stands still while it settles under a lease commits nothing once
// the lease has run out and another has settled for the same pair. (On one server a settlement has
// no such moment: it is one command.)
func TestStoppedWithTheLeaseItIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, aCluster(t))
	other := w.startGateway("")
	a := w.connectForTest(other, 0)
	for n := 1; ; n++ {
		g := w.startGateway(fmt.Sprint("stop before ", n))
		answered := make(chan string, 1)
		go func() {
			p, err := w.connectPlayer(g, 0)
			if err != nil {
				answered <- err.Error()
				return
			}
			defer p.closeConnection()
			code, _ := w.giveGift(p, w.newGift(0, 1, 1))
			answered <- code
		}()
		if !waitUntilStopped(t, g, answered) {
			require.FailNow(t, "it was never stopped while it settled")
		}
		locks, err := w.rdb.Exists(t.Context(), keys.Lock("trade:p0:p1")).Result()
		require.NoError(t, err)
		open, err := w.books.OpenTrades(t.Context())
		require.NoError(t, err)
		if locks == 0 || len(open) == 0 || open[0].Status != trade.Settling {
			g.sendSignal(syscall.SIGCONT)
			receive(t, answered)
			g.killProcess()
			continue
		}
		require.Eventually(t, func() bool { return w.rdb.Exists(t.Context(), keys.Lock("trade:p0:p1")).Val() == 0 }, 5*time.Second, 20*time.Millisecond)
		code, _ := w.giveGift(a, w.newGift(0, 1, 2))
		require.Empty(t, code, "the pair is free")
		g.sendSignal(syscall.SIGCONT)
		require.Contains(t, []string{"LOCKED", "UNAVAILABLE"}, receive(t, answered)) // by the fence, or because the lease was lost
		left, err := w.books.Show(t.Context(), open[0].TradeID)
		require.NoError(t, err)
		require.Equal(t, trade.Failed, left.Status)
		g.killProcess()
		require.Less(t, w.verify(other), settleWithin)
		t.Logf("stopped before command %d", n)
		return
	}
}

// waitUntilStopped waits until a gateway has stopped itself. It reports false when what is played
// on it ended before.
func waitUntilStopped[T any](t *testing.T, g *gatewayProcess, played chan T) bool {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < longestWait; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
		if err == nil && bytes.Contains(stat, []byte(") T ")) {
			return true
		}
		if len(played) > 0 {
			return false
		}
	}
	require.FailNow(t, "it has not stopped, and what is played on it does not end")
	return false
}

// receive takes what a test waits for, and fails it after a minute.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(longestWait):
		require.FailNow(t, "nothing came for a minute")
		panic("not reached")
	}
}

// longestWait is longer than anything takes that a test waits for once.
const longestWait = time.Minute
