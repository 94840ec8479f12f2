package lock_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

// roundTrips counts what is sent to Redis together, and holds it up while held is not nil.
type roundTrips struct {
	count atomic.Int64
	held  chan struct{}
}

func (r *roundTrips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.count.Add(1)
		<-r.held
		return next(ctx, cmd)
	}
}

func (r *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.count.Add(1)
		<-r.held
		return next(ctx, cmds)
	}
}

// Fifty callers who want fifty locks at once need a few round trips, and so do their releases.
func TestCallersShareACallOfAScript(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	m := lock.New(lock.Config{Timeout: 20 * time.Second}, rdb)
	t.Cleanup(m.Close)
	warm := acquire(t, m, "warm", calm)
	require.NoError(t, warm.Release(t.Context()))
	wire := &roundTrips{held: make(chan struct{})}
	rdb.AddHook(wire)
	const callers = 50
	long := lock.Options{TTL: time.Minute}
	leases := make([]*lock.Lease, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			var err error
			leases[i], err = m.Acquire(t.Context(), "lock:"+strconv.Itoa(i), long)
			require.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool { return m.Stats().Waiting == callers && wire.count.Load() > 0 }, 30*time.Second, time.Millisecond)
	close(wire.held)
	all.Wait()
	require.Less(t, wire.count.Load(), int64(callers/2))
	for i, l := range leases {
		require.Positive(t, l.Fence())
		require.EqualValues(t, 1, rdb.Exists(t.Context(), keys.Lock("lock:"+strconv.Itoa(i))).Val())
	}
	before := wire.count.Load()
	for _, l := range leases {
		all.Go(func() { require.NoError(t, l.Release(t.Context())) })
	}
	all.Wait()
	require.Less(t, wire.count.Load()-before, int64(callers/2), "releases share calls too")
	for i := range leases {
		require.Zero(t, rdb.Exists(t.Context(), keys.Lock("lock:"+strconv.Itoa(i))).Val())
	}
}

// stuckOnce is a connection that is stuck: the first pipeline that goes over it is not answered.
type stuckOnce struct{ isStuck, wasStuck atomic.Bool }

func (s *stuckOnce) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *stuckOnce) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if s.isStuck.CompareAndSwap(true, false) {
			s.wasStuck.Store(true)
			<-ctx.Done()
			cmd.SetErr(ctx.Err())
			return ctx.Err()
		}
		return next(ctx, cmd)
	}
}

func (s *stuckOnce) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if s.isStuck.CompareAndSwap(true, false) {
			s.wasStuck.Store(true)
			<-ctx.Done()
			for _, cmd := range cmds {
				cmd.SetErr(ctx.Err())
			}
			return ctx.Err()
		}
		return next(ctx, cmds)
	}
}

// One connection that is stuck fails none of the callers who share a pipeline over it.
func TestAStuckConnection(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	m := lock.New(lock.Config{Timeout: 4 * time.Second}, rdb)
	t.Cleanup(m.Close)
	wire := &stuckOnce{}
	rdb.AddHook(wire)
	long := lock.Options{TTL: time.Minute, Wait: 30 * time.Second}
	leases := make([]*lock.Lease, 5)
	var all sync.WaitGroup
	wire.isStuck.Store(true)
	for i := range leases {
		all.Go(func() {
			var err error
			leases[i], err = m.TryAcquire(t.Context(), "stuck:"+strconv.Itoa(i), long)
			require.NoError(t, err)
		})
	}
	all.Wait()
	require.False(t, t.Failed())
	require.True(t, wire.wasStuck.Load())
	wire.isStuck.Store(true)
	for _, l := range leases {
		all.Go(func() { require.NoError(t, l.Release(t.Context())) })
	}
	all.Wait()
	require.Zero(t, m.Stats().Unreleased)
}

// What is held when the manager closes can still be released.
func TestAReleaseAfterClose(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := lock.New(lock.Config{}, rdb)
	l := acquire(t, m, "x", calm)
	m.Close()
	require.NoError(t, l.Release(t.Context()))
	require.Zero(t, rdb.Exists(t.Context(), keys.Lock("x")).Val())
	m.Close()
}

// Eight callers of one process who want a name again and again do not keep another process from it:
// it waits for a few of their turns.
func TestAnotherProcessHasItsTurn(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m, other := manager(t, rdb), manager(t, rdb)
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() {
			for ctx.Err() == nil {
				_ = m.Do(ctx, "x", lock.Options{Wait: time.Minute}, func(context.Context, *lock.Lease) error {
					time.Sleep(time.Millisecond) // the work under the lock
					return nil
				})
			}
		})
	}
	require.Eventually(t, func() bool { return m.Stats().Acquired > 10 }, 30*time.Second, time.Millisecond)
	var turns []uint64 // of the eight, while the other process waits
	for range 10 {
		before := m.Stats().Acquired
		l, err := other.Acquire(t.Context(), "x", lock.Options{Wait: 30 * time.Second, TTL: 10 * time.Second})
		require.NoError(t, err)
		turns = append(turns, m.Stats().Acquired-before)
		require.NoError(t, l.Release(t.Context()))
	}
	cancel()
	busy.Wait()
	slices.Sort(turns)
	require.LessOrEqual(t, turns[5], uint64(25), "half of the waits: %v", turns)
}

// A lock that is free and soon released has at most 108 allocations, a third of them in redsync and
// go-redis, and one timer.
func TestAllocationsOfALock(t *testing.T) {
	m := manager(t, redistest.Client(t))
	n := testing.AllocsPerRun(500, func() {
		l, err := m.Acquire(t.Context(), "x", calm)
		require.NoError(t, err)
		require.NoError(t, l.Release(t.Context()))
	})
	require.LessOrEqual(t, n, 108.0)
}
