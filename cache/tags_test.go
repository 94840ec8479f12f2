package cache_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

func TestInvalidateByTag(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		a, b := node(t, rdb, slow()), manager(t, rdb, slow())
		s := levels()
		get := func(m *cache.Manager, key string, tags ...string) int {
			h, err := cache.Tagged(ctx, m, key, tags, s.load, cache.Options{})
			require.NoError(t, err)
			return h.Level
		}
		one := get(a, "guild:1:data", "guild", "social")
		two := get(a, "guild:2:data", "guild")
		three := get(a, "zone:1:data", "zone")
		for _, m := range []*cache.Manager{a, b} {
			require.Equal(t, one, get(m, "guild:1:data", "guild", "social"))
			require.Equal(t, two, get(m, "guild:2:data", "guild"))
			h, ok, err := cache.Get[hero](ctx, m, "guild:1:data")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, one, h.Level, "without naming its tags")
			many, err := cache.MGet[hero](ctx, m, []string{"guild:1:data", "guild:2:data", "zone:1:data"})
			require.NoError(t, err)
			require.Len(t, many, 3)
		}

		require.NoError(t, b.InvalidateByTag(ctx, "guild"))
		_, ok, err := cache.Get[hero](ctx, b, "guild:1:data")
		require.NoError(t, err)
		require.False(t, ok)
		many, err := cache.MGet[hero](ctx, b, []string{"guild:1:data", "guild:2:data", "zone:1:data"})
		require.NoError(t, err)
		require.Equal(t, map[string]hero{"zone:1:data": {"John", three}}, many)
		require.Eventually(t, func() bool { return get(a, "guild:1:data", "guild", "social") > three }, patience, tick)
		require.Greater(t, get(a, "guild:2:data", "guild"), three)
		require.Equal(t, three, get(a, "zone:1:data", "zone"))

		again := get(b, "guild:1:data", "guild", "social")
		require.NoError(t, a.InvalidateByTag(ctx, "social", "nobody-has-it"))
		require.Greater(t, get(b, "guild:1:data", "guild", "social"), again)
	})
}

// If Redis has lost a tag, by eviction or with its data, the values with that tag are not trusted.
func TestALostTagBringsNothingBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	m := manager(t, rdb, slow())
	s := levels()
	get := func() int {
		h, err := cache.Tagged(ctx, m, "guild:1:data", []string{"guild"}, s.load, cache.Options{})
		require.NoError(t, err)
		return h.Level
	}
	require.Equal(t, 1, get())
	require.NoError(t, m.InvalidateByTag(ctx, "guild"))
	require.NoError(t, rdb.Del(ctx, keys.CacheTag("guild")).Err())
	require.Equal(t, 2, get())
	require.NoError(t, rdb.Del(ctx, keys.CacheTag("guild")).Err())
	require.Equal(t, 3, get())
}

func TestTagsThatCanNotBe(t *testing.T) {
	t.Parallel()
	m := manager(t, redistest.Client(t), slow())
	_, err := cache.Tagged(t.Context(), m, "k", make([]string, 33), levels().load, cache.Options{})
	require.ErrorIs(t, err, cache.ErrKey)
	_, err = cache.Tagged(t.Context(), m, "k", []string{""}, levels().load, cache.Options{})
	require.ErrorIs(t, err, cache.ErrKey)
}

var usedMemory = regexp.MustCompile(`(?m)^used_memory:(\d+)`)

// A million values with one tag, and many invalidations of it, do not make Redis grow.
func TestTagsDoNotGrow(t *testing.T) {
	if testing.Short() {
		t.Skip("a million keys")
	}
	t.Parallel()
	ctx := context.Background()
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Server(t).Addr(), ReadTimeout: time.Minute})
	defer rdb.Close()
	m := manager(t, rdb, slow())
	s := levels()
	get := func(key string) int {
		h, err := cache.Tagged(ctx, m, key, []string{"guild"}, s.load, cache.Options{TTL: time.Hour})
		require.NoError(t, err)
		return h.Level
	}
	get("guild:0:data")
	// The other values have the bytes that a load would have stored. The server writes them in
	// batches.
	copies := redis.NewScript(`
		local value = redis.call('GET', KEYS[1])
		for i = ARGV[1], ARGV[2] do
			redis.call('SET', 'guild:' .. string.format('%.0f', i) .. ':data', value, 'PX', 3600000)
		end
		return 1`)
	const entries, part = 1_000_000, 20_000
	for i := 1; i < entries; i += part {
		require.NoError(t, copies.Run(ctx, rdb, []string{"guild:0:data"}, i, min(i+part, entries)-1).Err())
	}
	require.Equal(t, int64(entries+1), rdb.DBSize(ctx).Val(), "the values and one tag")
	used := func() int64 {
		n, err := strconv.ParseInt(usedMemory.FindStringSubmatch(rdb.Info(ctx, "memory").Val())[1], 10, 64)
		require.NoError(t, err)
		return n
	}
	require.Equal(t, 1, get("guild:999999:data"), "they are values")

	before := used()
	const invalidations = 10_000
	start := time.Now()
	for range invalidations {
		require.NoError(t, m.InvalidateByTag(ctx, "guild"))
	}
	t.Logf("an invalidation of %d values took %v", entries, time.Since(start)/invalidations)
	// It may shrink: Redis moves a million keys to a larger table bit by bit, and then frees the
	// former.
	require.Less(t, used(), before+1<<20, "memory, in bytes, after %d invalidations", invalidations)
	require.Equal(t, int64(entries+1), rdb.DBSize(ctx).Val())
	for i := 0; i < entries; i += 100_003 {
		_, ok, err := cache.Get[hero](ctx, m, fmt.Sprintf("guild:%d:data", i))
		require.NoError(t, err)
		require.False(t, ok, "none is forgotten")
	}
}
