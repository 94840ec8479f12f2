package throttle

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func eval(t *testing.T, rdb redis.UniversalClient, ks []string, args ...any) any {
	t.Helper()
	v, err := rdb.Eval(context.Background(), spendSource, ks, args...).Result()
	require.NoError(t, err)
	return v
}

func TestSeveralWindowsAreSpentAllOrNone(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	const now = 1_800_000_000_000_000
	both := func(now int64) any {
		return eval(t, rdb, []string{"a", "b"}, 2, 1000, 5, 2000, now)
	}
	require.Equal(t, []any{int64(0), int64(1), int64(4)}, both(now).([]any)[:3])
	require.Equal(t, []any{int64(0), int64(0), int64(3)}, both(now + 10).([]any)[:3])
	require.Equal(t, []any{int64(1), int64(1000), int64(1000), int64(0)}, both(now+20)) // 999.98 ms
	require.Equal(t, int64(2), eval(t, rdb, []string{"b"}, 5, 2000, now+20), "the refusal cost b nothing")
	require.Equal(t, []any{int64(2), int64(2000), int64(2000), int64(0)}, eval(t, rdb, []string{"c", "b"}, 9, 1000, 3, 2000, now+20))
	require.Zero(t, rdb.Exists(t.Context(), "c").Val(), "b refused: c was not spent")
}

func TestClockThatGoesBack(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	const now = 1_800_000_000_000_000
	at := func(us int64) any { return eval(t, rdb, []string{"w"}, 2, 1000, now+us) }
	require.Equal(t, int64(1), at(0))
	require.Equal(t, int64(0), at(-300_000), "counted as if at 0")
	require.Equal(t, []any{int64(1), int64(1200), int64(1200), int64(0)}, at(-200_000))
	ttl := rdb.PTTL(t.Context(), "w").Val()
	require.Greater(t, ttl, time.Second+200*time.Millisecond, "the window outlives the step back")
	require.Equal(t, []any{int64(1), int64(1), int64(1), int64(0)}, at(999_999))
	require.Equal(t, int64(1), at(1_000_000))
	require.Equal(t, int64(1), at(-5_000_000), "by more than a window: anew")
}

func TestWindowsGoAway(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	eval(t, rdb, []string{"w"}, 1000, 60_000)
	ttl := rdb.PTTL(t.Context(), "w").Val()
	require.LessOrEqual(t, ttl, time.Minute+time.Millisecond)
	require.Greater(t, ttl, 50*time.Second)
	// A long window is bounded as well: the stale front goes.
	const now = 1_800_000_000_000_000
	for i := range 3000 {
		eval(t, rdb, []string{"long"}, 250, 1000, now+i*4000)
	}
	require.LessOrEqual(t, rdb.StrLen(t.Context(), "long").Val(), int64((250+129)*5))
	require.Greater(t, rdb.PTTL(t.Context(), "long").Val(), time.Duration(0))
}

func TestForeignValueStartsAnew(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	require.NoError(t, rdb.Set(t.Context(), "w", "7", 0).Err())
	require.Equal(t, int64(1), eval(t, rdb, []string{"w"}, 2, 1000))
}

func TestGiveBack(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	ctx := t.Context()
	const now = 1_800_000_000_000_000
	first := eval(t, rdb, []string{"w"}, 3, 60_000, now, "stamp").([]any)
	second := eval(t, rdb, []string{"w"}, 3, 60_000, now+5, "stamp").([]any)
	require.Equal(t, []any{int64(0), int64(2)}, first[:2])
	require.Equal(t, int64(1), rdb.Eval(ctx, giveBackSource, []string{"w"}, first[2], 1).Val())
	require.Equal(t, int64(0), rdb.Eval(ctx, giveBackSource, []string{"w"}, first[2], 1).Val(), "only once")
	require.Greater(t, rdb.PTTL(ctx, "w").Val(), 50*time.Second)
	require.Equal(t, int64(1), eval(t, rdb, []string{"w"}, 3, 60_000, now+6), "the other is still counted")
	require.Equal(t, int64(1), rdb.Eval(ctx, giveBackSource, []string{"w"}, second[2], 1).Val())
}

// Many events in one call are judged in their order, each for itself: with one window or
// several, with rules of their own, and beside a key that is none of ours.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	require.NoError(t, rdb.LPush(t.Context(), "list", 1).Err())
	testManyEvents(t, rdb)
}

func testManyEvents(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	narrow, both := []any{2, 60_000}, []any{9, 60_000, 2, 60_000}
	dear := []any{9, 60_000, "", "", 4, 60_000}
	requests := []*request{
		{keys: []string{"m1"}, args: narrow},
		{keys: []string{"wide", "m1"}, args: both},
		{keys: []string{"m1"}, args: narrow},
		{keys: []string{"list"}, args: narrow},
		{keys: []string{"wide", "list"}, args: both},
		{keys: []string{"wide", "m1"}, args: slices.Clone(both)},
		{keys: []string{"wide"}, args: dear},
		{keys: []string{"wide"}, args: dear},
		{keys: []string{"wide"}, args: dear},
		{keys: []string{"m2"}, args: narrow},
	}
	(&batcher{rdb: rdb}).run(t.Context(), requests)
	for i, want := range []any{
		int64(1), []int64{0, 8, 0}, []int64{1}, nil, nil, []int64{2}, int64(4), int64(0), []int64{1}, int64(1),
	} {
		switch want := want.(type) {
		case nil:
			require.True(t, onlyThisKey(requests[i].err), "%d: %v", i, requests[i].err)
		case []int64:
			require.NoError(t, requests[i].err)
			got, ok := requests[i].numbers()
			require.True(t, ok, "%d: %v", i, requests[i].reply)
			require.Equal(t, want, got[:len(want)], i)
		default:
			require.Equal(t, want, requests[i].reply, i)
		}
	}
	require.Equal(t, int64(9*5), rdb.StrLen(t.Context(), "wide").Val(), "who was refused elsewhere was not charged")
}

// When every event of a call fails, as with a server whose memory is full, the connection stays in step: what
// comes next gets its own answers.
func TestManyEventsWithoutMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t).Client().(*redis.Client)
	o := server.Options()
	rdb := redis.NewClient(&redis.Options{Addr: o.Addr, PoolSize: 1, MaxRetries: -1, MaintNotificationsConfig: o.MaintNotificationsConfig})
	t.Cleanup(func() { _ = rdb.Close() })
	require.NoError(t, server.ConfigSet(t.Context(), "maxmemory", "1").Err())
	for round := range 5 {
		var requests []*request
		for i := range 10 {
			requests = append(requests, &request{keys: []string{fmt.Sprint("w", i)}, args: []any{2, 60_000}})
		}
		(&batcher{rdb: rdb}).run(t.Context(), requests)
		for _, r := range requests {
			require.True(t, redis.HasErrorPrefix(r.err, "OOM"), r.err)
		}
		require.Equal(t, fmt.Sprint(round), rdb.Echo(t.Context(), round).Val())
	}
}

// More argument lists than a plan tells apart are several calls; on a Cluster each event is.
func TestBundles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cluster bool
		calls   int
	}{"one server": {false, 2}, "cluster": {true, 300}} {
		t.Run(name, func(t *testing.T) {
			var sent counter
			rdb := redistest.Client(t)
			rdb.AddHook(&sent)
			for range 2 { // the second time the scripts are known
				sent.n = 0
				var requests []*request
				for i := range 300 {
					requests = append(requests, &request{keys: []string{fmt.Sprint(i)}, args: []any{i + 10, 60_000}})
				}
				(&batcher{rdb: rdb, cluster: c.cluster}).run(t.Context(), requests)
				for i, r := range requests {
					require.NoError(t, r.err)
					require.Contains(t, []any{int64(i + 9), int64(i + 8)}, r.reply)
				}
			}
			require.Equal(t, c.calls, sent.total())
		})
	}
}

// The embedded fallback without a server runs the same scripts.
func TestMiniredis(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer rdb.Close()
	walk{rules: []span{{4, 50_000}}, cost: 1, steps: 300, batch: 50}.run(t, rdb)
	walk{rules: []span{{6, 50_000}, {9, 20_000}}, cost: 2, steps: 300, batch: 50}.run(t, rdb)
	walk{rules: []span{{6, 50_000}, {9, 20_000}}, cost: 2, steps: 300, batch: 50, many: true}.run(t, rdb)
	require.NoError(t, rdb.LPush(t.Context(), "list", 1).Err())
	testManyEvents(t, rdb)
	for i := range 400 {
		require.Equal(t, int64(399-i), eval(t, rdb, []string{"long"}, 400, 1000, 1_800_000_000_000_000+i))
	}
	require.Equal(t, []any{int64(0), int64(8), int64(8)}, eval(t, rdb, []string{"x", "y"}, 9, 1000, 9, 1000).([]any)[:3])
}
