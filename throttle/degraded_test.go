package throttle

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// Redis stops, in each way; every decision comes in time, by a local window with the same
// rule; and when Redis is back so are we.
func TestRedisGoesAndComesBack(t *testing.T) {
	// Not parallel: it measures time.
	for name, c := range map[string]struct{ stop, start func(*redistest.Instance) }{
		"killed": {(*redistest.Instance).Kill, (*redistest.Instance).Restart},
		"paused": {(*redistest.Instance).Pause, (*redistest.Instance).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			server, lag := redistest.Server(t), redistest.Lag(t)
			var mu sync.Mutex
			var told []bool
			l := newLimiter(t, server.Client(), Config{OnChange: func(degraded bool, cause error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, degraded)
				if degraded != (cause != nil) {
					t.Error(degraded, cause)
				}
			}}, Policy{Name: "p", Limit: 5, Window: time.Minute, Scope: ByUser})
			require.Eventually(t, func() bool {
				return spend(t, l, Subject{User: "warm"}, "p").Source == SourceRedis
			}, 10*time.Second, 10*time.Millisecond)
			require.Eventually(t, func() bool { return !l.Degraded() }, 10*time.Second, time.Millisecond)

			c.stop(server)
			var slowest time.Duration
			waited := 0
			for i := range 200 {
				begun := time.Now()
				d := spend(t, l, ann, "p")
				took := time.Since(begun)
				slowest = max(slowest, took)
				if took > 10*time.Millisecond+lag() {
					waited++
				}
				require.Equal(t, SourceLocal, d.Source)
				require.Equal(t, i < 5, d.Allowed, "the local window has the same limit")
			}
			t.Logf("slowest decision: %s", slowest)
			require.Less(t, slowest, 50*time.Millisecond+slack+lag())
			require.LessOrEqual(t, waited, 3, "not every call pays the budget")
			require.True(t, l.Degraded())

			c.start(server)
			require.Eventually(t, func() bool { return !l.Degraded() }, 10*time.Second, time.Millisecond)
			require.Eventually(t, func() bool {
				return spend(t, l, Subject{User: "bob"}, "p").Source != SourceLocal
			}, 10*time.Second, 10*time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, []bool{true, false}, told[len(told)-len(told)%2-2:len(told)-len(told)%2])
		})
	}
}

// slack is for the race detector, beside what redistest.Lag measures of the machine.
const slack = 30 * time.Millisecond

// Sixty callers are under way when the server freezes: each has its answer in time.
func TestCallsUnderWayComeBackInTime(t *testing.T) {
	// Not parallel: it measures time.
	server, lag := redistest.Server(t), redistest.Lag(t)
	l := newLimiter(t, server.Client(), Config{}, Policy{Name: "p", Limit: 100_000, Window: time.Minute, Scope: ByUser})
	spend(t, l, ann, "p")
	server.Pause()
	defer server.Resume()
	var wg sync.WaitGroup
	took := make([]time.Duration, 60)
	for i := range took {
		wg.Go(func() {
			begun := time.Now()
			d, err := l.Spend(context.Background(), []string{"p"}, ann)
			took[i] = time.Since(begun)
			if err != nil || !d.Allowed || d.Source != SourceLocal {
				t.Error(d, err)
			}
		})
	}
	wg.Wait()
	for _, d := range took {
		require.Less(t, d, 50*time.Millisecond+slack+lag())
	}
}

// A server that answers and may not write is as good as none; nobody is refused for it.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	primary, replica := redistest.Server(t), redistest.Server(t)
	rdb := replica.Client()
	host, port := split(t, primary.Addr())
	require.NoError(t, rdb.SlaveOf(t.Context(), host, port).Err())
	l := newLimiter(t, rdb, Config{Budget: 10 * time.Second}, Policy{Name: "p", Limit: 5, Window: time.Minute, Scope: ByUser})
	require.Equal(t, SourceLocal, spend(t, l, ann, "p").Source)
	require.True(t, l.Degraded())
	require.NoError(t, rdb.SlaveOf(t.Context(), "NO", "ONE").Err())
	require.Eventually(t, func() bool { return !l.Degraded() }, 10*time.Second, time.Millisecond)
	require.Equal(t, SourceRedis, spend(t, l, ann, "p").Source)
}

// Who gives up gets the context's error, and does not give up on Redis for everybody.
func TestCallerWhoLeaves(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	l := newLimiter(t, server.Client(), Config{Budget: 10 * time.Second}, Policy{Name: "p", Limit: 5, Window: time.Minute, Scope: ByUser})
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := l.Spend(ctx, []string{"p"}, ann)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, l.Degraded())
	server.Resume()
}
