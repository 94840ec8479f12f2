package cache_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A miss that loads has at most 40 allocations, of which go-redis has 14 and the codec 8; a value
// that Redis has, 24. Node's or Go's plain client needs as many for a GET and a SET.
func TestAllocationsOfAMissAndOfAHit(t *testing.T) {
	m := manager(t, redistest.Client(t), slow())
	ctx := t.Context()
	load := func(context.Context) (hero, error) { return hero{"John", 1}, nil }
	n := 0
	misses := testing.AllocsPerRun(500, func() {
		n++
		_, err := cache.Aside(ctx, m, "user:"+strconv.Itoa(n), load, cache.Options{})
		require.NoError(t, err)
	})
	require.EqualValues(t, n, m.Stats().Loads)
	require.LessOrEqual(t, misses, 40.0)

	hits := testing.AllocsPerRun(500, func() {
		_, ok, err := cache.Get[hero](ctx, m, "user:1")
		require.NoError(t, err)
		require.True(t, ok)
	})
	require.LessOrEqual(t, hits, 24.0)
}

// A load of what was not there is told to nobody, because nobody has an older value. One that
// another node waits for is.
func TestALoadIsToldOnlyToThoseWhoWait(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	a, b := node(t, rdb, slow()), node(t, rdb, slow())
	told := rdb.Subscribe(ctx, "cache:invalidations")
	defer told.Close()
	_, err := told.Receive(ctx)
	require.NoError(t, err)

	_, err = cache.Aside(ctx, a, "user:1", levels().load, cache.Options{})
	require.NoError(t, err)

	begun, hold := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := cache.Aside(ctx, a, "user:2", func(context.Context) (hero, error) {
			close(begun)
			<-hold
			return hero{"John", 1}, nil
		}, cache.Options{})
		first <- err
	}()
	<-begun
	second := make(chan error, 1)
	go func() {
		_, err := cache.Aside(ctx, b, "user:2", levels().load, cache.Options{})
		second <- err
	}()
	require.Eventually(t, func() bool { return rdb.Exists(ctx, "{user:2}:load:awaited").Val() == 1 }, patience, tick)
	close(hold)
	require.NoError(t, <-first)
	require.NoError(t, <-second)
	require.EqualValues(t, 0, b.Stats().Loads)

	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	message, err := told.ReceiveMessage(bounded)
	require.NoError(t, err)
	require.Regexp(t, " user:2$", message.Payload, "of user:1 there was nothing to tell")
	require.Zero(t, rdb.Exists(ctx, "{user:2}:load", "{user:2}:load:awaited").Val())
}

// A value that was there is replaced by a refresh, which all nodes are told.
func TestARefreshIsToldToAllNodes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	a, b := manager(t, rdb, slow()), node(t, rdb, slow())
	s := levels()
	o := cache.Options{TTL: time.Hour, RefreshThreshold: 0.1}
	get := func(m *cache.Manager) int {
		h, err := cache.Aside(ctx, m, "user:1", s.load, o)
		require.NoError(t, err)
		return h.Level
	}
	require.Equal(t, 1, get(a))
	require.Equal(t, 1, get(b), "b has it in L1")
	require.NoError(t, rdb.PExpire(ctx, "user:1", 5*time.Minute).Err())
	require.Equal(t, 1, get(a))
	require.Eventually(t, func() bool { return get(b) == 2 }, patience, tick)
}
