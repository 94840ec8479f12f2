package lock_test

import (
	"context"
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

// atOnce is how long a machine may take to wake a goroutine, beside what redistest.Lag measures.
// Config.Timeout is three times as long.
const atOnce = 150 * time.Millisecond

// clients are the client of the gateway, and one with the defaults of go-redis, which waits for
// 3 s and ignores contexts.
var clients = map[string]func(testing.TB, *redistest.Instance) redis.UniversalClient{
	"gateway": func(_ testing.TB, s *redistest.Instance) redis.UniversalClient { return s.Client() },
	"plain":   plain,
}

func plain(t testing.TB, s *redistest.Instance) redis.UniversalClient {
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// withEachClient runs a test with each of the clients, on a server of its own.
func withEachClient(t *testing.T, test func(*testing.T, *redistest.Instance, *lock.Manager)) {
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			test(t, server, manager(t, client(t, server)))
		})
	}
}

// The server stops for longer than the lease. The holder learns of the end of its lease on time.
// When the server continues, another caller acquires the lock, with a higher fence.
func TestExpiryWhilePaused(t *testing.T) {
	t.Parallel()
	withEachClient(t, func(t *testing.T, server *redistest.Instance, m *lock.Manager) {
		lag := redistest.Lag(t)
		l, err := m.Acquire(t.Context(), "x", lock.Options{MaxHold: time.Minute})
		require.NoError(t, err)
		server.Pause()
		extended := make(chan error)
		go func() { // a caller's own extension, while the lease ends
			<-time.After(time.Until(l.Until()) - 10*time.Millisecond)
			extended <- l.Extend(context.Background())
		}()
		<-l.Context().Done()
		require.ErrorIs(t, context.Cause(l.Context()), lock.ErrLost)
		require.WithinDuration(t, l.Until(), time.Now(), atOnce+lag(), "the context ends when the lease expires, not when the client gives up")
		require.Error(t, <-extended)
		require.WithinDuration(t, l.Until(), time.Now(), 2*atOnce+lag())
		server.Resume()
		other := manager(t, server.Client())
		var next *lock.Lease
		require.Eventually(t, func() bool {
			next, err = other.Acquire(t.Context(), "x", calm)
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
		require.Greater(t, next.Fence(), l.Fence())
		require.ErrorIs(t, l.Release(t.Context()), lock.ErrLost)
		require.NoError(t, next.Extend(t.Context()), "the late release freed nothing")
		require.NoError(t, next.Release(t.Context()))
	})
}

func TestMaxHoldWhilePaused(t *testing.T) {
	t.Parallel()
	withEachClient(t, func(t *testing.T, server *redistest.Instance, m *lock.Manager) {
		lag := redistest.Lag(t)
		begun := time.Now()
		l, err := m.Acquire(t.Context(), "x", lock.Options{MaxHold: 1100 * time.Millisecond}) // 100 ms after the first extension has begun
		require.NoError(t, err)
		server.Pause()
		<-l.Context().Done()
		require.ErrorIs(t, context.Cause(l.Context()), lock.ErrMaxHold)
		require.WithinDuration(t, begun.Add(1100*time.Millisecond), time.Now(), atOnce+lag())
		server.Resume() // the plain client would wait for seconds more
	})
}

// A release takes at most Config.Timeout, and does not wait for an extension that hangs.
func TestReleaseWhilePaused(t *testing.T) {
	t.Parallel()
	withEachClient(t, func(t *testing.T, server *redistest.Instance, m *lock.Manager) {
		lag := redistest.Lag(t)
		l := acquire(t, m, "x", lock.Options{TTL: 3 * time.Second})
		server.Pause()
		<-time.After(1100 * time.Millisecond) // the first extension has begun 100 ms ago
		begun := time.Now()
		require.ErrorIs(t, l.Release(t.Context()), lock.ErrUnavailable)
		require.Less(t, time.Since(begun), 500*time.Millisecond+atOnce+lag())
		server.Resume()
	})
}

// A release during an extension succeeds, and the lease does not count as lost, whichever of the
// two is answered first.
func TestReleaseWhileExtending(t *testing.T) {
	t.Parallel()
	server, wire := redistest.Server(t), new(slow)
	client, redis := server.Client(), server.Client()
	client.AddHook(wire)
	m := manager(t, client)
	for range 20 {
		l := acquire(t, m, "x", calm)
		require.NoError(t, l.Extend(t.Context())) // Redis knows the script from now on
		require.NoError(t, redis.PExpire(t.Context(), keys.Lock("x"), calm.TTL/2).Err())
		answer := hold(t, &wire.after)
		extended := make(chan error)
		go func() { extended <- l.Extend(context.Background()) }()
		require.Eventually(t, func() bool { return redis.PTTL(t.Context(), keys.Lock("x")).Val() > calm.TTL*2/3 }, 10*time.Second, time.Millisecond)
		send := hold(t, &wire.before)
		released := make(chan error)
		go func() { released <- l.Release(context.Background()) }()
		<-l.Context().Done()
		require.Error(t, <-extended)
		answer()
		send()
		require.NoError(t, <-released)
	}
	require.Zero(t, m.Stats().Lost)
}

// slow delays commands before they are sent, or their answers, as long as a test holds them. It
// ignores contexts.
type slow struct {
	before, after atomic.Pointer[chan struct{}]
}

// hold delays one of the two until letGo is called or the test ends.
func hold(t *testing.T, where *atomic.Pointer[chan struct{}]) (letGo func()) {
	held := make(chan struct{})
	where.Store(&held)
	letGo = sync.OnceFunc(func() { where.Store(nil); close(held) })
	t.Cleanup(letGo)
	return letGo
}

func (s *slow) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *slow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *slow) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c := s.before.Load(); c != nil {
			<-*c
			ctx = context.WithoutCancel(ctx)
		}
		err := next(ctx, cmd)
		if c := s.after.Load(); c != nil {
			<-*c
		}
		return err
	}
}

// Redis extends the key, but its answer comes after the end of the lease. The lease stays ended,
// and the key is deleted.
func TestAnExtensionThatComesTooLate(t *testing.T) {
	t.Parallel()
	server, wire, lag := redistest.Server(t), new(slow), redistest.Lag(t)
	client := server.Client()
	client.AddHook(wire)
	m := manager(t, client)
	l := acquire(t, m, "x", lock.Options{TTL: 1500 * time.Millisecond, MaxHold: time.Minute})
	letGo := hold(t, &wire.after)
	require.Eventually(t, func() bool { // until the key lives longer than the lease knows
		return server.Client().PTTL(t.Context(), keys.Lock("x")).Val() > time.Until(l.Until())+100*time.Millisecond
	}, 10*time.Second, 5*time.Millisecond, "Redis extends it")
	<-l.Context().Done()
	require.ErrorIs(t, context.Cause(l.Context()), lock.ErrLost)
	require.WithinDuration(t, l.Until(), time.Now(), atOnce+lag())
	require.Eventually(t, func() bool { return server.Client().Exists(t.Context(), keys.Lock("x")).Val() == 0 },
		atOnce+lag(), 5*time.Millisecond, "the key is deleted before it expires")
	letGo()
	require.ErrorIs(t, context.Cause(l.Context()), lock.ErrLost)
	require.ErrorIs(t, l.Extend(t.Context()), lock.ErrLost)
}

// An attempt that was given up reaches Redis later, after the release that was to undo it. Its lock
// is released again.
func TestAnAcquisitionThatComesTooLate(t *testing.T) {
	t.Parallel()
	server, wire, lag := redistest.Server(t), new(slow), redistest.Lag(t)
	client := server.Client()
	client.AddHook(wire)
	m := lock.New(lock.Config{Timeout: 100 * time.Millisecond}, client)
	t.Cleanup(m.Close)
	require.NoError(t, acquire(t, m, "scripts", calm).Release(t.Context())) // Redis knows them from now on
	for range 20 {                                                          // delayed commands are sent in any order
		letGo := hold(t, &wire.before)
		begun := time.Now()
		_, err := m.Acquire(t.Context(), "x", calm)
		require.ErrorIs(t, err, lock.ErrUnavailable)
		require.Less(t, time.Since(begun), 100*time.Millisecond+atOnce+lag())
		letGo()
		m.Close() // waits
		require.Zero(t, server.Client().Exists(t.Context(), keys.Lock("x")).Val())
	}
	require.Positive(t, server.Client().Exists(t.Context(), keys.LockFence("x")).Val(), "the delayed attempt reached Redis")
}

// While Redis does not answer, every caller gets ErrUnavailable, wherever it stands in the queue
// and however short its wait is.
func TestNobodyIsSaidToHoldWhatRedisDoesNotTell(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	m := manager(t, server.Client())
	acquire(t, m, "held", calm)
	server.Pause()
	t.Cleanup(server.Resume)
	for name, c := range map[string]struct {
		acquire  func(context.Context, string, lock.Options) (*lock.Lease, error)
		opt      lock.Options
		deadline time.Duration
	}{
		"waiting":          {m.Acquire, lock.Options{Wait: 300 * time.Millisecond}, time.Minute},
		"waiting for long": {m.Acquire, lock.Options{Wait: 2 * time.Second}, time.Minute},
		"not waiting":      {m.TryAcquire, lock.Options{}, time.Minute},
		"with a deadline":  {m.Acquire, lock.Options{}, 100 * time.Millisecond},
	} {
		for range 4 { // one at the head of the queue, three behind it
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
				defer cancel()
				_, err := c.acquire(ctx, name, c.opt)
				require.ErrorIs(t, err, lock.ErrUnavailable)
			})
		}
	}
	_, err := m.Acquire(t.Context(), "held", lock.Options{Wait: 100 * time.Millisecond})
	require.ErrorIs(t, err, lock.ErrTimeout, "this process knows its own holders without Redis")
}

// A caller that waits behind others, or whose deadline comes while it asks again, knows from the
// earlier answers that the lock is taken.
func TestSomebodyHoldsWhatRedisTold(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	here, elsewhere := manager(t, rdb), manager(t, rdb)
	acquire(t, elsewhere, "x", calm)
	deadline := make(lateDeadline)
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() {
			_, err := here.Acquire(deadline, "x", lock.Options{Wait: time.Hour})
			errs <- err
		}()
	}
	require.Eventually(t, func() bool { // Redis has answered the first, and the others wait behind it
		most := here.Stats().MostContended
		return len(most) == 1 && most[0].Times == uint64(cap(errs))
	}, 15*time.Second, time.Millisecond)
	close(deadline)
	for range cap(errs) {
		require.ErrorIs(t, <-errs, lock.ErrTimeout)
	}
}

// A lateDeadline is a context whose deadline comes when the channel is closed.
type lateDeadline chan struct{}

func (lateDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }
func (d lateDeadline) Done() <-chan struct{}     { return d }
func (lateDeadline) Value(any) any               { return nil }
func (d lateDeadline) Err() error {
	select {
	case <-d:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
