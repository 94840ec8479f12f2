package throttle

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// In a rolling change one node has 20 per 60 s and another 3 per 2 s. Whoever starts first, the
// first admits 20 in 60 s at most, although the other one's writes trim the window to what it
// counts.
func TestNodesWithOtherWindows(t *testing.T) {
	t.Parallel()
	for name, longFirst := range map[string]bool{"the long window was there": true, "the short window was there": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			var mu sync.Mutex
			var told []Difference
			node := func(name string, limit int, window time.Duration) *Limiter {
				cfg := patient
				cfg.Node, cfg.RefreshEvery = name, time.Hour // only messages
				cfg.OnDifference = func(d Difference) { mu.Lock(); told = append(told, d); mu.Unlock() }
				return newLimiter(t, rdb, cfg, Policy{Name: "p", Limit: limit, Window: window, Scope: ByUser})
			}
			long, short := node("a", 20, time.Minute), node("b", 3, 2*time.Second)
			first, second := long, short
			if !longFirst {
				first, second = short, long
			}
			require.NoError(t, first.Publish(t.Context()))
			follow(t, first)
			require.NoError(t, second.Publish(t.Context()))
			keep := func() time.Duration { return (*short.table.Load())["p"].active.Load().base.keep }
			require.Eventually(t, func() bool { return keep() == time.Minute }, 10*time.Second, time.Millisecond)

			now := time.Duration(0)
			for _, l := range []*Limiter{long, short} {
				l.stamp, l.clock = func() int64 { return 1e15 + now.Microseconds() }, func() time.Duration { return now }
			}
			admitted := 0
			for ; now < 9*time.Second; now += 2250 * time.Millisecond {
				spend(t, short, ann, "p") // drops what is older than 2 s
				for range 10 {
					if spend(t, long, ann, "p").Allowed {
						admitted++
					}
				}
			}
			require.LessOrEqual(t, admitted, 20)
			require.Positive(t, admitted)
			require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(told) == 2 }, 10*time.Second, time.Millisecond)
			require.NoError(t, long.Publish(t.Context()))
			require.NoError(t, short.Publish(t.Context()))
			mu.Lock()
			defer mu.Unlock()
			require.ElementsMatch(t, []Difference{
				{"limit p", "20/1m0s by user", "3/2s by user", "b"}, {"limit p", "3/2s by user", "20/1m0s by user", "a"},
			}, told, "each node tells it once")
		})
	}
}

// Settings that must be one are compared; a difference that ends is one no more, and a node that
// has ended counts no more.
func TestSettingsThatMustBeOne(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	p := Policy{Name: "p", Limit: 3, Window: 2 * time.Second, Scope: ByUser}
	node := func(name, locks string, p Policy) *Limiter {
		cfg := patient
		cfg.Node, cfg.Settings = name, map[string]string{"--lock-redis": locks}
		return newLimiter(t, rdb, cfg, p)
	}
	longer := p
	longer.Window = time.Minute
	a, b := node("a", "1 server", p), node("b", "3 servers", longer)
	require.NoError(t, b.Publish(t.Context()))
	require.NoError(t, a.Publish(t.Context()))
	require.Equal(t, map[Difference]bool{
		{Setting: "--lock-redis", Here: "1 server", There: "3 servers"}:     true,
		{Setting: "limit p", Here: "3/2s by user", There: "3/1m0s by user"}: true,
	}, a.differences)
	require.Equal(t, time.Minute, (*a.table.Load())["p"].active.Load().base.keep)
	b.leaveNodes()
	require.NoError(t, a.Publish(t.Context()))
	require.Empty(t, a.differences)
	require.Equal(t, 2*time.Second, (*a.table.Load())["p"].active.Load().base.keep)

	require.NoError(t, rdb.HSet(t.Context(), keys.LimitNodes, "dead", `1000 {"windows":{"p":60000}}`, "broken", "x").Err())
	require.NoError(t, a.Publish(t.Context()))
	require.Equal(t, []string{"a"}, rdb.HKeys(t.Context(), keys.LimitNodes).Val(), "the lease of the dead ends")
	require.Positive(t, rdb.PTTL(t.Context(), keys.LimitNodes).Val())
}

func TestKeptForIsBounded(t *testing.T) {
	t.Parallel()
	p := Policy{Name: "p", Limit: 3, Window: 2 * time.Second}
	require.Equal(t, time.Minute, keptFor(p, time.Minute))
	require.Equal(t, 2*time.Second, keptFor(p, time.Second))
	p.Limit = 10_000
	require.Equal(t, 10*time.Second, keptFor(p, time.Hour), "50,000 admissions")
	p.Limit = MaxLimit
	require.Equal(t, 2*time.Second, keptFor(p, time.Hour))
	require.Zero(t, keptFor(Policy{}, time.Hour))
}
