package redisconn_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/redisconn"
)

// states collects what a breaker tells.
type states struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

func (s *states) changed(_, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, state)
}

func (s *states) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.all...)
}

func guardedKey(t *testing.T, c redis.UniversalClient, cfg redisconn.BreakerConfig) *redisconn.Breaker {
	t.Helper()
	b := redisconn.NewBreaker(c, "cache", cfg)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t)
	var told states
	whole := open(t, s.URL())
	b := guardedKey(t, whole, redisconn.BreakerConfig{Failures: 3, Rest: 50 * time.Millisecond, OnChange: told.changed})
	c := b.Client()
	require.NoError(t, c.Set(ctx, "k", "v", 0).Err())
	require.ErrorIs(t, c.Get(ctx, "nothing").Err(), redis.Nil)
	for range 10 {
		require.Error(t, c.LPush(ctx, "k", "v").Err(), "an answer is no failure")
	}
	require.Equal(t, "closed", b.State())

	s.Kill()
	for range 3 {
		require.True(t, redisconn.IsUnavailable(c.Get(ctx, "k").Err()))
	}
	err := c.Get(ctx, "k").Err()
	require.True(t, redisconn.IsUnavailable(err), "%v", err)
	pipe := c.Pipeline()
	get := pipe.Get(ctx, "k")
	_, err = pipe.Exec(ctx)
	require.True(t, redisconn.IsUnavailable(err))
	require.Error(t, get.Err())
	require.True(t, redisconn.IsUnavailable(whole.Get(ctx, "k").Err()))
	require.NotErrorIs(t, whole.Get(ctx, "k").Err(), redisx.ErrBreakerOpen, "other features have their own")

	s.Restart()
	require.Eventually(t, func() bool { return c.Set(ctx, "k", "v", 0).Err() == nil }, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, "closed", b.State())
	require.Equal(t, []string{"open", "half-open"}, told.seen()[:2])
	require.Equal(t, "closed", told.seen()[len(told.seen())-1])
}

// While it is open nothing is sent; when it rests no more, one at a time is.
func TestBreakerKeepsAnIllRedisFromThePress(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t)
	b := guardedKey(t, open(t, s.URL()), redisconn.BreakerConfig{Failures: 2, Rest: time.Hour, Budget: 50 * time.Millisecond})
	c := b.Client()
	require.NoError(t, c.Ping(ctx).Err())
	s.Pause()
	defer s.Resume()
	start := time.Now()
	for range 2 {
		require.True(t, redisconn.IsUnavailable(c.Ping(ctx).Err()))
	}
	require.Less(t, time.Since(start), within, "its own budget, not the client's")
	require.Equal(t, "open", b.State())
	start = time.Now()
	for range 1000 {
		require.ErrorIs(t, c.Ping(ctx).Err(), redisx.ErrBreakerOpen)
	}
	require.Less(t, time.Since(start), within)
}

func TestBreakerOfCallersWhoLeave(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	b := guardedKey(t, open(t, s.URL()), redisconn.BreakerConfig{Failures: 2, Rest: time.Millisecond})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for range 10 {
		require.Error(t, b.Client().Ping(gone).Err())
	}
	require.Equal(t, "closed", b.State())

	s.Kill()
	for range 2 {
		require.Error(t, b.Client().Ping(context.Background()).Err())
	}
	s.Restart()
	require.Eventually(t, func() bool { // a probe whose caller left keeps nobody out
		require.Error(t, b.Client().Ping(gone).Err())
		return b.Client().Ping(context.Background()).Err() == nil
	}, 10*time.Second, 5*time.Millisecond)
}

func TestBreakerOnAClusterAndSentinels(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster, set := redistest.StartCluster(t), redistest.StartSentinel(t)
	for name, url := range map[string]string{"cluster": cluster.URL(), "sentinel": set.URL()} {
		b := guardedKey(t, open(t, url), redisconn.BreakerConfig{Budget: 5 * time.Second})
		for i := range 30 {
			require.NoError(t, b.Client().Set(ctx, fmt.Sprint(i), i, 0).Err(), name)
		}
		require.Equal(t, "closed", b.State())
	}
}
