package cache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// When one node changes a value, the L1 of another node drops it. The test logs the median and the
// worst time of a hundred changes.
func TestOtherNodesForget(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		a, b := node(t, rdb, slow()), node(t, rdb, slow())
		read := func() int {
			h, _, err := cache.Get[hero](ctx, b, "user:1")
			require.NoError(t, err)
			return h.Level
		}
		var worst, sum time.Duration
		const changes = 100
		for i := range changes {
			require.NoError(t, a.Set(ctx, "user:1", hero{"John", i}, time.Hour))
			start := time.Now()
			require.Eventually(t, func() bool { return read() == i }, patience, 100*time.Microsecond)
			took := time.Since(start)
			worst, sum = max(worst, took), sum+took
			require.Eventually(t, func() bool { // until the last message has arrived
				hits := b.Stats().LocalHits
				return read() == i && b.Stats().LocalHits > hits
			}, patience, 100*time.Microsecond, "from L1")
		}
		t.Logf("another node saw a change after %v on average, %v at worst", sum/changes, worst)
		require.Less(t, sum/changes, 100*time.Millisecond)

		_, err := a.Delete(ctx, "user:1")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return read() == 0 }, patience, tick)
	})
}

func TestLocalHitsNeedNoRedis(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := redistest.Server(t)
	m := node(t, s.Client(), cache.Config{})
	require.NoError(t, m.Set(ctx, "user:1", hero{"John", 1}, time.Hour))
	_, _, err := cache.Get[hero](ctx, m, "user:1")
	require.NoError(t, err)
	s.Kill()
	h, ok, err := cache.Get[hero](ctx, m, "user:1")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 1, h.Level)
}

func TestLocalServesForItsTTLOnly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	cfg := slow()
	cfg.Local.TTL = 100 * time.Millisecond
	m := node(t, rdb, cfg)
	require.NoError(t, m.Set(ctx, "user:1", 1, time.Hour))
	_, _, err := cache.Get[int](ctx, m, "user:1")
	require.NoError(t, err)
	require.NoError(t, rdb.Set(ctx, "user:1", 2, 0).Err()) // by a program that publishes no message
	require.Eventually(t, func() bool {
		n, _, err := cache.Get[int](ctx, m, "user:1")
		require.NoError(t, err)
		return n == 2
	}, patience, tick)

	// L1 does not keep a value longer than Redis does.
	require.NoError(t, m.Set(ctx, "user:2", 1, 50*time.Millisecond))
	_, _, err = cache.Get[int](ctx, m, "user:2")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, ok, err := cache.Get[int](ctx, m, "user:2")
		require.NoError(t, err)
		return !ok
	}, patience, tick)
}

func TestLocalIsBounded(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := slow()
	cfg.Local.Bytes = 100 << 10
	m := node(t, redistest.Client(t), cfg)
	value := make([]byte, 1000)
	var items []cache.Item
	for i := range 500 {
		items = append(items, cache.Item{Key: fmt.Sprintf("blob:%d", i), Value: value})
	}
	require.NoError(t, m.MSet(ctx, items...))
	for _, i := range items {
		_, _, err := cache.Get[[]byte](ctx, m, i.Key)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return m.Stats().LocalBytes <= cfg.Local.Bytes }, patience, tick)
	require.Eventually(t, func() bool { return m.Stats().Prefixes["blob"].Evictions > 100 }, patience, tick)
}

// A subscription that was lost may have missed changes, so L1 is emptied.
func TestALostSubscriptionForgetsEverything(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := redistest.Server(t)
	rdb := s.Client()
	cfg := slow()
	cfg.Local.TTL = time.Hour
	m := node(t, rdb, cfg)
	require.NoError(t, m.Set(ctx, "user:1", 1, time.Hour))
	_, _, err := cache.Get[int](ctx, m, "user:1")
	require.NoError(t, err)
	require.NoError(t, rdb.Set(ctx, "user:1", 2, 0).Err())
	n, _, err := cache.Get[int](ctx, m, "user:1")
	require.NoError(t, err)
	require.Equal(t, 1, n, "L1 was not told")
	require.NoError(t, rdb.Do(ctx, "client", "kill", "type", "pubsub").Err())
	require.Eventually(t, func() bool {
		n, _, err := cache.Get[int](ctx, m, "user:1")
		require.NoError(t, err)
		return n == 2
	}, patience, tick)
}

func TestMessagesOfStrangers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	m := node(t, rdb, slow())
	for _, payload := range []string{"", " ", "x", "no-key ", "a " + string(make([]byte, 100_000)), "\x00\xff \xff"} {
		require.NoError(t, rdb.Publish(ctx, keys.CacheInvalidations, payload).Err())
	}
	require.NoError(t, m.Set(ctx, "user:1", 1, 0))
	n, _, err := cache.Get[int](context.Background(), m, "user:1")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
