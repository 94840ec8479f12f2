package lock_test

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
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

func TestMain(m *testing.M) { redistest.Main(m) }

func manager(t testing.TB, clients ...redis.UniversalClient) *lock.Manager {
	m := lock.New(lock.Config{}, clients...)
	t.Cleanup(m.Close)
	return m
}

func acquire(t testing.TB, m *lock.Manager, name string, opt lock.Options) *lock.Lease {
	t.Helper()
	l, err := m.Acquire(t.Context(), name, opt)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Release(context.Background()) })
	return l
}

// calm is for tests in which no lease may expire by accident on a busy machine.
var calm = lock.Options{TTL: 30 * time.Second, Wait: 30 * time.Second, MaxHold: time.Minute}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a, b := manager(t, rdb), manager(t, rdb) // two processes
	var inside, worst atomic.Int32
	var mu sync.Mutex
	var fences []int64
	var wg sync.WaitGroup
	for i := range 50 {
		m := a
		if i%2 == 1 {
			m = b
		}
		wg.Go(func() {
			for range 4 {
				err := m.Do(t.Context(), "trade:ann:bob", calm, func(ctx context.Context, l *lock.Lease) error {
					if n := inside.Add(1); n > 1 {
						worst.Store(n)
					}
					mu.Lock()
					fences = append(fences, l.Fence())
					mu.Unlock()
					// A moment, in which another holder would get in.
					err := rdb.Ping(ctx).Err()
					inside.Add(-1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, worst.Load(), "at most one holder at a time")
	require.Len(t, fences, 200)
	for i := 1; i < len(fences); i++ {
		require.Greater(t, fences[i], fences[i-1], "fences rise in the order of holding")
	}
	require.Equal(t, uint64(100), a.Stats().Acquired)
	require.Zero(t, a.Stats().Held)
	require.Zero(t, a.Stats().Waiting)
	require.Zero(t, rdb.Exists(t.Context(), keys.Lock("trade:ann:bob")).Val())
}

func TestTaken(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	a, b := manager(t, rdb), manager(t, rdb)
	acquire(t, a, "x", calm)
	for name, m := range map[string]*lock.Manager{"here": a, "elsewhere": b} {
		_, err := m.TryAcquire(t.Context(), "x", lock.Options{})
		require.ErrorIs(t, err, lock.ErrTaken, name)
		_, err = m.Acquire(t.Context(), "x", lock.Options{Wait: 30 * time.Millisecond})
		require.ErrorIs(t, err, lock.ErrTimeout, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Acquire(ctx, "x", lock.Options{})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, lock.ErrTimeout)
	acquire(t, b, "y", calm) // another name is free
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	m := manager(t, redistest.Client(t))
	for name, o := range map[string]lock.Options{"": {}, "a{b}": {}, "short": {TTL: time.Millisecond}, "hold": {MaxHold: -1}, "wait": {Wait: -1}} {
		_, err := m.Acquire(t.Context(), name, o)
		require.ErrorIs(t, err, lock.ErrBadOptions, name)
	}
}

// A release wakes the next caller of the same process, without polling.
func TestReleaseWakesTheNext(t *testing.T) {
	t.Parallel()
	m := manager(t, redistest.Client(t))
	first := acquire(t, m, "x", calm)
	got := make(chan *lock.Lease)
	go func() {
		l, err := m.Acquire(context.Background(), "x", calm)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	require.Eventually(t, func() bool { return m.Stats().Waiting == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, first.Release(t.Context()))
	second := <-got
	require.Greater(t, second.Fence(), first.Fence())
	require.NoError(t, first.Release(t.Context()), "a second release does nothing")
	require.NoError(t, second.Context().Err())
	require.NoError(t, second.Release(t.Context()))
	require.ErrorIs(t, context.Cause(second.Context()), context.Canceled)
}

func TestWatchdogExtends(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := manager(t, rdb)
	l := acquire(t, m, "x", lock.Options{TTL: 3 * time.Second, MaxHold: time.Minute})
	first := l.Until()
	require.Eventually(t, func() bool { return l.Until().After(first) }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, l.Context().Err())
	require.NoError(t, l.Extend(t.Context()))
	require.NoError(t, l.Release(t.Context()))
	require.Error(t, l.Extend(t.Context()), "a released lease cannot be extended")
	require.Zero(t, rdb.Exists(t.Context(), keys.Lock("x")).Val())
}

func TestMaxHold(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := manager(t, rdb)
	err := m.Do(t.Context(), "x", lock.Options{TTL: 2 * time.Second, MaxHold: 50 * time.Millisecond},
		func(ctx context.Context, l *lock.Lease) error {
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), lock.ErrMaxHold)
			require.ErrorIs(t, l.Extend(context.Background()), lock.ErrMaxHold)
			require.EqualValues(t, 1, rdb.Exists(context.Background(), keys.Lock("x")).Val(), "the lock keeps others out until the holder has finished")
			return fmt.Errorf("settle: %w", ctx.Err())
		})
	require.ErrorIs(t, err, lock.ErrMaxHold)
	require.Zero(t, rdb.Exists(t.Context(), keys.Lock("x")).Val())
}

// If the key is deleted, or has another value, the next extension detects it.
func TestLost(t *testing.T) {
	t.Parallel()
	for name, steal := range map[string]func(*testing.T, redis.UniversalClient){
		"deleted": func(t *testing.T, rdb redis.UniversalClient) {
			require.NoError(t, rdb.Del(t.Context(), keys.Lock("x")).Err())
		},
		"another's": func(t *testing.T, rdb redis.UniversalClient) {
			require.NoError(t, rdb.Set(t.Context(), keys.Lock("x"), "thief", 0).Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			m := manager(t, rdb)
			l := acquire(t, m, "x", lock.Options{TTL: 600 * time.Millisecond, MaxHold: time.Minute})
			steal(t, rdb)
			before := rdb.Get(t.Context(), keys.Lock("x")).Val()
			<-l.Context().Done()
			require.ErrorIs(t, context.Cause(l.Context()), lock.ErrLost)
			require.ErrorIs(t, l.Extend(t.Context()), lock.ErrLost)
			require.ErrorIs(t, l.Release(t.Context()), lock.ErrLost)
			require.Equal(t, before, rdb.Get(t.Context(), keys.Lock("x")).Val(), "the lock of another holder is not freed")
			require.EqualValues(t, 1, m.Stats().Lost)
		})
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*redistest.Instance){
		"dead":   (*redistest.Instance).Kill,
		"paused": (*redistest.Instance).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			m := manager(t, server.Client())
			l := acquire(t, m, "held", lock.Options{})
			stop(server)
			begun := time.Now()
			_, err := m.Acquire(t.Context(), "x", lock.Options{})
			require.ErrorIs(t, err, lock.ErrUnavailable)
			require.ErrorIs(t, l.Release(t.Context()), lock.ErrUnavailable)
			require.Less(t, time.Since(begun), 10*time.Second)
			require.EqualValues(t, 1, m.Stats().Unreleased)
		})
	}
}

// A server that comes back without its data still hands out higher fences.
func TestFenceRisesOverLossOfData(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	m := manager(t, server.Client())
	var last int64
	for range 3 {
		for range 5 {
			l, err := m.Acquire(t.Context(), "x", calm)
			require.NoError(t, err)
			require.Greater(t, l.Fence(), last)
			last = l.Fence()
			require.NoError(t, l.Release(t.Context()))
		}
		server.Restart()
	}
}

func TestDoGivesWhatTheFunctionGave(t *testing.T) {
	t.Parallel()
	m := manager(t, redistest.Client(t))
	require.NoError(t, m.Do(t.Context(), "x", calm, func(context.Context, *lock.Lease) error { return nil }))
	failure := errors.New("failed")
	require.ErrorIs(t, m.Do(t.Context(), "x", calm, func(context.Context, *lock.Lease) error { return failure }), failure)
	func() {
		defer func() { require.Equal(t, "oh", recover()) }()
		_ = m.Do(t.Context(), "x", calm, func(context.Context, *lock.Lease) error { panic("oh") })
	}()
	l, err := m.TryAcquire(t.Context(), "x", lock.Options{})
	require.NoError(t, err, "a panic releases the lock too")
	require.NoError(t, l.Release(t.Context()))
}

func TestACancelledTryLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := lock.New(lock.Config{}, rdb)
	for i := range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*20)*time.Microsecond)
		name := fmt.Sprint("x", i)
		l, err := m.Acquire(ctx, name, calm)
		if err == nil {
			require.NoError(t, l.Release(t.Context()))
		} else {
			require.True(t, errors.Is(err, lock.ErrTimeout) || errors.Is(err, lock.ErrUnavailable), "%v", err)
		}
		cancel()
		m.Close()
		require.Zero(t, rdb.Exists(t.Context(), keys.Lock(name)).Val(), "after %d µs", i*20)
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	// Not parallel: it counts goroutines.
	rdb := redistest.Client(t)
	before := goleak.IgnoreCurrent()
	m := lock.New(lock.Config{}, rdb)
	for i := range 100 {
		l, err := m.Acquire(t.Context(), fmt.Sprint(i%3), calm)
		require.NoError(t, err)
		require.NoError(t, l.Release(t.Context()))
	}
	m.Close()
	goleak.VerifyNone(t, before)
}
