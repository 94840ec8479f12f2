package socketio

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// wishes is a wire that only notes what it is asked for: a fake, for what is shown here is when.
type wishes struct {
	mu    sync.Mutex
	names map[string]bool // guarded by mu
}

func (w *wishes) subscribe(list []*channel) []*channel {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range list {
		w.names[c.name] = true
	}
	return nil
}

func (w *wishes) unsubscribe(list []*channel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range list {
		delete(w.names, c.name)
	}
}

func (w *wishes) run(<-chan struct{}) {}
func (w *wishes) check(time.Duration) {}
func (w *wishes) close()              {}

// asked is what is asked for once nothing is left to be done at this moment.
func (w *wishes) asked() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.names))
}

// A channel that was left is kept for a while, and given up then: also behind one that is left and joined again all the time.
func TestWhatIsLeftIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const linger, rooms = time.Second, 100
		w, done := &wishes{names: map[string]bool{}}, make(chan struct{})
		s := newSubscriber(linger, nil)
		s.wire = w
		go s.sync(done)
		want := func(name string, by int) {
			s.want(name, nil, channelRoom, by)
			synctest.Wait()
		}
		want("busy", 1)
		want("busy", -1)
		for i := range rooms {
			want(strconv.Itoa(i), 1)
			want(strconv.Itoa(i), -1)
		}
		time.Sleep(linger / 30) // the subscriber's own timer runs beside
		for range 30 {
			time.Sleep(linger / 10)
			want("busy", 1)
			want("busy", -1)
			if now := w.asked(); len(now) != rooms+1 {
				require.Equal(t, []string{"busy"}, now)
			}
		}
		require.Equal(t, []string{"busy"}, w.asked())
		want("busy", 1)
		time.Sleep(3 * linger)
		require.Equal(t, []string{"busy"}, w.asked())
		want("busy", -1)
		time.Sleep(linger - 1)
		require.Len(t, w.asked(), 1, "not yet")
		time.Sleep(2*linger + 1)
		require.Empty(t, w.asked())
		require.Empty(t, s.channels)
		require.Empty(t, s.parting)
		want("back", 1)
		want("back", -1)
		want("back", 1)
		time.Sleep(3 * linger)
		require.Equal(t, []string{"back"}, w.asked())
		close(done)
		synctest.Wait()
	})
}
