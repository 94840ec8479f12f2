package trade_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/trade"
)

// managed makes a Locker of a lock.Manager.
type managed struct {
	*lock.Manager
	opt    lock.Options
	inside func() // runs with the lease held, before what it was taken for
}

func (m managed) Do(ctx context.Context, name string, holder trade.Holder, fn func(context.Context, int64) error) error {
	opt := m.opt
	opt.Conn, opt.Purpose = holder.Conn, holder.Purpose
	err := m.Manager.Do(ctx, name, opt, func(ctx context.Context, l *lock.Lease) error {
		if m.inside != nil {
			m.inside()
		}
		return fn(ctx, l.Fence())
	})
	switch { // as the gateway maps them
	case errors.Is(err, lock.ErrTaken), errors.Is(err, lock.ErrTimeout):
		return fault.ErrLocked.Because(err)
	case errors.Is(err, lock.ErrUnavailable), errors.Is(err, lock.ErrLost):
		return fault.Unavailable("lock", time.Second, err)
	case errors.Is(err, lock.ErrMaxHold):
		return fault.ErrTimeout.Because(err)
	}
	return err
}

// elsewhere is the locks of another process.
func (w *town) elsewhere() *lock.Manager {
	m := lock.New(lock.Config{}, w.rdb)
	w.t.Cleanup(m.Close)
	return m
}

// newLockedTown is a town whose locks are real, and lie on its own server.
func newLockedTown(t testing.TB) (*town, managed) {
	return newLockedTownOn(t, redistest.Server(t).Client())
}

func newLockedTownOn(t testing.TB, rdb redis.UniversalClient) (*town, managed) {
	w := newTown(t, rdb)
	m := managed{Manager: w.elsewhere()}
	w.Service = trade.New(w.rdb, m, players, w.told, trade.Config{})
	return w, m
}

// trips counts what is sent to Redis.
type trips struct{ n atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// With its locks on its own server a gift is one round trip, lock and all; so is the settlement of
// a trade.
func TestASettlementIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	w, _ := newLockedTown(t)
	w.mint("anna", "apple", 9, 0)
	w.mint("bobo", "", 0, 50)
	give := func(key string) {
		t.Helper()
		_, err := w.Execute(t.Context(), ann, gift("bob", key, 0, some("apple", 1)))
		require.NoError(t, err)
	}
	give("warm")
	count := &trips{}
	w.rdb.AddHook(count)
	give("k")
	require.Equal(t, int64(1), count.n.Load())

	require.NoError(t, w.rdb.ConfigResetStat(t.Context()).Err())
	w.accept(bob, w.barter())
	stats, err := w.rdb.Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	require.NotContains(t, stats, "pttl", "no lease was taken")
	w.has("bobo", "4 apple, 40 gold")
	w.clean()
}

// While somebody has the lock, a gift waits for it, and comes through when it is released.
func TestAGiftWaitsForTheLock(t *testing.T) {
	t.Parallel()
	w, m := newLockedTown(t)
	w.mint("anna", "apple", 9, 0)
	first, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err)
	l, err := w.elsewhere().Acquire(t.Context(), trade.LockName("ann", "bob"), lock.Options{})
	require.NoError(t, err)

	again, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 1)))
	require.NoError(t, err, "a repeat is answered while the lock is busy")
	require.Equal(t, first, again)
	hasty := m
	hasty.opt.Wait = time.Millisecond
	_, err = trade.New(w.rdb, hasty, players, w.told, trade.Config{}).Execute(t.Context(), ann, gift("bob", "k2", 0, some("apple", 1)))
	require.Equal(t, "LOCKED", code(err))
	w.has("bobo", "1 apple, 0 gold")

	done := make(chan error, 1)
	go func() {
		_, err := w.Execute(t.Context(), ann, gift("bob", "k3", 0, some("apple", 1)))
		done <- err
	}()
	require.Eventually(t, func() bool {
		return w.rdb.Exists(t.Context(), keys.LockWanted(trade.LockName("ann", "bob"))).Val() == 1
	}, waitFor, tick)
	require.NoError(t, l.Release(t.Context()))
	require.NoError(t, <-done)
	w.has("bobo", "2 apple, 0 gold")
	w.clean()
}

// overslept returns the error of a holder that stood still past its lease, while another process
// gave without a lease.
func overslept(t *testing.T, w *town, m managed, settle func(*testing.T, *town, *trade.Service) error) error {
	t.Helper()
	w.mint("anna", "apple", 9, 0)
	w.mint("bobo", "", 0, 50)
	name := trade.LockName("ann", "bob")
	before, err := w.elsewhere().Acquire(t.Context(), name, lock.Options{TTL: time.Second})
	require.NoError(t, err)
	m.inside = func() { // the lease runs out, and another node is quicker
		require.NoError(t, w.rdb.Del(t.Context(), keys.Lock(name)).Err())
		_, err := w.Execute(t.Context(), ann, gift("bob", "between", 0, some("apple", 2)))
		require.NoError(t, err)
	}
	slow := trade.New(w.rdb, m, players, w.told, trade.Config{})
	late := make(chan error, 1)
	go func() { late <- settle(t, w, slow) }()
	require.Eventually(t, func() bool { return w.rdb.Exists(t.Context(), keys.LockWanted(name)).Val() == 1 }, waitFor, tick)
	require.NoError(t, before.Release(t.Context()))
	return <-late
}

func lateGift(t *testing.T, _ *town, s *trade.Service) error {
	_, err := s.Execute(t.Context(), ann, gift("bob", "late", 0, some("apple", 1)))
	return err
}

func lateTrade(t *testing.T, w *town, s *trade.Service) error {
	_, err := s.Accept(t.Context(), bob, agree(w.barter()))
	return err
}

// A holder that stood still past its lease cannot commit once another process has settled for the
// pair, with or without a lease.
func TestALeaseFromBeforeCommitsNothing(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(*testing.T, *town, *trade.Service) error{"gift": lateGift, "trade": lateTrade} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := newLockedTown(t)
			require.Equal(t, "LOCKED", code(overslept(t, w, m, settle)))
			w.has("anna", "7 apple, 0 gold")
			w.has("bobo", "2 apple, 50 gold")
			w.clean()
		})
	}
}
