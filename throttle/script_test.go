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
	"github.com/aeturnis/realtime/internal/redisx"
)

func eval(t *testing.T, rdb redis.UniversalClient, ks []string, args ...any) any {
	t.Helper()
	v, err := rdb.Eval(context.Background(), spendScript.Sources()[0], ks, args...).Result()
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
	require.Equal(t, int64(1), rdb.Eval(ctx, giveBackLua, []string{"w"}, first[2], 1).Val())
	require.Equal(t, int64(0), rdb.Eval(ctx, giveBackLua, []string{"w"}, first[2], 1).Val(), "only once")
	require.Greater(t, rdb.PTTL(ctx, "w").Val(), 50*time.Second)
	require.Equal(t, int64(1), eval(t, rdb, []string{"w"}, 3, 60_000, now+6), "the other is still counted")
	require.Equal(t, int64(1), rdb.Eval(ctx, giveBackLua, []string{"w"}, second[2], 1).Val())
}

// Many events in one call are judged in their order, each for itself: with one window or
// several, with rules of their own, and beside a key that is none of ours.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	require.NoError(t, rdb.LPush(t.Context(), "list", 1).Err())
	testManyEvents(t, rdb)
}

// runSpends runs spend.lua for each call.
func runSpends(ctx context.Context, rdb redis.UniversalClient, run func(context.Context, redis.UniversalClient, ...*redisx.Call), calls []*redisx.Call) {
	for _, c := range calls {
		c.Script = spendScript
	}
	run(ctx, rdb, calls...)
}

func testManyEvents(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	narrow, both := []any{2, 60_000}, []any{9, 60_000, 2, 60_000}
	dear := []any{9, 60_000, "", "", 4, 60_000}
	calls := []*redisx.Call{
		{Keys: []string{"m1"}, Args: narrow},
		{Keys: []string{"wide", "m1"}, Args: both},
		{Keys: []string{"m1"}, Args: narrow},
		{Keys: []string{"list"}, Args: narrow},
		{Keys: []string{"wide", "list"}, Args: both},
		{Keys: []string{"wide", "m1"}, Args: slices.Clone(both)},
		{Keys: []string{"wide"}, Args: dear},
		{Keys: []string{"wide"}, Args: dear},
		{Keys: []string{"wide"}, Args: dear},
		{Keys: []string{"m2"}, Args: narrow},
	}
	runSpends(t.Context(), rdb, redisx.RunMerged, calls)
	for i, want := range []any{
		int64(1), []int64{0, 8, 0}, []int64{1}, nil, nil, []int64{2}, int64(4), int64(0), []int64{1}, int64(1),
	} {
		switch want := want.(type) {
		case nil:
			require.True(t, isOnlyThisKey(calls[i].Err()), "%d: %v", i, calls[i].Err())
		case []int64:
			got, err := calls[i].Int64Slice()
			require.NoError(t, err, i)
			require.Equal(t, want, got[:len(want)], i)
		default:
			require.NoError(t, calls[i].Err())
			require.Equal(t, want, calls[i].Val(), i)
		}
	}
	require.Equal(t, int64(9*5), rdb.StrLen(t.Context(), "wide").Val(), "who was refused elsewhere was not charged")
}

// When every event of a call fails, as with a server whose memory is full, the connection stays in
// step: what comes next gets its own answers.
func TestManyEventsWithoutMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t).Client().(*redis.Client)
	o := server.Options()
	rdb := redis.NewClient(&redis.Options{Addr: o.Addr, PoolSize: 1, MaxRetries: -1, MaintNotificationsConfig: o.MaintNotificationsConfig})
	t.Cleanup(func() { _ = rdb.Close() })
	require.NoError(t, server.ConfigSet(t.Context(), "maxmemory", "1").Err())
	for round := range 5 {
		var calls []*redisx.Call
		for i := range 10 {
			calls = append(calls, &redisx.Call{Keys: []string{fmt.Sprint("w", i)}, Args: []any{2, 60_000}})
		}
		runSpends(t.Context(), rdb, redisx.RunMerged, calls)
		for _, c := range calls {
			require.True(t, redis.HasErrorPrefix(c.Err(), "OOM"), c.Err())
		}
		require.Equal(t, fmt.Sprint(round), rdb.Echo(t.Context(), round).Val())
	}
}

// More events, or lists of arguments, than one call holds are several calls; on a Cluster each
// event is.
func TestCallsOfABatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		run   func(context.Context, redis.UniversalClient, ...*redisx.Call)
		calls int
	}{"one server": {redisx.RunMerged, 2}, "cluster": {redisx.RunScripts, 300}} {
		t.Run(name, func(t *testing.T) {
			var sent counter
			rdb := redistest.Client(t)
			rdb.AddHook(&sent)
			for range 2 { // the second time the scripts are known
				sent.n = 0
				var calls []*redisx.Call
				for i := range 300 {
					calls = append(calls, &redisx.Call{Keys: []string{fmt.Sprint(i)}, Args: []any{i + 10, 60_000}})
				}
				runSpends(t.Context(), rdb, c.run, calls)
				for i, c := range calls {
					require.NoError(t, c.Err())
					require.Contains(t, []any{int64(i + 9), int64(i + 8)}, c.Val())
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
