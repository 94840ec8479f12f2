package redistest

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Clients go away in the middle of an answer that trickles, at the moment when the fault ends. That
// is when toxiproxy may wait for itself.
func TestClientsLeaveAWireThatIsMended(t *testing.T) {
	t.Parallel()
	server := Server(t)
	w := Toxic(t, server)
	require.NoError(t, server.Client().Set(t.Context(), "long", strings.Repeat("x", 10_000), 0).Err())
	for range 3 {
		w.Trickle(time.Millisecond)
		for range 30 {
			c, err := net.Dial("tcp", w.Addr())
			require.NoError(t, err)
			_, err = c.Write([]byte("GET long\r\n"))
			require.NoError(t, err)
			_, err = c.Read(make([]byte, 1))
			require.NoError(t, err)
			time.AfterFunc(5*time.Millisecond, func() { _ = c.Close() })
		}
		w.Mend()
		require.Eventually(t, func() bool { return w.Client().Get(t.Context(), "long").Err() == nil }, 30*time.Second, 10*time.Millisecond)
	}
}

func TestAStuckWireIsReplaced(t *testing.T) {
	t.Parallel()
	w := Toxic(t, Server(t))
	c := w.Client()
	require.NoError(t, c.Ping(t.Context()).Err())
	w.BlackHole()
	require.Error(t, c.Ping(t.Context()).Err())
	w.replace(w.current())
	require.Eventually(t, func() bool { return c.Ping(t.Context()).Err() == nil }, 30*time.Second, 10*time.Millisecond)
	w.Refuse()
	require.Error(t, c.Ping(t.Context()).Err())
	w.Mend()
	require.Eventually(t, func() bool { return c.Ping(t.Context()).Err() == nil }, 30*time.Second, 10*time.Millisecond)
}

// A proxy that is stuck, as toxiproxy may be by itself, keeps Cut and Refuse for a few seconds, and
// not for ever.
func TestStoppingAStuckProxyEnds(t *testing.T) {
	t.Parallel()
	p := Toxic(t, Server(t)).current()
	p.Lock() // which everything needs that stops it
	t.Cleanup(p.Unlock)
	stopped := make(chan bool, 1)
	go func() { stopped <- stopProxy(p) }()
	select {
	case isDone := <-stopped:
		require.False(t, isDone)
	case <-time.After(30 * time.Second):
		t.Fatal("it hangs")
	}
}
