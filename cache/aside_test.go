package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// A countingSource counts how often it is asked for a value.
type countingSource struct {
	asked atomic.Int64
	fn    func(n int64) (hero, error)
}

func (s *countingSource) load(context.Context) (hero, error) { return s.fn(s.asked.Add(1)) }

// levels returns a source whose hero has one level more at each load.
func levels() *countingSource {
	return &countingSource{fn: func(n int64) (hero, error) { return hero{"John", int(n)}, nil }}
}

var errSource = errors.New("the database is away")

func TestAsideAsksOnce(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		s := levels()
		for _, m := range []*cache.Manager{manager(t, rdb, slow()), node(t, rdb, slow())} {
			for range 3 {
				h, err := cache.Aside(ctx, m, "user:1", s.load, cache.Options{TTL: time.Hour})
				require.NoError(t, err)
				require.Equal(t, hero{"John", 1}, h)
			}
		}
		require.Equal(t, int64(1), s.asked.Load())
		require.Equal(t, `{"name":"John","level":1}`, rdb.Get(ctx, "user:1").Val())
		left := rdb.PTTL(ctx, "user:1").Val()
		require.Greater(t, left, 53*time.Minute, "jitter takes at most a tenth")
		require.LessOrEqual(t, left, time.Hour)
		require.Zero(t, rdb.Exists(ctx, keys.CacheLoad("user:1")).Val(), "no lease is left")
	})
}

func TestJitterSpreads(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	m := manager(t, rdb, slow())
	ends := map[time.Duration]bool{}
	for i := range 20 {
		key := fmt.Sprintf("user:%d", i)
		_, err := cache.Aside(ctx, m, key, levels().load, cache.Options{TTL: time.Hour})
		require.NoError(t, err)
		ends[rdb.PTTL(ctx, key).Val().Round(10*time.Second)] = true
	}
	require.Greater(t, len(ends), 5)
	_, err := cache.Aside(ctx, m, "exact", levels().load, cache.Options{TTL: time.Hour, Jitter: -1})
	require.NoError(t, err)
	require.InDelta(t, time.Hour, rdb.PTTL(ctx, "exact").Val(), float64(30*time.Second))
}

func TestNothingIsRemembered(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	for name, fn := range map[string]func(int64) (*hero, error){
		"not found": func(int64) (*hero, error) { return nil, fmt.Errorf("row: %w", fault.ErrNotFound) },
		"nil":       func(int64) (*hero, error) { return nil, nil },
	} {
		m := node(t, rdb, slow())
		asked := int64(0)
		load := func(context.Context) (*hero, error) { asked++; return fn(asked) }
		key := "user:" + name
		for range 3 {
			_, err := cache.Aside(ctx, m, key, load, cache.Options{NegativeTTL: time.Minute, StaleFor: time.Hour})
			require.ErrorIs(t, err, cache.ErrNotFound)
			require.ErrorIs(t, err, fault.ErrNotFound)
		}
		require.Equal(t, int64(1), asked, name)
		require.Equal(t, "null", rdb.Get(ctx, key).Val())
		require.InDelta(t, time.Minute, rdb.PTTL(ctx, key).Val(), float64(10*time.Second))
		for range 2 {
			_, err := cache.Aside(ctx, m, key+"-not-remembered", load, cache.Options{NegativeTTL: -1})
			require.ErrorIs(t, err, cache.ErrNotFound)
		}
		require.Equal(t, int64(3), asked, name)
	}
}

func TestRefreshAheadOfTime(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	s := levels()
	release := make(chan struct{})
	load := func(ctx context.Context) (hero, error) {
		h, err := s.load(ctx)
		if h.Level > 1 {
			<-release
		}
		return h, err
	}
	a, b := manager(t, rdb, slow()), node(t, rdb, slow())
	o := cache.Options{TTL: time.Hour, RefreshThreshold: 0.1}
	h, err := cache.Aside(ctx, a, "user:1", load, o)
	require.NoError(t, err)
	require.Equal(t, 1, h.Level)
	require.NoError(t, rdb.PExpire(ctx, "user:1", 5*time.Minute).Err()) // within the last tenth
	for _, m := range []*cache.Manager{a, b, a, b} {
		h, err := cache.Aside(ctx, m, "user:1", load, o)
		require.NoError(t, err)
		require.Equal(t, 1, h.Level, "nobody waits for the refresh")
	}
	close(release)
	require.Eventually(t, func() bool { return rdb.PTTL(ctx, "user:1").Val() > 50*time.Minute }, patience, tick)
	require.Equal(t, int64(2), s.asked.Load(), "one node of two refreshed, once")
	require.Eventually(t, func() bool {
		h, err := cache.Aside(ctx, b, "user:1", load, o)
		require.NoError(t, err)
		return h.Level == 2
	}, patience, tick)
}

func TestStaleWhenTheSourceFails(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
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
	o := cache.Options{TTL: 50 * time.Millisecond, Jitter: -1, StaleFor: time.Hour}
	_, err := cache.Aside(ctx, m, "user:1", s.load, o)
	require.NoError(t, err)
	down = true
	require.Eventually(t, func() bool {
		h, err := cache.Aside(ctx, m, "user:1", s.load, o)
		require.NoError(t, err)
		require.Equal(t, 1, h.Level)
		return m.Stats().Stale > 0
	}, patience, tick)
	require.Positive(t, m.Stats().LoadErrors)
	require.Positive(t, failures.len())

	require.NoError(t, rdb.PExpire(ctx, "user:1", time.Millisecond).Err()) // the NegativeTTL is over
	require.Eventually(t, func() bool { return rdb.Exists(ctx, "user:1").Val() == 0 }, patience, tick)
	_, err = cache.Aside(ctx, m, "user:1", s.load, o)
	require.ErrorIs(t, err, fault.ErrUnavailable)
	require.ErrorIs(t, err, errSource, "the cause is for the log")
	down = false
	_, err = cache.Aside(ctx, m, "user:1", s.load, o)
	require.NoError(t, err, "an error is not remembered")

	own := fault.New("BANNED", "x")
	_, err = cache.Aside(ctx, m, "user:2", func(context.Context) (hero, error) { return hero{}, own }, o)
	require.ErrorIs(t, err, own, "a fault stays what it is")
}

func TestSoftAndHard(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	m := manager(t, rdb, slow())
	o := cache.Options{TTL: 50 * time.Millisecond, Jitter: -1, StaleFor: time.Hour, SoftTimeout: 20 * time.Millisecond, LoadTimeout: patience}
	hold := make(chan struct{})
	s := levels()
	load := func(ctx context.Context) (hero, error) {
		h, err := s.load(ctx)
		if h.Level > 1 {
			<-hold
		}
		return h, err
	}
	_, err := cache.Aside(ctx, m, "user:1", load, o)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		h, err := cache.Aside(ctx, m, "user:1", load, o)
		require.NoError(t, err)
		require.Equal(t, 1, h.Level, "the old one, because the source is slow")
		return m.Stats().Stale > 0
	}, patience, tick)
	close(hold)
	require.Eventually(t, func() bool {
		raw, err := rdb.Get(ctx, "user:1").Result()
		return err == nil && raw == fmt.Sprintf(`{"name":"John","level":%d}`, s.asked.Load())
	}, patience, tick, "the load went on behind its callers, and was stored")

	hang := make(chan struct{})
	defer close(hang)
	_, err = cache.Aside(ctx, m, "user:2", func(context.Context) (hero, error) { <-hang; return hero{}, nil }, cache.Options{LoadTimeout: 50 * time.Millisecond})
	require.ErrorIs(t, err, fault.ErrUnavailable, "a source that ignores its context is left alone")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, rdb.Exists(ctx, keys.CacheLoad("user:2")).Val())
}

func TestALoaderThatPanics(t *testing.T) {
	t.Parallel()
	m := manager(t, redistest.Client(t), slow())
	_, err := cache.Aside(t.Context(), m, "user:1", func(context.Context) (hero, error) { panic("oh") }, cache.Options{})
	require.ErrorIs(t, err, fault.ErrUnavailable)
	require.ErrorContains(t, err, "oh")
	h, err := cache.Aside(t.Context(), m, "user:1", levels().load, cache.Options{})
	require.NoError(t, err)
	require.Equal(t, 1, h.Level)
}

func TestACallerWhoLeavesKeepsNobodyFromTheValue(t *testing.T) {
	t.Parallel()
	m := manager(t, redistest.Client(t), slow())
	hold, begun := make(chan struct{}), make(chan struct{})
	load := func(context.Context) (hero, error) {
		close(begun)
		<-hold
		return hero{"John", 1}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := cache.Aside(ctx, m, "user:1", load, cache.Options{})
		first <- err
	}()
	<-begun
	second := make(chan error, 1)
	go func() {
		_, err := cache.Aside(t.Context(), m, "user:1", levels().load, cache.Options{})
		second <- err
	}()
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	close(hold)
	require.NoError(t, <-second)
}

// A thousand callers on two nodes cause one load.
func TestStampede(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		for name, tags := range map[string][]string{"aside": nil, "tagged": {"guild", "social"}} {
			s := &countingSource{}
			s.fn = func(n int64) (hero, error) {
				time.Sleep(100 * time.Millisecond) // a slow source, so that all callers come during the load
				return hero{"John", int(n)}, nil
			}
			nodes := []*cache.Manager{node(t, rdb, slow()), node(t, rdb, slow())}
			start := make(chan struct{})
			errs := make(chan error, 1000)
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Go(func() {
					<-start
					h, err := cache.Tagged(t.Context(), nodes[i%2], "user:"+name, tags, s.load, cache.Options{})
					if err == nil && h.Level != 1 {
						err = fmt.Errorf("level %d", h.Level)
					}
					errs <- err
				})
			}
			close(start)
			wg.Wait()
			for range 1000 {
				require.NoError(t, <-errs)
			}
			require.Equal(t, int64(1), s.asked.Load(), name)
			require.Equal(t, uint64(1), nodes[0].Stats().Loads+nodes[1].Stats().Loads)
		}
	})
}

// If the node that loads dies, the next one does not wait for ever: the lease of the load expires.
func TestALeaseOfTheDeadEnds(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := manager(t, rdb, slow())
	require.NoError(t, rdb.Set(t.Context(), keys.CacheLoad("user:1"), "of the dead", 200*time.Millisecond).Err())
	h, err := cache.Aside(t.Context(), m, "user:1", levels().load, cache.Options{})
	require.NoError(t, err)
	require.Equal(t, 1, h.Level)
}

// A value that is set, deleted or invalidated during a load is not replaced by the result of the
// load.
func TestALoadDoesNotBringBackTheOld(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rdb := redistest.Client(t)
	for name, c := range map[string]struct {
		change func(m *cache.Manager, key string) error
		want   int
	}{
		"delete":     {func(m *cache.Manager, key string) error { _, err := m.Delete(ctx, key); return err }, 2},
		"set":        {func(m *cache.Manager, key string) error { return m.Set(ctx, key, hero{"John", 9}, 0) }, 9},
		"invalidate": {func(m *cache.Manager, _ string) error { return m.InvalidateByTag(ctx, "guild") }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := node(t, rdb, slow()), node(t, rdb, slow())
			key := "user:" + name
			begun, hold := make(chan struct{}), make(chan struct{})
			s := levels()
			load := func(ctx context.Context) (hero, error) {
				h, err := s.load(ctx)
				if h.Level == 1 {
					close(begun)
					<-hold
				}
				return h, err
			}
			tags := []string{"guild"}
			done := make(chan error, 1)
			go func() {
				_, err := cache.Tagged(ctx, a, key, tags, load, cache.Options{})
				done <- err
			}()
			<-begun
			require.NoError(t, c.change(b, key))
			close(hold)
			require.NoError(t, <-done)
			for _, m := range []*cache.Manager{a, b} {
				h, err := cache.Tagged(ctx, m, key, tags, load, cache.Options{})
				require.NoError(t, err)
				require.Equal(t, c.want, h.Level)
			}
		})
	}
}
