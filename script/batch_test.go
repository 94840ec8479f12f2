package script_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redistest"
	"github.com/aeturnis/realtime/script"
)

const (
	waitFor = 10 * time.Second
	tick    = time.Millisecond
)

// gate keeps commands and pipelines back until it is opened, and counts them.
type gate struct {
	open  chan struct{}
	trips atomic.Int64
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		<-g.open
		g.trips.Add(1)
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		<-g.open
		g.trips.Add(1)
		return next(ctx, cmds)
	}
}

// What waits while a call is under way goes with the next; each caller gets their own answer.
func TestCallsShareRoundTrips(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	g := &gate{open: make(chan struct{})}
	rdb.AddHook(g)
	b := script.NewBatcher(rdb)
	add := script.New("return redis.call('RPUSH', KEYS[1], ARGV[1])")
	bad := script.New("return redis.call('INCR', KEYS[1])")
	const callers = 100
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			s := add
			if i%10 == 0 {
				s = bad
			}
			errs[i] = b.Do(t.Context(), s, []string{"list"}, i).Err()
		})
	}
	require.Eventually(t, func() bool { return b.Asked() == callers }, waitFor, tick)
	require.NoError(t, redis.NewClient(&redis.Options{Addr: rdb.(*redis.Client).Options().Addr}).RPush(t.Context(), "list", "first").Err())
	close(g.open)
	wg.Wait()
	for i, err := range errs {
		if i%10 == 0 {
			require.True(t, redis.HasErrorPrefix(err, "WRONGTYPE"), err)
		} else {
			require.NoError(t, err)
		}
	}
	require.Equal(t, int64(callers*9/10+1), rdb.LLen(t.Context(), "list").Val())
	require.Less(t, g.trips.Load(), int64(20), "also of scripts that were not known")
}

// A caller who has left before the call was sent did not call.
func TestWhoLeavesDoesNotCall(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	g := &gate{open: make(chan struct{})}
	rdb.AddHook(g)
	b := script.NewBatcher(rdb)
	count := script.New("return redis.call('INCR', KEYS[1])")
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- b.Do(t.Context(), count, []string{"first"}).Err() }()
	require.Eventually(t, func() bool { return b.Asked() == 1 && b.Waiting() == 0 }, waitFor, tick, "it is under way")
	gone, cancel := context.WithCancel(t.Context())
	go func() { second <- b.Do(gone, count, []string{"second"}).Err() }()
	require.Eventually(t, func() bool { return b.Waiting() == 1 }, waitFor, tick)
	cancel()
	require.ErrorIs(t, <-second, context.Canceled)
	close(g.open)
	require.NoError(t, <-first)
	require.NoError(t, b.Do(t.Context(), count, []string{"third"}).Err())
	require.Zero(t, rdb.Exists(t.Context(), "second").Val())
}

// More than a bound do not wait: they are told at once.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	g := &gate{open: make(chan struct{})}
	rdb.AddHook(g)
	b := script.NewBatcher(rdb)
	s := script.New("return 1")
	var wg sync.WaitGroup
	var busy, fine atomic.Int64
	asked := script.WaitingMost + 1000
	for range asked {
		wg.Go(func() {
			switch err := b.Do(t.Context(), s, nil).Err(); err {
			case nil:
				fine.Add(1)
			case script.ErrBusy:
				busy.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return b.Asked()+busy.Load() == int64(asked) }, waitFor, tick)
	close(g.open)
	wg.Wait()
	require.Positive(t, busy.Load())
	require.Equal(t, int64(asked), busy.Load()+fine.Load())
}
