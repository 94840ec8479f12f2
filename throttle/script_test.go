package throttle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/redistest"
)

// model is the promise in its plainest words: all admissions ever, those of the last window counted.
type model struct {
	limit int
	us    int64
	at    []int64
}

func (m *model) judge(now int64) (left int, one, all int64) {
	n := len(m.at)
	for n > 0 && m.at[n-1] > now-m.us {
		n--
	}
	live := m.at[n:]
	left = m.limit - len(live)
	if len(live) > 0 {
		all = live[len(live)-1] + m.us - now
	}
	if left <= 0 {
		one = live[len(live)-m.limit] + m.us - now
	}
	return left, one, all
}

func ms(us int64) int64 { return (us + 999) / 1000 }

// steps wanders through time: bursts, boundary instants, one microsecond beside them, rests.
func step(r *rand.Rand, now, us, one int64, limit int) int64 {
	switch r.IntN(8 + limit/10) {
	default:
		return now + r.Int64N(us/int64(limit)+1)
	case 3:
		return now // the same instant
	case 4:
		if one > 0 {
			return now + one // the instant that was promised
		}
		return now + 1
	case 5:
		if one > 1 {
			return now + one - 1 // just before it
		}
		return now + r.Int64N(us/int64(limit)+1)
	case 6:
		if r.IntN(max(1, limit/4)) > 0 {
			return now + r.Int64N(1000)
		}
		return now + us*int64(r.IntN(3))
	}
}

// The script, the Go window and the model agree on every step of random walks. Redis's
// clock is given to the script, so that instants can be hit exactly.
func TestScriptAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	// The walk may be slower than the time it pretends: no key may go before it.
	slow := strings.Replace(spendSource, "local ttl = ms --", "local ttl = 86400000 --", 1)
	require.NotEqual(t, spendSource, slow)
	for _, c := range []struct {
		limit  int
		window time.Duration
		steps  int
		keys   int
	}{
		{1, time.Millisecond, 8_000, 4},
		{3, 20 * time.Millisecond, 16_000, 4},
		{10, 10 * time.Second, 16_000, 4},
		{50, time.Minute, 8_000, 2},
		{5, MaxWindow, 8_000, 4},
		{199, time.Second, 8_000, 1},
		{260, time.Second, 12_000, 1}, // long windows: read in pieces
		{1000, 30 * time.Second, 16_000, 1},
	} {
		t.Run(fmt.Sprintf("%d per %s", c.limit, c.window), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 1))
			ctx, rdb := t.Context(), redistest.Client(t)
			us := c.window.Microseconds()
			refusals := 0
			for k := range c.keys {
				m := model{limit: c.limit, us: us}
				w := window{us: us}
				// Anywhere in the turn of the stamps, so that it is crossed as well.
				now := int64(1_800_000_000_000_000) + r.Int64N(1<<40)
				key := fmt.Sprint("w", k)
				var one int64
				const batch = 100
				for done := 0; done < c.steps/c.keys; done += batch {
					nows := make([]int64, batch)
					cmds := make([]*redis.Cmd, batch)
					pipe := rdb.Pipeline()
					type want struct {
						left     int
						one, all int64
					}
					wants := make([]want, batch)
					for i := range batch {
						now = step(r, now, us, one, c.limit)
						left, next, all := m.judge(now)
						one = next
						wants[i], nows[i] = want{left, next, all}, now
						gl, gn, ga := w.judge(now, c.limit)
						require.Equal(t, want{left, next, all}, want{gl, gn, max(ga, 0)}, "Go window, step %d", done+i)
						if left > 0 {
							m.at = append(m.at, now)
							w.admit(now)
						} else {
							refusals++
						}
						cmds[i] = redis.NewCmd(ctx, "eval", slow, 1, key, c.limit, c.window.Milliseconds(), now)
						_ = pipe.Process(ctx, cmds[i])
					}
					_, err := pipe.Exec(ctx)
					require.NoError(t, err)
					for i, cmd := range cmds {
						if wants[i].left > 0 {
							require.Equal(t, int64(wants[i].left-1), cmd.Val(), "step %d at %d", done+i, nows[i])
						} else {
							require.Equal(t, []any{int64(1), ms(wants[i].one), ms(wants[i].all)}, cmd.Val(), "step %d at %d", done+i, nows[i])
						}
					}
				}
			}
			require.NotZero(t, refusals)
		})
	}
}

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
	require.Equal(t, []any{int64(1), int64(1000), int64(1000)}, both(now+20)) // 999.98 ms
	require.Equal(t, int64(2), eval(t, rdb, []string{"b"}, 5, 2000, now+20), "the refusal cost b nothing")
	require.Equal(t, []any{int64(2), int64(2000), int64(2000)}, eval(t, rdb, []string{"c", "b"}, 9, 1000, 3, 2000, now+20))
	require.Zero(t, rdb.Exists(t.Context(), "c").Val(), "b refused: c was not spent")
}

func TestClockThatGoesBack(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	const now = 1_800_000_000_000_000
	at := func(us int64) any { return eval(t, rdb, []string{"w"}, 2, 1000, now+us) }
	require.Equal(t, int64(1), at(0))
	require.Equal(t, int64(0), at(-300_000), "counted as if at 0")
	require.Equal(t, []any{int64(1), int64(1200), int64(1200)}, at(-200_000))
	ttl := rdb.PTTL(t.Context(), "w").Val()
	require.Greater(t, ttl, time.Second+200*time.Millisecond, "the window outlives the step back")
	require.Equal(t, []any{int64(1), int64(1), int64(1)}, at(999_999))
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
	require.Equal(t, int64(1), rdb.Eval(ctx, giveBackSource, []string{"w"}, first[2]).Val())
	require.Equal(t, int64(0), rdb.Eval(ctx, giveBackSource, []string{"w"}, first[2]).Val(), "only once")
	require.Greater(t, rdb.PTTL(ctx, "w").Val(), 50*time.Second)
	require.Equal(t, int64(1), eval(t, rdb, []string{"w"}, 3, 60_000, now+6), "the other is still counted")
	require.Equal(t, int64(1), rdb.Eval(ctx, giveBackSource, []string{"w"}, second[2]).Val())
}

// The embedded fallback without a server runs the same scripts.
func TestMiniredis(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer rdb.Close()
	const now = 1_800_000_000_000_000
	m, r := model{limit: 4, us: 50_000}, rand.New(rand.NewPCG(3, 4))
	at, one := int64(now), int64(0)
	for range 300 {
		at = step(r, at, m.us, one, m.limit)
		var left int
		var all int64
		left, one, all = m.judge(at)
		if left > 0 {
			require.Equal(t, int64(left-1), eval(t, rdb, []string{"w"}, 4, 50, at))
			m.at = append(m.at, at)
		} else {
			require.Equal(t, []any{int64(1), ms(one), ms(all)}, eval(t, rdb, []string{"w"}, 4, 50, at))
		}
	}
	for i := range 400 {
		require.Equal(t, int64(399-i), eval(t, rdb, []string{"long"}, 400, 1000, now+i))
	}
	require.Equal(t, []any{int64(0), int64(8), int64(8)}, eval(t, rdb, []string{"x", "y"}, 9, 1000, 9, 1000).([]any)[:3])
}
