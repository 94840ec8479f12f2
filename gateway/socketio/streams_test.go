package socketio

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A heard collects what streams deliver.
type heard struct {
	streams
	all []int64
}

func (h *heard) at(n int64) bool { return h.on("s", n) }

func (h *heard) on(stream string, n int64) bool {
	return h.deliverInOrder(streamPosition{stream, n}, func() { h.all = append(h.all, n) })
}

func (h *heard) so(t *testing.T, want ...int64) {
	t.Helper()
	h.mu.Lock() // a timer may deliver afterwards
	defer h.mu.Unlock()
	require.Equal(t, want, h.all)
}

func TestAStreamIsDeliveredByPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h heard
		h.at(1)
		h.so(t, 1)
		h.at(3)
		h.at(4)
		h.so(t, 1)
		time.Sleep(gapTimeout / 2)
		h.at(2)
		h.so(t, 1, 2, 3, 4)
		require.False(t, h.at(2), "twice")
		require.False(t, h.at(4), "too late")
		h.so(t, 1, 2, 3, 4)
		time.Sleep(time.Minute)
		h.so(t, 1, 2, 3, 4)
	})
}

func TestWhatIsLostIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h heard
		h.at(1)
		h.at(4)
		h.at(3)
		require.False(t, h.at(3), "twice, while it waits")
		time.Sleep(gapTimeout - time.Millisecond)
		h.so(t, 1)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		h.so(t, 1, 3, 4)
		require.False(t, h.at(2), "it would be heard out of order")
		h.at(5)
		h.so(t, 1, 3, 4, 5)
	})
}

// A room that joins a stream in its middle soon gets its casts.
func TestTheMiddleOfAStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h heard
		h.at(8)
		h.at(7)
		h.so(t)
		time.Sleep(joinGapTimeout + time.Millisecond)
		synctest.Wait()
		h.so(t, 7, 8)
		h.at(9)
		h.so(t, 7, 8, 9)
	})
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h heard
		for i := range 3 * maxStreams {
			h.on(fmt.Sprint(i), 1)
			time.Sleep(time.Millisecond)
		}
		h.mu.Lock()
		require.Len(t, h.streams.all, maxStreams)
		require.Contains(t, h.streams.all, fmt.Sprint(3*maxStreams-1))
		h.mu.Unlock()
		for n := range int64(2 * maxWaitingCasts) {
			h.on("full", n+2)
		}
		h.mu.Lock()
		require.LessOrEqual(t, len(h.streams.all["full"].waiting), maxWaitingCasts)
		h.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		require.Empty(t, h.streams.all["full"].waiting)
	})
}

// In whatever order casts arrive, none is delivered twice or after a later one. When all arrive in
// time, all are delivered.
func TestStreamsInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 40).Draw(t, "n")
		places := []int64{1}
		for i := range n - 1 {
			places = append(places, i+2)
		}
		shuffled := append(places[:1:1], rapid.Permutation(places[1:]).Draw(t, "order")...)
		var h heard
		for _, at := range shuffled {
			h.at(at)
			if rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				h.at(at)
			}
		}
		require.Equal(t, places, h.all)
	})
}
