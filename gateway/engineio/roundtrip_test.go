package engineio

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A round trip is from the ping to its pong. Pongs that nobody asked for say nothing.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	var told atomic.Int64
	var times atomic.Int32
	s := serve(t, Config{PingInterval: 100 * time.Millisecond, OnRoundTrip: func(took time.Duration) {
		told.Store(int64(took))
		times.Add(1)
	}})
	w := s.socket(t)
	c := w.conn()
	w.send("3")
	w.send("4hello")
	require.Equal(t, "4hello", w.text())
	require.Zero(t, c.RoundTrip())

	require.Equal(t, "2", w.text())
	time.Sleep(delay) // the network's part
	w.send("3")
	w.send("3")
	require.Eventually(t, func() bool { return c.RoundTrip() > 0 }, patience, time.Millisecond)
	require.GreaterOrEqual(t, c.RoundTrip(), delay)
	require.Less(t, c.RoundTrip(), patience)
	require.Equal(t, int64(c.RoundTrip()), told.Load())

	require.Equal(t, "2", w.text())
	require.EqualValues(t, 1, times.Load(), "the second pong belonged to no ping")
}
