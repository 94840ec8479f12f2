package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A release in one process wakes a caller in another, long before that would poll.
func TestReleaseWakesOtherNodes(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t) // pub/sub channels belong to a server, not to a database
	a, b := manager(t, server.Client()), manager(t, server.Client())
	woken := 0
	for range 30 {
		first := acquire(t, a, "x", calm)
		got := make(chan time.Time)
		go func() {
			l, err := b.Acquire(context.Background(), "x", calm)
			if err != nil {
				t.Error(err)
			} else if err := l.Release(context.Background()); err != nil {
				t.Error(err)
			}
			got <- time.Now()
		}()
		require.Eventually(t, func() bool {
			return server.Client().Exists(t.Context(), keys.LockWanted("x")).Val() == 1
		}, 10*time.Second, time.Millisecond)
		begun := time.Now()
		require.NoError(t, first.Release(t.Context()))
		if (<-got).Sub(begun) < 50*time.Millisecond {
			woken++
		}
	}
	require.Greater(t, woken, 20, "polling alone would take 100 to 200 ms")
}
