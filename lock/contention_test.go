package lock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/lock"
)

// Every caller who finds a name taken is counted: one who waits behind others of this process, and
// one who is refused at once.
func TestEveryContentionIsCounted(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := lock.New(lock.Config{}, rdb)
	t.Cleanup(m.Close)
	held, err := m.Acquire(t.Context(), "one", lock.Options{})
	require.NoError(t, err)
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if l, err := m.Acquire(t.Context(), "one", lock.Options{Wait: time.Minute}); err == nil {
				_ = l.Release(t.Context())
			}
		})
	}
	require.Eventually(t, func() bool { return m.Stats().Waiting == 50 }, 15*time.Second, time.Millisecond)
	for range 20 {
		_, err := m.TryAcquire(t.Context(), "one", lock.Options{})
		require.ErrorIs(t, err, lock.ErrTaken)
	}
	require.NoError(t, held.Release(t.Context()))
	callers.Wait()
	s := m.Stats()
	require.Equal(t, []lock.Contention{{Name: "one", Times: 70}}, s.MostContended)
	require.EqualValues(t, 20, s.Refused)
	require.EqualValues(t, 51, s.Acquired)

	// A caller that is refused because another process holds the lock is counted too.
	other := lock.New(lock.Config{}, rdb)
	t.Cleanup(other.Close)
	held, err = m.Acquire(t.Context(), "two", lock.Options{})
	require.NoError(t, err)
	for range 20 {
		_, err := other.TryAcquire(t.Context(), "two", lock.Options{})
		require.ErrorIs(t, err, lock.ErrTaken)
	}
	require.NoError(t, held.Release(t.Context()))
	require.Equal(t, []lock.Contention{{Name: "two", Times: 20}}, other.Stats().MostContended)
}
