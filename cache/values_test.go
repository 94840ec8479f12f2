package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// everywhere runs a test on a standalone server and on a Cluster.
func everywhere(t *testing.T, test func(t *testing.T, rdb redis.UniversalClient)) {
	t.Run("standalone", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.Client(t))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c, err := redisconn.Open(context.Background(), redistest.StartCluster(t).URL(), redisconn.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		test(t, c)
	})
}

func TestTheManager(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, m := range map[string]*cache.Manager{"L2": manager(t, rdb, slow()), "L1 and L2": node(t, rdb, slow())} {
			t.Run(name, func(t *testing.T) { all(t, rdb, m) })
			require.NoError(t, m.WarmBulk(context.Background())) // without items
		}
	})
}

// all calls every method.
func all(t *testing.T, rdb redis.UniversalClient, m *cache.Manager) {
	ctx := context.Background()
	john := hero{"John", 50}

	_, ok, err := cache.Get[hero](ctx, m, "user:123")
	require.NoError(t, err)
	require.False(t, ok, "a miss is not an error")
	require.NoError(t, m.Set(ctx, "user:123", john, time.Hour))
	for range 2 { // first from Redis, then perhaps from L1
		got, ok, err := cache.Get[hero](ctx, m, "user:123")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, john, got)
	}
	require.Equal(t, `{"name":"John","level":50}`, rdb.Get(ctx, "user:123").Val(), "plain JSON, for others")

	left, ok, err := m.TTL(ctx, "user:123")
	require.NoError(t, err)
	require.True(t, ok)
	require.InDelta(t, time.Hour, left, float64(time.Minute))
	ok, err = m.Expire(ctx, "user:123", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	left, _, err = m.TTL(ctx, "user:123")
	require.NoError(t, err)
	require.InDelta(t, time.Minute, left, float64(10*time.Second))
	ok, err = m.Expire(ctx, "user:123", -1)
	require.NoError(t, err)
	require.True(t, ok)
	left, _, err = m.TTL(ctx, "user:123")
	require.NoError(t, err)
	require.Equal(t, time.Duration(-1), left)
	ok, err = m.Expire(ctx, "user:none", time.Minute)
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = m.TTL(ctx, "user:none")
	require.NoError(t, err)
	require.False(t, ok)

	ok, err = m.Exists(ctx, "user:123")
	require.NoError(t, err)
	require.True(t, ok)
	n, err := m.Delete(ctx, "user:123")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = m.Delete(ctx, "user:123")
	require.NoError(t, err)
	require.Zero(t, n)
	ok, err = m.Exists(ctx, "user:123")
	require.NoError(t, err)
	require.False(t, ok)

	require.NoError(t, m.MSet(ctx,
		cache.Item{Key: "user:1", Value: john, TTL: time.Hour},
		cache.Item{Key: "user:2", Value: hero{"Ann", 2}, TTL: 30 * time.Minute},
		cache.Item{Key: "user:3", Value: hero{"Eve", 3}, TTL: -1}))
	many, err := cache.MGet[hero](ctx, m, []string{"user:1", "user:2", "user:3", "user:4"})
	require.NoError(t, err)
	require.Equal(t, map[string]hero{"user:1": john, "user:2": {"Ann", 2}, "user:3": {"Eve", 3}}, many)
	for key, want := range map[string]time.Duration{"user:1": time.Hour, "user:2": 30 * time.Minute, "user:3": -1} {
		left, _, err := m.TTL(ctx, key)
		require.NoError(t, err)
		require.InDelta(t, want, left, float64(time.Minute), key)
	}
	n, err = m.Delete(ctx, "user:1", "user:2", "user:3", "user:4")
	require.NoError(t, err)
	require.Equal(t, 3, n)

	added, err := m.AddToSet(ctx, "online:users", "user:123", "user:456")
	require.NoError(t, err)
	require.Equal(t, int64(2), added)
	ok, err = m.InSet(ctx, "online:users", "user:123")
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = m.Exists(ctx, "online:users")
	require.NoError(t, err)
	require.True(t, ok)
	members, err := m.SetMembers(ctx, "online:users")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"user:123", "user:456"}, members)
	gone, err := m.RemoveFromSet(ctx, "online:users", "user:123", "user:456")
	require.NoError(t, err)
	require.Equal(t, int64(2), gone)
	members, err = m.SetMembers(ctx, "online:users")
	require.NoError(t, err)
	require.Empty(t, members)

	visits, err := m.Increment(ctx, "page:visits", 1, 0)
	require.NoError(t, err)
	require.Equal(t, int64(1), visits)
	visits, err = m.Decrement(ctx, "page:visits", 3, 0)
	require.NoError(t, err)
	require.Equal(t, int64(-2), visits)
	_, err = m.Increment(ctx, "page:hourly", 1, time.Hour)
	require.NoError(t, err)
	before, _, err := m.TTL(ctx, "page:hourly")
	require.NoError(t, err)
	require.InDelta(t, time.Hour, before, float64(time.Minute))
	_, err = m.Increment(ctx, "page:hourly", 1, 48*time.Hour)
	require.NoError(t, err)
	after, _, err := m.TTL(ctx, "page:hourly")
	require.NoError(t, err)
	require.LessOrEqual(t, after, before, "the end stays")

	// DeletePattern reaches every master, works in batches, and removes keys that this package cannot
	// have stored.
	var items []cache.Item
	for i := range 1500 {
		items = append(items, cache.Item{Key: fmt.Sprintf("temp:%d", i), Value: i, TTL: time.Minute})
	}
	require.NoError(t, m.MSet(ctx, items...))
	require.NoError(t, rdb.Set(ctx, "temp:{odd}", 1, 0).Err())
	require.NoError(t, m.Set(ctx, "template", 1, time.Minute))
	n, err = m.DeletePattern(ctx, "temp:*")
	require.NoError(t, err)
	require.Equal(t, 1501, n)
	kept, err := cache.MGet[int](ctx, m, []string{"temp:0", "temp:1499", "template"})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"template": 1}, kept)
	n, err = m.Delete(ctx, "template", "page:visits", "page:hourly")
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	m := manager(t, rdb, cache.Config{MaxValue: 100, Budget: 10 * time.Second})
	for _, key := range []string{"", strings.Repeat("k", 513), "a{b}"} {
		_, _, err := cache.Get[int](ctx, m, key)
		require.ErrorIs(t, err, cache.ErrKey)
		require.ErrorIs(t, m.Set(ctx, key, 1, 0), cache.ErrKey)
		_, err = m.Delete(ctx, "ok", key)
		require.ErrorIs(t, err, cache.ErrKey)
		_, err = m.Increment(ctx, key, 1, 0)
		require.ErrorIs(t, err, cache.ErrKey)
		_, err = m.AddToSet(ctx, key, "x")
		require.ErrorIs(t, err, cache.ErrKey)
		_, err = cache.Aside(ctx, m, key, func(context.Context) (int, error) { return 1, nil }, cache.Options{})
		require.ErrorIs(t, err, cache.ErrKey)
		require.ErrorIs(t, m.InvalidateByTag(ctx, key), cache.ErrKey)
	}
	for _, pattern := range []string{"*", "?x", "[a]", ""} {
		_, err := m.DeletePattern(ctx, pattern)
		require.ErrorIs(t, err, cache.ErrKey, "%q would take everything", pattern)
	}
	require.ErrorIs(t, m.Set(ctx, "k", strings.Repeat("x", 200), 0), cache.ErrTooLarge)
	require.ErrorIs(t, m.Set(ctx, "k", make(chan int), 0), cache.ErrValue)
	require.ErrorIs(t, m.Set(ctx, "k", map[string]int{"$tags": 1}, 0), cache.ErrValue, "it would be taken for an envelope")
	require.Zero(t, rdb.Exists(ctx, "k").Val())

	require.NoError(t, rdb.Set(ctx, "k", "not JSON", 0).Err())
	_, ok, err := cache.Get[hero](ctx, m, "k")
	require.NoError(t, err)
	require.False(t, ok, "what can not be decoded is a miss")
	require.NoError(t, rdb.Set(ctx, "k", "null", 0).Err())
	_, ok, err = cache.Get[hero](ctx, m, "k")
	require.NoError(t, err)
	require.False(t, ok, "null is what JavaScript programs store for nothing")
}

// upper is a codec that is not JSON.
type upper struct{}

func (upper) Encode(v any) ([]byte, error) {
	s, ok := v.(string)
	if !ok {
		return nil, errors.New("strings only")
	}
	return []byte(strings.ToUpper(s)), nil
}

func (upper) Decode(data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}

func TestAnotherCodec(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := manager(t, redistest.Client(t), cache.Config{Codec: upper{}, Budget: 10 * time.Second})
	require.NoError(t, m.Set(ctx, "k", "hello", 0))
	got, ok, err := cache.Get[string](ctx, m, "k")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "HELLO", got)
	load := func(context.Context) (string, error) { return "tagged", nil }
	for range 2 {
		got, err = cache.Tagged(ctx, m, "t", []string{"a"}, load, cache.Options{})
		require.NoError(t, err)
		require.Equal(t, "TAGGED", got)
	}
	require.Equal(t, uint64(1), m.Stats().Loads)
}

func TestStatsByPrefix(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := manager(t, redistest.Client(t), slow())
	require.NoError(t, m.Set(ctx, "user:1", 1, 0))
	for range 3 {
		_, _, err := cache.Get[int](ctx, m, "user:1")
		require.NoError(t, err)
	}
	_, _, err := cache.Get[int](ctx, m, "user:2")
	require.NoError(t, err)
	_, _, err = cache.Get[int](ctx, m, "guild:1")
	require.NoError(t, err)
	s := m.Stats()
	require.Equal(t, cache.Total{Hits: 3, Misses: 1, Rate: 0.75}, s.Prefixes["user"])
	require.Equal(t, cache.Total{Misses: 1}, s.Prefixes["guild"])
	require.Equal(t, 0.6, s.Rate)
	for i := range 200 {
		_, _, err := cache.Get[int](ctx, m, fmt.Sprintf("p%d:x", i))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(m.Stats().Prefixes), 65, "keys of strangers grow nothing")
}
