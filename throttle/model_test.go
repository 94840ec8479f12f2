package throttle

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

// The race detector has nothing to find here and makes it ten times slower.
var steps = flag.Int("steps", map[bool]int{true: 130_000, false: 2_600_000}[raced], "random steps of TestScriptAgreesWithTheModel")

// A span is a rule as the model has it: at most limit in us.
type span struct {
	limit int
	us    int64
}

// model is the promise in its plainest words: all admissions ever, those of the last window
// counted.
type model struct{ at []int64 }

func (m *model) judge(now int64, r span, cost int) (left int, one, all int64) {
	live := m.at[sort.Search(len(m.at), func(i int) bool { return m.at[i] > now-r.us }):]
	left = r.limit - len(live)
	if len(live) > 0 {
		all = live[len(live)-1] + r.us - now
	}
	if left < cost {
		one = live[len(live)-r.limit+cost-1] + r.us - now
	}
	return left, one, all
}

func (m *model) admit(now int64, cost int) {
	for range cost {
		m.at = append(m.at, now)
	}
	if len(m.at) > 1<<16 { // what no window reaches any more
		m.at = append([]int64(nil), m.at[len(m.at)-1<<14:]...)
	}
}

func ms(us int64) int64 { return (us + 999) / 1000 }

// step wanders through time: bursts, boundary instants, one microsecond beside them, rests.
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

// driver runs spend.lua many times in one call. No key may go before the walk's time has: it
// may be slower, or faster, than the time that it pretends.
var driver = "local clock\nlocal function spend(KEYS, ARGV)\n" +
	lasting(spendLua) +
	`
end
local out = {}
for i = 1, #ARGV, 5 do
  local args = {ARGV[i], ARGV[i + 1], ARGV[i + 2]}
  if ARGV[i + 3] ~= '' then args[4], args[5], args[6] = '', ARGV[i + 3], ARGV[i + 4] end
  local r = spend(KEYS, args)
  out[#out + 1] = type(r) == 'number' and string.format('%d', r) or table.concat(r, ' ')
end
return out`

// lasting is a script whose keys outlive the walk, as in driver.
func lasting(source string) string {
	return strings.Replace(source, "local ttl = kept --", "local ttl = 86400000 --", 1)
}

var lastingScript = newSpendScript(lasting(spendLua))

// A walk goes through one window, by one rule or by several in turn; by spend.lua alone, or by
// calls of it that are merged.
type walk struct {
	rules        []span
	cost         int
	steps, batch int
	many         bool
}

// ask spends so many events; five args are one of them. The replies are as in driver.
func (c walk) ask(t *testing.T, rdb redis.UniversalClient, key string, args []any) []string {
	t.Helper()
	if !c.many {
		got, err := rdb.Eval(context.Background(), driver, []string{key}, args...).StringSlice()
		require.NoError(t, err)
		return got
	}
	var calls []*redisx.Call
	for i := 0; i < len(args); i += 5 {
		own := args[i : i+3 : i+3]
		if args[i+3] != "" {
			own = append(own, "", args[i+3], args[i+4])
		}
		calls = append(calls, &redisx.Call{Script: lastingScript, Keys: []string{key}, Args: own})
	}
	redisx.RunMerged(context.Background(), rdb, calls...)
	var got []string
	for _, c := range calls {
		require.NoError(t, c.Err())
		got = append(got, strings.Trim(fmt.Sprint(c.Val()), "[]"))
	}
	return got
}

// run asserts at each step that spend.lua, the Go window and the model agree.
func (c walk) run(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var keep int64
	for _, s := range c.rules {
		keep = max(keep, s.us)
	}
	special := c.cost != 1 || len(c.rules) > 1
	m, w := model{}, window{keep: keep}
	// Anywhere in the turn of the stamps, so that it is crossed as well.
	now := int64(1_800_000_000_000_000) + r.Int64N(1<<40)
	key := fmt.Sprint("walk", seed)
	var one int64
	refusals, admissions := 0, 0
	for done := 0; done < c.steps; done += c.batch {
		var args []any
		var wants []string
		for range c.batch {
			rule := c.rules[r.IntN(len(c.rules))]
			now = step(r, now, rule.us, one, rule.limit)
			left, next, all := m.judge(now, rule, c.cost)
			one = next
			gl, gn, ga := w.judgeEvent(now, rule.us, rule.limit, c.cost)
			if gl != left || gn != next || max(ga, 0) != all {
				require.Equal(t, []any{left, next, all}, []any{gl, gn, ga}, "Go window at %d", now)
			}
			if left >= c.cost {
				m.admit(now, c.cost)
				w.addAdmissions(now, c.cost)
				wants = append(wants, strconv.Itoa(left-c.cost))
				admissions++
			} else {
				wants = append(wants, fmt.Sprint(1, ms(next), ms(all), max(left, 0)))
				refusals++
			}
			args = append(args, rule.limit, rule.us/1000, now)
			if special {
				args = append(args, c.cost, keep/1000)
			} else {
				args = append(args, "", "")
			}
		}
		got := c.ask(t, rdb, key, args)
		require.Len(t, got, len(wants))
		for i := range got {
			if got[i] != wants[i] {
				require.Equal(t, wants[i], got[i], "step %d at %v", done+i, args[5*i:5*i+5])
			}
		}
	}
	require.NotZero(t, refusals)
	require.NotZero(t, admissions)
}

// The script, the Go window and the model agree on every one of many random steps. Redis's
// clock is given to the script, so that instants can be hit exactly.
func TestScriptAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	require.Contains(t, driver, "86400000")
	require.Contains(t, lastingScript.Sources()[1], "86400000")
	second := time.Second.Microseconds()
	walks := map[string]walk{
		"1 per ms":                    {rules: []span{{1, 1000}}, cost: 1},
		"3 per 20 ms":                 {rules: []span{{3, 20_000}}, cost: 1},
		"10 per 10 s":                 {rules: []span{{10, 10 * second}}, cost: 1},
		"50 per minute":               {rules: []span{{50, 60 * second}}, cost: 1},
		"5 per day":                   {rules: []span{{5, MaxWindow.Microseconds()}}, cost: 1},
		"199 per s":                   {rules: []span{{199, second}}, cost: 1},
		"260 per s, read in pieces":   {rules: []span{{260, second}}, cost: 1},
		"1000 per 30 s":               {rules: []span{{1000, 30 * second}}, cost: 1},
		"10 per 10 s, at 3":           {rules: []span{{10, 10 * second}}, cost: 3},
		"300 per s, at 7":             {rules: []span{{300, second}}, cost: 7},
		"roles: 10, 30 and 3":         {rules: []span{{10, 10 * second}, {30, 10 * second}, {3, 10 * second}}, cost: 1},
		"roles of different windows":  {rules: []span{{10, 5 * second}, {30, 10 * second}, {2, 100_000}}, cost: 2},
		"roles, and more than pieces": {rules: []span{{400, 5 * second}, {300, second}}, cost: 1},
	}
	for name, c := range walks {
		c.batch, c.steps = 1000, max(1000, *steps/len(walks))
		many := c
		many.many, many.batch, many.steps = true, maxBatch, max(1000, c.steps/10)
		for how, c := range map[string]walk{"one": c, "many": many} {
			t.Run(name+"/"+how, func(t *testing.T) {
				t.Parallel()
				c.run(t, redistest.Client(t))
			})
		}
	}
}

// Four nodes whose clocks stand hours apart and run at different speeds share one Redis:
// every decision, also one that a node remembers, is the model's at Redis's instant, and no
// window holds more than the limit.
func TestNodesAgreeWithTheModel(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Policy{
		"10 per 10 s":             {Name: "p", Limit: 10, Window: 10 * time.Second, Scope: ByUser},
		"300 per s":               {Name: "p", Limit: 300, Window: time.Second, Scope: ByUser},
		"9 per 3 s, at 2":         {Name: "p", Limit: 9, Window: 3 * time.Second, Scope: ByUser, Cost: 2},
		"8 per s, 20 per 4 s vip": {Name: "p", Limit: 8, Window: time.Second, Scope: ByUser, Roles: []RoleRule{{"vip", 20, 4 * time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 2))
			rdb := redistest.Client(t)
			begin := time.Now().UnixMicro() // keys expire by the server's own clock
			now := begin
			var nodes []*Limiter
			for range 4 {
				l := newLimiter(t, rdb, patient, p)
				skew, speed := r.Int64N(7_200_000_000)-3_600_000_000, 1+(r.Float64()-0.5)/1e5
				l.clock = func() time.Duration {
					return time.Duration(float64(now-begin)*speed)*time.Microsecond + time.Duration(skew)*time.Microsecond
				}
				l.stamp = func() int64 { return now }
				nodes = append(nodes, l)
			}
			m := model{}
			var one int64
			seen := map[string]int{}
			for i := range 6000 {
				sub, rule := ann, span{p.Limit, p.Window.Microseconds()}
				if len(p.Roles) > 0 && r.IntN(2) == 0 {
					sub.Roles = []string{"vip"}
					rule = span{p.Roles[0].Limit, p.Roles[0].Window.Microseconds()}
				}
				now = step(r, now, rule.us, one, rule.limit)
				left, next, _ := m.judge(now, rule, max(1, p.Cost))
				one = next
				d := spend(t, nodes[r.IntN(len(nodes))], sub, "p")
				seen[fmt.Sprint(d.Source, d.Allowed)]++
				if left >= max(1, p.Cost) {
					// A clock that runs slow by a hundred-thousandth may remember a little longer.
					if !d.Allowed {
						require.Equal(t, SourceMemory, d.Source, "step %d", i)
						require.LessOrEqual(t, d.RetryAfter, 2*time.Millisecond, "step %d", i)
						continue
					}
					m.admit(now, max(1, p.Cost))
					require.Equal(t, left-max(1, p.Cost), d.Remaining, "step %d", i)
					continue
				}
				require.False(t, d.Allowed, "step %d: %v", i, d)
				if d.Source == SourceRedis {
					require.Equal(t, ms(next), d.RetryAfter.Milliseconds(), "step %d", i)
				} else { // another node may have been quicker since
					require.LessOrEqual(t, d.RetryAfter.Milliseconds(), ms(next)+2, "step %d", i)
				}
			}
			require.NotZero(t, seen["redistrue"])
			require.NotZero(t, seen["redisfalse"])
			require.NotZero(t, seen["memoryfalse"])
		})
	}
}

// Forty callers on two nodes, for several windows, on Redis's own clock: in no window more
// than the limit. The nodes' clocks stand a day apart.
func TestNeverMoreThanTheLimitOnTwoNodes(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	p := Policy{Name: "burst", Limit: 10, Window: 300 * time.Millisecond, Scope: ByUser}
	nodes := []*Limiter{newLimiter(t, rdb, patient, p), newLimiter(t, rdb, patient, p)}
	nodes[1].clock = func() time.Duration { return 24*time.Hour + time.Since(nodes[1].started) }
	var mu sync.Mutex
	var asked, answered []time.Time // of each admission
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for ctx.Err() == nil {
				before := time.Now()
				d, err := nodes[i%2].Spend(ctx, []string{"burst"}, ann)
				after := time.Now()
				if err != nil || !d.Allowed {
					continue
				}
				mu.Lock()
				asked, answered = append(asked, before), append(answered, after)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Greater(t, len(asked), 20, "several windows")
	// Those surely inside one span: asked after it began and answered before it ended.
	for _, from := range asked {
		n := 0
		for i := range asked {
			if !asked[i].Before(from) && answered[i].Before(from.Add(p.Window)) {
				n++
			}
		}
		require.LessOrEqual(t, n, p.Limit, "in the window that begins at %s", from)
	}
}
