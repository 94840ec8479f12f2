package chaos

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/trade"
)

// scenes are what the players of a gateway do until it dies: a gift; a trade; a trade that one goes back on
// while both accept; a trade that the other can not keep.
var scenes = []func(w *world, a, b *player){
	func(w *world, a, _ *player) { w.give(a, w.present(0, 1, 2)) },
	func(w *world, a, b *player) {
		id := w.barter(a, b, 200)
		w.accept(b, id)
		w.accept(a, id)
	},
	func(w *world, a, b *player) { w.both(a, b, w.barter(a, b, 200), a) },
	func(w *world, a, b *player) {
		ring := w.ring(b.me)
		id := w.barter(a, b, 200, ring)
		g := w.present(b.me, 2, 1)
		g.goods = trade.Goods{Items: []trade.Line{ring}}
		w.give(b, g)
		w.accept(b, id)
		w.accept(a, id)
	},
}

// play returns how many scenes came to their end.
func (w *world) play(g, other *gate) (done int) {
	a, err := w.seat(g, 0)
	if err != nil {
		return 0 // it died before
	}
	defer a.leave()
	b, err := w.seat(other, 1)
	require.NoError(w.t, err)
	defer b.leave()
	for i, scene := range scenes {
		scene(w, a, b)
		if !g.lives() {
			return i
		}
	}
	return len(scenes)
}

// everywhere runs a part of a test on each site, for blows before and after a command; the whole of it on
// worlds of their own, side by side.
func everywhere(t *testing.T, part func(t *testing.T, w *world, when ...string)) {
	t.Parallel()
	for name, at := range sites {
		if !whole() {
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

// A gateway is killed before and after each of its commands to Redis in turn, while its players trade.
func TestKilledBetweenAnyTwoCommands(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, when ...string) {
		other := w.start("")
		n, step := 1, 1
		if !whole() {
			n, step = 4, 15
		}
		worst, blows, struck := time.Duration(0), 0, map[int]int{}
		for alive := false; !alive; n += step {
			g := w.start(fmt.Sprint("kill ", when[n%len(when)], " ", n))
			done := w.play(g, other)
			alive = g.lives()
			g.kill()
			worst = max(worst, w.verify(other))
			if !alive {
				struck[done]++
				blows++
			}
		}
		t.Logf("%d blows, by scene: %v; all was settled within %v", blows, struck, worst.Round(time.Millisecond))
		require.Less(t, worst, within)
		require.Positive(t, blows)
		for scene := range scenes {
			require.True(t, !whole() || struck[scene] > 0, "it was killed in scene %d", scene)
		}
	})
}

// A gateway stands still at a command for longer than its lease, others trade, and it goes on.
func TestStoppedForLongerThanTheLease(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, when ...string) {
		other := w.start("")
		a := w.seated(other, 0)
		n, step, stops := 1, 2, 0
		if !whole() {
			n, step = 5, 40
		}
		for more := true; more; n += step {
			g := w.start(fmt.Sprint("stop ", when[n%len(when)], " ", n))
			played := make(chan int, 1)
			go func() { played <- w.play(g, other) }()
			select {
			case <-time.After(3500 * time.Millisecond): // a lease lasts 3 s
				stops++
				w.give(a, w.present(0, 1, 1))
				g.signal(syscall.SIGCONT)
			case done := <-played: // it needed no such command
				more = false
				played <- done
			}
			require.Equal(t, len(scenes), <-played)
			g.kill()
			w.verify(other)
		}
		t.Logf("%d stops", stops)
		require.Positive(t, stops)
	})
}
