package lock_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

// Of three servers one may fail, but not two. The fence rises whichever two answer, even if their
// counters are far apart.
func TestQuorum(t *testing.T) {
	t.Parallel()
	servers := []*redistest.Instance{redistest.Server(t), redistest.Server(t), redistest.Server(t)}
	clients := make([]redis.UniversalClient, 3)
	for i, s := range servers {
		clients[i] = s.Client()
	}
	m := manager(t, clients...)
	var last int64
	once := func() {
		t.Helper()
		// A server that continues may run an old command: that lock must expire first.
		l, err := m.Acquire(t.Context(), "x", lock.Options{TTL: 1500 * time.Millisecond, Wait: 20 * time.Second})
		require.NoError(t, err)
		require.Greater(t, l.Fence(), last)
		last = l.Fence()
		known := 0
		for _, c := range clients {
			if f, err := c.Get(t.Context(), keys.LockFence("x")).Int64(); err == nil && f >= last {
				known++
			}
		}
		require.GreaterOrEqual(t, known, 2, "a majority knows the fence")
		require.NoError(t, l.Extend(t.Context()))
		require.NoError(t, l.Release(t.Context()))
	}
	once()
	require.NoError(t, clients[0].IncrBy(t.Context(), keys.LockFence("x"), 1000).Err())
	once()
	for gone := range servers {
		servers[gone].Pause()
		for range 3 {
			once()
		}
		servers[gone].Resume()
	}
	servers[0].Kill()
	servers[1].Kill()
	_, err := m.Acquire(t.Context(), "x", lock.Options{})
	require.ErrorIs(t, err, lock.ErrUnavailable)
}

func TestQuorumContention(t *testing.T) {
	t.Parallel()
	clients := []redis.UniversalClient{redistest.Server(t).Client(), redistest.Server(t).Client(), redistest.Server(t).Client()}
	a, b := manager(t, clients...), manager(t, clients...)
	held := acquire(t, a, "x", calm)
	_, err := b.TryAcquire(t.Context(), "x", lock.Options{})
	require.ErrorIs(t, err, lock.ErrTaken)
	require.NoError(t, held.Release(t.Context()))
	acquire(t, b, "x", calm)
}

// A majority does not wait for a slow server. That server still gets the commands, and its lock is
// undone in the end, in whichever order the commands arrive.
func TestAServerThatLagsBehindItsQuorum(t *testing.T) {
	t.Parallel()
	servers := []*redistest.Instance{redistest.Server(t), redistest.Server(t), redistest.Server(t)}
	wire, last := new(slow), servers[2].Client()
	last.AddHook(wire)
	m := manager(t, servers[0].Client(), servers[1].Client(), last)
	require.NoError(t, acquire(t, m, "scripts", calm).Release(t.Context())) // Redis knows them from now on
	m.Close()                                                               // waits
	for range 20 {
		letGo := hold(t, &wire.before)
		require.NoError(t, acquire(t, m, "x", calm).Release(t.Context()))
		letGo()
		m.Close()
		for _, s := range servers {
			require.Zero(t, s.Client().Exists(t.Context(), keys.Lock("x")).Val())
		}
	}
	require.Positive(t, last.Exists(t.Context(), keys.LockFence("x")).Val(), "the slow one was asked")
}
