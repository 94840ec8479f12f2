package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// eventually is like require.Eventually, and says what stood in the way.
func eventually(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	var err error
	start := time.Now()
	for time.Since(start) < limit {
		if err = f(); err == nil {
			t.Logf("after %v", time.Since(start))
			return
		}
		time.Sleep(50 * time.Millisecond) // between two tries, not instead of one
	}
	require.NoError(t, err)
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.StartSentinel(t)
	c := open(t, s.URL()+"/3")
	require.NoError(t, c.Set(ctx, "k", "v", 0).Err())
	m, changes := watch(t, c, redisconn.MonitorConfig{})

	old := s.KillMaster()
	require.Equal(t, redisconn.Up, becomes(t, changes, redisconn.Down).from)
	eventually(t, 30*time.Second, func() error { return c.Set(ctx, "k", "w", 0).Err() })
	eventually(t, 5*time.Second, func() error {
		if m.State() != redisconn.Up {
			return fmt.Errorf("still %v", m.State())
		}
		return nil
	})
	eventually(t, 10*time.Second, func() error {
		if s.Master() == old {
			return errors.New("most sentinels still name the old master")
		}
		return nil
	})
	h := redisconn.Check(ctx, c)
	require.Equal(t, redisconn.StatusUp, h.Status, h.Error)
	require.Equal(t, "master", h.Role)
	require.Equal(t, "w", s.Master().Client().Do(ctx, "eval", "redis.call('select', 3) return redis.call('get', 'k')", 0).Val(), "in database 3")

	for i := range 3 {
		s.Sentinel(i).Kill()
	}
	require.NoError(t, c.Set(ctx, "k", "x", 0).Err(), "nobody needs sentinels while the master lives")
	_, err := redisconn.Open(ctx, s.URL(), redisconn.Config{})
	require.ErrorIs(t, err, redisconn.ErrUnreachable)
	require.True(t, redisconn.IsUnavailable(err), "%v", err)
}

func TestSentinelWithoutThatMaster(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t) // answers, and is no sentinel
	_, err := redisconn.Open(context.Background(), "redis+sentinel://"+s.Addr()+"/main", redisconn.Config{})
	require.ErrorIs(t, err, redisconn.ErrRefused)
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.StartCluster(t)
	c := open(t, s.URL())
	require.IsType(t, &redis.ClusterClient{}, c)
	write := func() error {
		for i := range 30 {
			if err := c.Set(ctx, fmt.Sprint(i), i, 0).Err(); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, write())
	for i, n := range s.Nodes[:3] {
		require.NotZero(t, n.Client().DBSize(ctx).Val(), i)
	}
	h := redisconn.Check(ctx, c)
	require.Equal(t, redisconn.StatusUp, h.Status, h.Error)
	require.Equal(t, "cluster", h.Role)
	require.Positive(t, h.Memory.UsedBytes)

	s.Nodes[0].Kill()
	require.NotEqual(t, redisconn.StatusUp, redisconn.Check(ctx, c).Status)
	err := write()
	require.True(t, redisconn.IsUnavailable(err), "%v", err)
	eventually(t, 30*time.Second, write)
	eventually(t, 30*time.Second, func() error {
		if h := redisconn.Check(ctx, c); h.Status != redisconn.StatusUp {
			return fmt.Errorf("still %s: %s", h.Status, h.Error)
		}
		return nil
	})

	for _, n := range s.Nodes[3:] {
		n.Kill()
	}
	s.Nodes[1].Kill()
	s.Nodes[2].Kill()
	require.Equal(t, redisconn.StatusDown, redisconn.Check(ctx, c).Status)
	require.True(t, redisconn.IsUnavailable(write()))
	_, err = redisconn.Open(ctx, s.URL(), redisconn.Config{})
	require.ErrorIs(t, err, redisconn.ErrUnreachable)
	require.True(t, redisconn.IsUnavailable(err), "%v", err)
}
