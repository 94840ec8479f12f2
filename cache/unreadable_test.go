package cache_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A stored value that cannot be decoded is a miss: it is loaded and stored anew, counted and
// reported, and in a read of many only it is missing.
func TestAnUnreadableValueIsAMiss(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var reported atomic.Int64
	m := cache.New(rdb, cache.Config{OnError: func(string, error) { reported.Add(1) }})
	t.Cleanup(m.Close)
	forms := map[string]string{
		"cut": `{"n":`, "empty": ``, "another type": `"text"`, "no JSON": "\xff", "a bad envelope": `{"$tags":7}`,
	}
	for name, form := range forms {
		key := "n:" + name
		require.NoError(t, rdb.Set(t.Context(), key, form, time.Hour).Err())
		_, ok, err := cache.Get[int](t.Context(), m, key)
		require.NoError(t, err, name)
		require.False(t, ok, name)
	}
	require.NoError(t, rdb.SAdd(t.Context(), "n:a set", "x").Err())
	require.NoError(t, m.Set(t.Context(), "n:good", 7, time.Hour))
	many, err := cache.MGet[int](t.Context(), m, []string{"n:cut", "n:empty", "n:another type", "n:no JSON", "n:a bad envelope", "n:a set", "n:good"})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"n:good": 7}, many)
	require.Positive(t, m.Stats().Unreadable)
	require.Positive(t, reported.Load())

	forms["a set"] = ""
	for name := range forms {
		loads := 0
		for range 3 {
			v, err := cache.Aside(t.Context(), m, "n:"+name, func(context.Context) (int, error) {
				loads++
				return 5, nil
			}, cache.Options{})
			require.NoError(t, err, name)
			require.Equal(t, 5, v, name)
		}
		require.Equal(t, 1, loads, name)
		require.Equal(t, "5", rdb.Get(t.Context(), "n:"+name).Val(), name)
	}
}

// A load that is under way when its pattern is deleted does not store the old value.
func TestDeletePatternStopsLoads(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := cache.New(rdb, cache.Config{})
	t.Cleanup(m.Close)
	loading, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := cache.Aside(t.Context(), m, "n:1", func(context.Context) (int, error) {
			close(loading)
			<-goOn
			return 1, nil
		}, cache.Options{})
		done <- err
	}()
	<-loading
	n, err := m.DeletePattern(t.Context(), "n:*")
	require.NoError(t, err)
	require.Zero(t, n)
	close(goOn)
	require.NoError(t, <-done)
	require.Zero(t, rdb.Exists(t.Context(), "n:1").Val(), "the old value was stored")
}

func TestQuotedPatterns(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := cache.New(rdb, cache.Config{})
	t.Cleanup(m.Close)
	for _, id := range []string{"a*", "a?", "a[b]", `a\b`, "*"} {
		require.NoError(t, rdb.Set(t.Context(), "q:ab:x", 1, 0).Err())
		require.NoError(t, rdb.Set(t.Context(), "q:"+id+":x", 1, 0).Err())
		n, err := m.DeletePattern(t.Context(), "q:"+cache.Quote(id)+":*")
		require.NoError(t, err, id)
		require.Equal(t, 1, n, id)
		require.EqualValues(t, 1, rdb.Exists(t.Context(), "q:ab:x").Val(), id)
	}
	require.Equal(t, "plain:id-1", cache.Quote("plain:id-1"))
	_, err := m.DeletePattern(t.Context(), "*")
	require.ErrorIs(t, err, cache.ErrKey)
}

func TestNoMembers(t *testing.T) {
	t.Parallel()
	m := cache.New(redistest.Client(t), cache.Config{})
	t.Cleanup(m.Close)
	n, err := m.AddToSet(t.Context(), "s:1")
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = m.RemoveFromSet(t.Context(), "s:1")
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = m.AddToSet(t.Context(), "")
	require.ErrorIs(t, err, cache.ErrKey)
}
