package lock_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/lock"
)

// relayed returns a manager that reaches its server over the relay.
func relayed(t *testing.T, relay *redistest.Relay) *lock.Manager {
	rdb := redis.NewClient(&redis.Options{Addr: relay.Addr(), ContextTimeoutEnabled: true, ReadTimeout: 500 * time.Millisecond, MaxRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	return manager(t, rdb)
}

// Redis does not answer any more: the holder, the waiter and Release see it.
func TestFaultRedisIsDown(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	m, other := manager(t, server.Client()), manager(t, server.Client())
	l, err := m.Acquire(t.Context(), "x", lock.Options{TTL: time.Second, MaxHold: time.Minute})
	require.NoError(t, err)
	server.Kill()
	begun := time.Now()
	_, err = other.Acquire(t.Context(), "x", lock.Options{Wait: time.Minute})
	require.ErrorIs(t, err, lock.ErrUnavailable)
	require.Less(t, time.Since(begun), 10*time.Second, "it does not wait for a holder that it cannot know of")
	<-l.Context().Done()
	require.ErrorIs(t, context.Cause(l.Context()), lock.ErrLost)
	begun = time.Now()
	require.Error(t, l.Release(t.Context()))
	require.Less(t, time.Since(begun), 5*time.Second)
}

// Holder, waiter and Release when another server answers that does not have the lock, or the server
// was restarted without its data.
func TestFaultRedisForgetsTheLock(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*redistest.Relay, *redistest.Instance, *redistest.Instance){
		"a move":    func(r *redistest.Relay, _, later *redistest.Instance) { r.PointTo(later) },
		"a restart": func(_ *redistest.Relay, server, _ *redistest.Instance) { server.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, later := redistest.Server(t), redistest.Server(t)
			relay := redistest.NewRelay(t, server)
			m, other := relayed(t, relay), relayed(t, relay)
			l, err := m.Acquire(t.Context(), "x", lock.Options{TTL: 3 * time.Second, MaxHold: time.Minute})
			require.NoError(t, err)
			forget(relay, server, later)
			relay.Cut()
			<-l.Context().Done()
			require.ErrorIs(t, context.Cause(l.Context()), lock.ErrLost)
			next := acquire(t, other, "x", calm)
			require.Greater(t, next.Fence(), l.Fence())
			require.ErrorIs(t, l.Release(t.Context()), lock.ErrLost)
			require.NoError(t, next.Extend(t.Context()), "the late release freed nothing")
		})
	}
}

// Holder, waiter and Release when a replica is promoted that has the lock.
func TestFaultAReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	_, port, err := net.SplitHostPort(server.Addr())
	require.NoError(t, err)
	replica := redistest.Server(t, "--replicaof", "127.0.0.1 "+port)
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
	}, 20*time.Second, 10*time.Millisecond)
	relay := redistest.NewRelay(t, server)
	m, other := relayed(t, relay), relayed(t, relay)
	l := acquire(t, m, "x", calm)
	require.NoError(t, server.Client().Do(t.Context(), "wait", 1, 10000).Err())
	require.NoError(t, replica.Client().Do(t.Context(), "replicaof", "no", "one").Err())
	relay.PointTo(replica)
	relay.Cut()
	require.NoError(t, l.Extend(t.Context()))
	_, err = other.TryAcquire(t.Context(), "x", calm)
	require.ErrorIs(t, err, lock.ErrTaken)
	require.NoError(t, l.Release(t.Context()))
}
