package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// Redis dies and comes back, and this process continues. Meanwhile the source answers, or, if that
// fails too, L1 with what it still has.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Server(t)
	var failures told
	m := node(t, server.Client(), cache.Config{OnError: failures.failed, Local: cache.Local{TTL: 50 * time.Millisecond}})
	down := false
	s := &countingSource{fn: func(n int64) (hero, error) {
		if down {
			return hero{}, errSource
		}
		return hero{"John", int(n)}, nil
	}}
	o := cache.Options{TTL: time.Hour}
	get := func() (hero, error) { return cache.Aside(ctx, m, "user:1", s.load, o) }
	h, err := get()
	require.NoError(t, err)
	require.Equal(t, 1, h.Level)

	server.Kill()
	require.Eventually(t, func() bool { // from L1 first, then from the source
		h, err = get()
		require.NoError(t, err)
		return h.Level > 1
	}, patience, tick)
	require.Positive(t, failures.len(), "it is told")
	require.Positive(t, m.Stats().Errors)
	_, _, err = cache.Get[hero](ctx, m, "user:none")
	require.True(t, redisconn.IsUnavailable(err), "%v", err)
	require.Error(t, m.Set(ctx, "user:2", h, 0))
	down = true
	h, err = get()
	require.NoError(t, err)
	require.Equal(t, 1, h.Level, "what L1 still has")
	_, err = cache.Aside(ctx, m, "user:3", s.load, o)
	require.ErrorIs(t, err, fault.ErrUnavailable)
	down = false

	server.Restart()
	require.Eventually(t, func() bool {
		_, err := get()
		require.NoError(t, err)
		_, ok, err := cache.Get[hero](ctx, m, "user:1")
		return err == nil && ok
	}, patience, tick, "cached again")
	hits := m.Stats().LocalHits
	require.Eventually(t, func() bool {
		_, err := get()
		return err == nil && m.Stats().LocalHits > hits
	}, patience, tick, "and L1 works again")
}

// Redis is full and takes no leases: what it has is read, what is missing or old comes from the
// source, and old values are served when the source fails too.
func TestRedisIsFull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Server(t).Client()
	var failures told
	cfg := slow()
	cfg.OnError = failures.failed
	m := manager(t, rdb, cfg)
	down := false
	s := &countingSource{fn: func(n int64) (hero, error) {
		if down {
			return hero{}, errSource
		}
		return hero{"John", int(n)}, nil
	}}
	fresh, old := cache.Options{TTL: time.Hour}, cache.Options{TTL: time.Millisecond, Jitter: -1, StaleFor: time.Hour}
	_, err := cache.Aside(ctx, m, "user:1", s.load, fresh)
	require.NoError(t, err)
	_, err = cache.Aside(ctx, m, "user:2", s.load, old)
	require.NoError(t, err)
	require.NoError(t, rdb.ConfigSet(ctx, "maxmemory", "1").Err())
	require.ErrorContains(t, rdb.Set(ctx, "x", 1, 0).Err(), "OOM")

	h, err := cache.Aside(ctx, m, "user:1", s.load, fresh)
	require.NoError(t, err)
	require.Equal(t, 1, h.Level, "it is there")
	down = true
	require.Eventually(t, func() bool {
		h, err = cache.Aside(ctx, m, "user:2", s.load, old)
		require.NoError(t, err)
		require.Equal(t, 2, h.Level)
		return m.Stats().Stale > 0
	}, patience, tick, "it is old, and the source fails")
	down = false
	_, err = cache.Aside(ctx, m, "user:3", s.load, fresh)
	require.NoError(t, err, "it is not there")
}

func TestARedisThatHangsCostsItsBudget(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	m := manager(t, server.Client(), cache.Config{Budget: 50 * time.Millisecond})
	server.Pause()
	defer server.Resume()
	start := time.Now()
	h, err := cache.Aside(t.Context(), m, "user:1", levels().load, cache.Options{})
	require.NoError(t, err)
	require.Equal(t, 1, h.Level)
	require.Less(t, time.Since(start), time.Second, "one budget, and what the machine adds")
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinel(t)
	rdb, err := redisconn.Open(t.Context(), set.URL(), redisconn.Config{})
	require.NoError(t, err)
	defer rdb.Close()
	m := node(t, rdb, cache.Config{Budget: time.Second, Local: cache.Local{TTL: 50 * time.Millisecond}})
	s := levels()
	get := func() {
		_, err := cache.Aside(t.Context(), m, "user:1", s.load, cache.Options{TTL: time.Hour})
		require.NoError(t, err, "whatever Redis does")
	}
	get()
	set.KillMaster()
	require.Eventually(t, func() bool {
		get()
		return m.Set(t.Context(), "user:2", 1, 0) == nil
	}, 60*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		get()
		_, ok, err := cache.Get[hero](t.Context(), m, "user:1")
		return err == nil && ok
	}, patience, tick)
}

func TestWriteThrough(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := server.Client()
	a, b := node(t, rdb, cache.Config{Local: cache.Local{TTL: 50 * time.Millisecond}}), manager(t, rdb, cache.Config{})
	stored := hero{}
	store := func(_ context.Context, h hero) error { stored = h; return nil }
	source := func(context.Context) (hero, error) { return stored, nil }

	require.NoError(t, cache.WriteThrough(ctx, a, "char:1:data", hero{"John", 1}, store, time.Hour))
	require.Equal(t, hero{"John", 1}, stored)
	h, ok, err := cache.Get[hero](ctx, b, "char:1:data")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, stored, h)

	fail := func(context.Context, hero) error { return errSource }
	require.ErrorIs(t, cache.WriteThrough(ctx, a, "char:1:data", hero{"John", 2}, fail, time.Hour), errSource)
	h, _, err = cache.Get[hero](ctx, b, "char:1:data")
	require.NoError(t, err)
	require.Equal(t, 1, h.Level, "what the source did not take is not cached")

	// If Redis does not answer after the source has stored the value, the old value does not stay.
	server.Kill()
	require.NoError(t, cache.WriteThrough(ctx, a, "char:1:data", hero{"John", 3}, store, time.Hour))
	h, err = cache.Aside(ctx, a, "char:1:data", source, cache.Options{})
	require.NoError(t, err)
	require.Equal(t, 3, h.Level)
	server.Restart()
	h, _, err = cache.Get[hero](ctx, a, "char:1:data")
	require.True(t, err != nil || h.Level != 1, "never the old one, where it was written")
	require.Eventually(t, func() bool {
		other, ok, err := cache.Get[hero](ctx, b, "char:1:data")
		return err == nil && (!ok || other.Level == 3)
	}, patience, tick, "nor elsewhere, soon after")
	h, err = cache.Aside(ctx, b, "char:1:data", source, cache.Options{})
	require.NoError(t, err)
	require.Equal(t, 3, h.Level)
}

func TestWarm(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	m := manager(t, rdb, slow())
	s := levels()
	for level := range 2 {
		require.NoError(t, cache.Warm(ctx, m, "leaderboard:global", s.load, 2*time.Hour))
		h, ok, err := cache.Get[hero](ctx, m, "leaderboard:global")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, level+1, h.Level, "warming replaces")
	}
	err := m.WarmBulk(ctx,
		cache.WarmItem{Key: "leaderboard:global", TTL: time.Hour, Load: func(context.Context) (any, error) { return nil, errSource }},
		cache.WarmItem{Key: "leaderboard:weekly", TTL: time.Hour, Load: func(context.Context) (any, error) { return hero{"Ann", 1}, nil }},
		cache.WarmItem{Key: "", Load: func(context.Context) (any, error) { return 1, nil }})
	require.ErrorIs(t, err, errSource)
	require.ErrorIs(t, err, cache.ErrKey)
	many, err := cache.MGet[hero](ctx, m, []string{"leaderboard:global", "leaderboard:weekly"})
	require.NoError(t, err)
	require.Equal(t, map[string]hero{"leaderboard:global": {"John", 2}, "leaderboard:weekly": {"Ann", 1}}, many, "what failed stays as it was")
}
