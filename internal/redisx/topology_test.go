package redisx_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

type visit func(ctx context.Context, rdb redis.UniversalClient, fn func(context.Context, redis.UniversalClient) error) error

// visited are the ports of the servers that a visit calls.
func visited(t *testing.T, rdb redis.UniversalClient, visit visit) map[string]int {
	t.Helper()
	var mu sync.Mutex
	ports := map[string]int{}
	require.NoError(t, visit(t.Context(), rdb, func(ctx context.Context, server redis.UniversalClient) error {
		got, err := server.ConfigGet(ctx, "port").Result()
		mu.Lock()
		defer mu.Unlock()
		ports[got["port"]]++
		return err
	}))
	return ports
}

func TestTopologyOfOneServer(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	require.True(t, redisx.IsSingleServer(rdb))
	require.Same(t, rdb, redisx.SingleServer(rdb))
	require.False(t, redisx.IsCluster(rdb))
	require.Nil(t, redisx.ClusterOf(rdb))
	require.Len(t, visited(t, rdb, redisx.ForEachMaster), 1)
	require.Len(t, visited(t, rdb, redisx.ForEachNode), 1)
	master, err := redisx.MasterForKey(t.Context(), rdb, "key")
	require.NoError(t, err)
	require.Same(t, rdb, master)
	require.False(t, redisx.IsRing(rdb))
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	require.True(t, redisx.IsRing(ring))
	require.False(t, redisx.IsSingleServer(ring))
}

func TestTopologyOfACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	o, err := redis.ParseClusterURL("redis://" + cluster.Nodes[0].Addr())
	require.NoError(t, err)
	rdb := redis.NewClusterClient(o)
	defer rdb.Close()
	require.True(t, redisx.IsCluster(rdb))
	require.Same(t, rdb, redisx.ClusterOf(rdb))
	require.False(t, redisx.IsSingleServer(rdb))
	require.Nil(t, redisx.SingleServer(rdb))
	require.Eventually(t, func() bool { return len(visited(t, rdb, redisx.ForEachNode)) == 6 }, waitFor, 50*time.Millisecond)
	masters := visited(t, rdb, redisx.ForEachMaster)
	require.Len(t, masters, 3)
	master, err := redisx.MasterForKey(t.Context(), rdb, "key")
	require.NoError(t, err)
	require.NoError(t, rdb.Set(t.Context(), "key", 1, 0).Err())
	require.NoError(t, master.Get(t.Context(), "key").Err(), "it is asked itself, and does not send elsewhere")
}
