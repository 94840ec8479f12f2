package lock_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

// A lock, its fence and the mark that somebody waits lie in one slot of a Cluster, also after that
// slot has moved.
func TestOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	var addrs []string
	for _, n := range cluster.Nodes {
		addrs = append(addrs, n.Addr())
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	m, other := manager(t, rdb), manager(t, rdb)
	once := func(name string) {
		l, err := m.Acquire(t.Context(), name, calm)
		require.NoError(t, err)
		_, err = other.TryAcquire(t.Context(), name, lock.Options{})
		require.ErrorIs(t, err, lock.ErrTaken)
		require.NoError(t, l.Extend(t.Context()))
		require.NoError(t, l.Release(t.Context()))
	}
	for i := range 5 { // on all masters
		once(fmt.Sprint("x", i))
	}
	cluster.MoveSlot(keys.Lock("moved"))
	once("moved")
	require.Zero(t, m.Stats().Lost)
}
