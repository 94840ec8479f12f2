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

// A release in one process wakes a caller in another, which would not ask by itself before the test
// is over.
func TestReleaseWakesOtherNodes(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t) // pub/sub channels belong to a server, not to a database
	a, b := manager(t, server.Client()), manager(t, server.Client())
	b.SetPollInterval(time.Hour)
	for range 30 {
		first := acquire(t, a, "x", calm)
		got := make(chan error, 1)
		go func() {
			l, err := b.Acquire(context.Background(), "x", calm)
			if err == nil {
				err = l.Release(context.Background())
			}
			got <- err
		}()
		require.Eventually(t, func() bool {
			return server.Client().Exists(t.Context(), keys.LockWanted("x")).Val() == 1
		}, 10*time.Second, time.Millisecond)
		require.NoError(t, first.Release(t.Context()))
		select {
		case err := <-got:
			require.NoError(t, err)
		case <-time.After(10 * time.Second): // it asks when the lease would have ended: after 30 s
			require.FailNow(t, "the release woke nobody")
		}
	}
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
