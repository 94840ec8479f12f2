package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

// A release in one process wakes a caller in another, long before that would poll. Not parallel: it
// measures time.
func TestReleaseWakesOtherNodes(t *testing.T) {
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

// A refused subscription to releases is reported once. Callers then poll, and get the lock.
func TestARefusedSubscriptionIsReported(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	require.NoError(t, rdb.Do(t.Context(), "ACL", "SETUSER", "default", "resetchannels").Err())
	failed := make(chan error, 10)
	m := lock.New(lock.Config{SubscriptionFailed: func(err error) { failed <- err }}, rdb)
	t.Cleanup(m.Close)
	require.NoError(t, rdb.Set(t.Context(), keys.Lock("x"), "another holder", 300*time.Millisecond).Err())
	lease, err := m.Acquire(t.Context(), "x", calm)
	require.NoError(t, err)
	_ = lease.Release(t.Context()) // Redis refuses its message as well
	require.Eventually(t, func() bool { return len(failed) > 0 }, 10*time.Second, time.Millisecond, "the refusal is reported")
	require.Len(t, failed, 1, "an outage is reported once")
	require.ErrorContains(t, <-failed, "NOPERM")
}
