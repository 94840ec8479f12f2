package throttle

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// A Cluster refuses a script over several slots, even when one server has them all.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t, "--cluster-enabled", "yes")
	require.NoError(t, server.Client().ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}})
	defer rdb.Close()
	require.Eventually(t, func() bool {
		return rdb.Set(t.Context(), "x", 1, 0).Err() == nil
	}, 20*time.Second, 20*time.Millisecond)
	l := newLimiter(t, rdb, patient, Policy{Name: "wide", Limit: 9, Window: time.Minute, Scope: ByUser}, Policy{Name: "narrow", Limit: 2, Window: time.Minute, Scope: ByUser})
	for i := range 4 {
		d := spend(t, l, ann, "wide", "narrow")
		require.Equal(t, i < 2, d.Allowed)
		require.Equal(t, "narrow", d.Policy)
	}
	d := spend(t, l, ann, "wide")
	require.Equal(t, SourceRedis, d.Source)
	require.Equal(t, 6, d.Remaining, "what the other policy refused was given back")
	require.False(t, l.Degraded())
}
