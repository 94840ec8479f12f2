package redisx_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

const (
	waitFor = 10 * time.Second
	tick    = time.Millisecond
)

// gate keeps commands and pipelines back until it is opened, and counts them.
type gate struct {
	open           chan struct{}
	waiting, trips atomic.Int64
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		g.waiting.Add(1)
		<-g.open
		g.trips.Add(1)
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		g.waiting.Add(1)
		<-g.open
		g.trips.Add(1)
		return next(ctx, cmds)
	}
}

// Calls that wait while another is under way go with the next pipeline; each caller gets its own
// answer.
func TestCallsShareRoundTrips(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	g := &gate{open: make(chan struct{})}
	rdb.AddHook(g)
	b := redisx.NewScriptBatcher(rdb)
	add := redisx.NewScript("return redis.call('RPUSH', KEYS[1], ARGV[1])")
	bad := redisx.NewScript("return redis.call('INCR', KEYS[1])")
	const callers = 100
	errs := make([]error, callers)
	var wg sync.WaitGroup
	call := func(i int) {
		wg.Go(func() {
			s := add
			if i%10 == 0 {
				s = bad
			}
			errs[i] = b.Do(t.Context(), s, []string{"list"}, i).Err()
		})
	}
	call(0)
	require.Eventually(t, func() bool { return g.waiting.Load() == 1 }, waitFor, tick)
	for i := range callers - 1 {
		call(i + 1)
	}
	require.Eventually(t, func() bool { return g.waiting.Load() == 2 && b.Waiting() == callers-1-32 }, waitFor, tick)
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
