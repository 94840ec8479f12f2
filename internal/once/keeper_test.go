package once_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// A purchase is the payload of the tests' event.
type purchase struct {
	Item string `json:"item" validate:"required"`
	Key  string `json:"idempotencyKey,omitempty"`
}

type bought struct {
	Number int64 `json:"number"`
}

// A shop counts what was bought: its effect.
type shop struct {
	sold    atomic.Int64
	refusal error         // instead of a sale
	gate    chan struct{} // if not nil, each sale waits for it
}

func (s *shop) buy(ctx context.Context, _ event.Player, _ purchase) (bought, error) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return bought{}, ctx.Err()
		}
	}
	if s.refusal != nil {
		return bought{}, s.refusal
	}
	return bought{s.sold.Add(1)}, nil
}

// A till is one node that serves the event.
type till struct {
	*once.Keeper
	route event.Route
	after time.Duration // each event's deadline
	spend func(context.Context, record.Look) (record.Found, error)
}

func newTill(t *testing.T, rdb redis.UniversalClient, s *shop, options ...event.OnceOption) *till {
	k := once.New(rdb, once.Config{})
	t.Cleanup(k.Close)
	return &till{Keeper: k, route: event.On("shop:buy", s.buy).Once(options...), after: 10 * time.Second}
}

// send serves one event, as the gateway does.
func (n *till) send(t *testing.T, user, raw string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), n.after)
	defer cancel()
	p, rule := &event.Player{UserID: user}, n.route.OnceRule
	request, err := rule.Identify(p, []byte(raw), "")
	if err != nil {
		return "", err
	}
	serve := func(ctx context.Context, dst []byte) ([]byte, error) { return n.route.Serve(ctx, p, []byte(raw), dst) }
	if request.Key == "" {
		out, err := serve(ctx, nil)
		return string(out), err
	}
	e := &once.Event{UserID: user, Route: n.route.Name, Rule: rule, Request: request, Serve: serve, Spend: n.spend}
	if rule.Outcome != nil {
		e.Outcome = func(ctx context.Context, dst []byte) ([]byte, bool, error) {
			return rule.Outcome(ctx, p, []byte(raw), dst)
		}
	}
	out, err := n.Do(ctx, e, []byte("head"))
	return strings.TrimPrefix(string(out), "head"), err
}

const sword = `{"item":"sword","idempotencyKey":"k"}`

func requireCode(t *testing.T, code string, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, fault.Of(err).Code)
}

// A repeat gets the answer of the first time, on the same node and on another.
func TestARepeatGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	rdb, s := redistest.Client(t), &shop{}
	a, b := newTill(t, rdb, s), newTill(t, rdb, s)
	for _, n := range []*till{a, a, b, b, a} {
		out, err := n.send(t, "ann", sword)
		require.NoError(t, err)
		require.JSONEq(t, `{"number":1}`, out)
	}
	out, err := b.send(t, "ann", ` { "idempotencyKey" : "k", "item" : "sw\u006frd" } `)
	require.NoError(t, err)
	require.JSONEq(t, `{"number":1}`, out, "the same payload, written otherwise")
	require.Equal(t, int64(1), s.sold.Load())
}

// A record belongs to its user and its payload; without a key nothing is recorded.
func TestWhatARecordBelongsTo(t *testing.T) {
	t.Parallel()
	rdb, s := redistest.Client(t), &shop{}
	a, b := newTill(t, rdb, s), newTill(t, rdb, s)
	_, err := a.send(t, "ann", sword)
	require.NoError(t, err)
	for _, n := range []*till{a, b} {
		_, err = n.send(t, "ann", `{"item":"shield","idempotencyKey":"k"}`)
		requireCode(t, "CONFLICT", err)
		require.Equal(t, "idempotencyKey", fault.Of(err).Detail("field"))
	}
	out, err := b.send(t, "bob", sword)
	require.NoError(t, err)
	require.JSONEq(t, `{"number":2}`, out, "of another user")
	other := newTill(t, rdb, s)
	other.route.Name = "shop:rent"
	out, err = other.send(t, "ann", sword)
	require.NoError(t, err)
	require.JSONEq(t, `{"number":3}`, out, "of another route")
	for i := range 3 {
		out, err = a.send(t, "ann", `{"item":"sword"}`)
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"number":%d}`, 4+i), out, "without a key")
	}
}

// A repeat waits for the answer of the first, on its node and on another, and is LOCKED when its
// own deadline comes first.
func TestARepeatWaits(t *testing.T) {
	t.Parallel()
	rdb, s := redistest.Client(t), &shop{gate: make(chan struct{})}
	a, b := newTill(t, rdb, s), newTill(t, rdb, s)
	first := make(chan error, 1)
	go func() { _, err := a.send(t, "ann", sword); first <- err }()
	require.Eventually(t, func() bool { return len(rdb.Keys(t.Context(), "once:*").Val()) == 1 }, 10*time.Second, time.Millisecond)
	hasty := newTill(t, rdb, s)
	hasty.after = time.Second
	for _, n := range []*till{hasty, {Keeper: a.Keeper, route: a.route, after: time.Second}} {
		_, err := n.send(t, "ann", sword)
		requireCode(t, "LOCKED", err)
		require.GreaterOrEqual(t, fault.Of(err).Detail("retryAfterMs"), int64(100))
	}
	const repeats = 20
	var wg sync.WaitGroup
	answers := make([]string, repeats)
	for i := range repeats {
		wg.Go(func() { answers[i], _ = []*till{a, b}[i%2].send(t, "ann", sword) })
	}
	close(s.gate)
	wg.Wait()
	require.NoError(t, <-first)
	for _, out := range answers {
		require.JSONEq(t, `{"number":1}`, out)
	}
	require.Equal(t, int64(1), s.sold.Load())
}

// A client that mends its payload uses the key again as soon as it has the refusal: the key is free
// then, on every node.
func TestAKeyIsFreeWhenItsRefusalIsAnswered(t *testing.T) {
	t.Parallel()
	rdb, s := redistest.Client(t), &shop{}
	a, b := newTill(t, rdb, s), newTill(t, rdb, s)
	for i := range 100 {
		s.refusal = fault.Invalid("item", "no such item")
		_, err := a.send(t, "ann", fmt.Sprintf(`{"item":"sowrd","idempotencyKey":"k%d"}`, i))
		requireCode(t, "INVALID", err)
		s.refusal = nil
		_, err = b.send(t, "ann", fmt.Sprintf(`{"item":"sword","idempotencyKey":"k%d"}`, i))
		require.NoError(t, err)
	}
}

// A final refusal is recorded. A refusal after which the client may ask again is not.
func TestWhatIsRecorded(t *testing.T) {
	t.Parallel()
	for code, isFinal := range map[string]bool{
		"INVALID": false, "FORBIDDEN": true, "NOT_FOUND": true, "CONFLICT": true, "SOLD_OUT": true, "PAYLOAD_TOO_LARGE": true,
		"RATE_LIMITED": false, "UNAVAILABLE": false, "TIMEOUT": false, "LOCKED": false, "UNAUTHENTICATED": false, "INTERNAL": false, "NOT_HERE": false,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			passing := fault.New("NOT_HERE", "Come in.")
			rdb := redistest.Client(t)
			s := &shop{refusal: fault.New(code, "No.").With("price", 7).With("retryAfterMs", int64(3))}
			a, b := newTill(t, rdb, s, event.CanRepeat(), event.Passing(passing)), newTill(t, rdb, s, event.CanRepeat(), event.Passing(passing))
			_, first := a.send(t, "ann", sword)
			requireCode(t, code, first)
			s.refusal = nil
			for _, n := range []*till{b, a} {
				out, err := n.send(t, "ann", sword)
				if !isFinal {
					require.NoError(t, err)
					require.JSONEq(t, `{"number":1}`, out)
					continue
				}
				requireCode(t, code, err)
				var replayed *once.Replayed
				require.ErrorAs(t, err, &replayed)
				want, _ := fault.Of(first).MarshalJSON()
				got, _ := fault.Of(err).MarshalJSON()
				require.Equal(t, string(want), string(got))
				require.Equal(t, int64(3), fault.Of(err).Detail("retryAfterMs"), "as Retry-After wants it")
				require.Zero(t, s.sold.Load())
			}
		})
	}
}

// claimOfTheDead writes a claim whose holder died.
func claimOfTheDead(t *testing.T, rdb redis.UniversalClient, route event.Route) {
	request, err := route.OnceRule.Identify(&event.Player{UserID: "ann"}, []byte(sword), "")
	require.NoError(t, err)
	at := time.Now().Add(-6001 * time.Millisecond).UnixMilli() // the time of a handler, and a second
	require.NoError(t, rdb.Set(t.Context(), keys.Once("shop:buy", "", "ann", "k"), fmt.Sprintf("C%s%013dthe dead", request.Digest, at), time.Minute).Err())
}

// A claim whose holder died is settled as the route says.
func TestTheHolderDied(t *testing.T) {
	t.Parallel()
	unknown := fault.Unavailable("shop", time.Second, nil)
	outcome := func(out int64, isDone bool, err error) event.OnceOption {
		return event.Outcome(func(ctx context.Context, p event.Player, in purchase) (bought, bool, error) {
			if c := event.ClaimOf(ctx); c == nil || c.Key != "k" || in.Item != "sword" || p.UserID != "ann" {
				return bought{}, false, fault.ErrInternal
			}
			return bought{out}, isDone, err
		})
	}
	for name, c := range map[string]struct {
		option event.OnceOption
		answer string
		code   string
		sold   int64
	}{
		"at most once":               {event.KeepFor(time.Minute), "", "TIMEOUT", 0},
		"done, and the feature says": {outcome(7, true, nil), `{"number":7}`, "", 0},
		"not done":                   {outcome(0, false, nil), `{"number":1}`, "", 1},
		"not known now":              {outcome(0, false, unknown), "", "UNAVAILABLE", 0},
		"done again, which is right": {event.CanRepeat(), `{"number":1}`, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, s := redistest.Client(t), &shop{}
			a, b := newTill(t, rdb, s, c.option), newTill(t, rdb, s, c.option)
			claimOfTheDead(t, rdb, a.route)
			for _, n := range []*till{a, b, a} {
				out, err := n.send(t, "ann", sword)
				if c.code != "" {
					requireCode(t, c.code, err)
				} else {
					require.NoError(t, err)
					require.JSONEq(t, c.answer, out)
				}
			}
			require.Equal(t, c.sold, s.sold.Load())
		})
	}
}

// Limits that do not look at records charge an event once, also while it waits for the record; one
// that they refuse takes no claim and loses nothing.
func TestLimitsThatDoNotLook(t *testing.T) {
	t.Parallel()
	rdb, s := redistest.Client(t), &shop{}
	asked := 0
	n := newTill(t, rdb, s, event.Outcome(func(context.Context, event.Player, purchase) (bought, bool, error) {
		asked++
		return bought{7}, true, nil
	}))
	charged, refusal := 0, error(nil)
	n.spend = func(context.Context, record.Look) (record.Found, error) {
		charged++
		return record.Found{}, refusal
	}
	claimOfTheDead(t, rdb, n.route)
	refusal = fault.ErrRateLimited
	_, err := n.send(t, "ann", sword)
	requireCode(t, "RATE_LIMITED", err)
	refusal, charged = nil, 0
	out, err := n.send(t, "ann", sword)
	require.NoError(t, err)
	require.JSONEq(t, `{"number":7}`, out, "the refused repeat has not lost what the dead holder may have done")
	require.Equal(t, []int{1, 1}, []int{charged, asked})

	request, err := n.route.OnceRule.Identify(&event.Player{}, []byte(`{"item":"sword","idempotencyKey":"held"}`), "")
	require.NoError(t, err)
	held := fmt.Sprintf("C%s%013danother", request.Digest, time.Now().UnixMilli())
	require.NoError(t, rdb.Set(t.Context(), keys.Once("shop:buy", "", "ann", "held"), held, time.Minute).Err())
	n.after, charged = time.Second, 0
	_, err = n.send(t, "ann", `{"item":"sword","idempotencyKey":"held"}`)
	requireCode(t, "LOCKED", err)
	require.Equal(t, 1, charged, "it asked several times")
	require.Zero(t, s.sold.Load())
}

// While Redis is away this node's memory stands in, for an event that works without Redis; another
// is UNAVAILABLE and is not done.
func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	s := &shop{}
	local, other := newTill(t, server.Client(), s, event.WorksWithoutRedis()), newTill(t, server.Client(), s)
	server.Kill()
	for range 3 {
		out, err := local.send(t, "ann", sword)
		require.NoError(t, err)
		require.JSONEq(t, `{"number":1}`, out)
		_, err = local.send(t, "ann", `{"item":"shield","idempotencyKey":"k"}`)
		requireCode(t, "CONFLICT", err)
		_, err = other.send(t, "ann", sword)
		requireCode(t, "UNAVAILABLE", err)
	}
	require.Equal(t, int64(1), s.sold.Load())
}

// An answer of more than 4 KiB, or of what the rule says, is not kept, and the event is not done
// again either.
func TestALongAnswer(t *testing.T) {
	t.Parallel()
	keepsMore := func(r *event.OnceRule) { r.MaxAnswer = 65536 }
	for name, c := range map[string]struct {
		length  int
		options []event.OnceOption
		code    string
	}{
		"the longest of a rule that says more": {65536 - len(`+""`), []event.OnceOption{keepsMore}, ""},
		"one longer than that":                 {65536 - len(`+""`) + 1, []event.OnceOption{keepsMore}, "TIMEOUT"},

		"the longest that is kept": {4096 - len(`+""`), nil, ""},
		"one longer":               {4096 - len(`+""`) + 1, nil, "TIMEOUT"},
		"one that can be repeated": {4096 - len(`+""`) + 1, []event.OnceOption{event.CanRepeat()}, "TIMEOUT"},
		"one that can be asked for": {5000, []event.OnceOption{event.Outcome(func(context.Context, event.Player, purchase) (string, bool, error) {
			return strings.Repeat("x", 5000), true, nil
		})}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, served := redistest.Client(t), atomic.Int64{}
			route := event.On("shop:read", func(context.Context, event.Player, purchase) (string, error) {
				served.Add(1)
				return strings.Repeat("x", c.length), nil
			}).Once(c.options...)
			for i := range 4 {
				k := once.New(rdb, once.Config{})
				n := &till{Keeper: k, route: route, after: 10 * time.Second}
				for range 2 {
					out, err := n.send(t, "ann", sword)
					if c.code != "" && (i > 0 || served.Load() > 1 || err != nil) {
						requireCode(t, c.code, err)
						continue
					}
					require.NoError(t, err)
					require.Len(t, out, c.length+2)
				}
				k.Close()
			}
			require.Equal(t, int64(1), served.Load())
		})
	}
}

// Ten thousand keys at once are ten thousand events; ten thousand times one key is one. It is not
// parallel: the other tests have deadlines.
func TestTenThousandAtOnce(t *testing.T) {
	rdb, s := redistest.Client(t), &shop{}
	nodes := []*till{newTill(t, rdb, s), newTill(t, rdb, s)}
	for _, n := range nodes {
		n.after = 2 * time.Minute // a busy machine is not what is tested
	}
	const events = 10_000
	send := func(key func(i int) int) (failed int64) {
		var wg sync.WaitGroup
		var failures atomic.Int64
		for i := range events {
			wg.Go(func() {
				if _, err := nodes[i%2].send(t, "ann", fmt.Sprintf(`{"item":"sword","idempotencyKey":"k%d"}`, key(i))); err != nil {
					failures.Add(1)
				}
			})
		}
		wg.Wait()
		return failures.Load()
	}
	require.Zero(t, send(func(i int) int { return i }))
	require.Equal(t, int64(events), s.sold.Load())
	require.Zero(t, send(func(i int) int { return i }), "all of them again")
	require.Equal(t, int64(events), s.sold.Load())
	require.Zero(t, send(func(int) int { return -1 }))
	require.Equal(t, int64(events+1), s.sold.Load())
	for _, n := range nodes {
		n.Close()
	}
	all := rdb.Keys(t.Context(), "once:*").Val()
	require.Len(t, all, events+1)
	for _, key := range all[:10] {
		ttl := rdb.PTTL(t.Context(), key).Val()
		require.Positive(t, ttl)
		require.LessOrEqual(t, ttl, 2*time.Minute)
	}
}

// Long answers do not grow the memory of a node, nor the queue of what is written, beyond 32 MiB
// each: the oldest are forgotten first. Redis, which is away, has none of them. It is not parallel:
// it measures the heap.
func TestLongAnswersAreBounded(t *testing.T) {
	server, served := redistest.Server(t), atomic.Int64{}
	route := event.On("shop:read", func(context.Context, event.Player, purchase) (string, error) {
		return strings.Repeat("x", 64_000) + strconv.FormatInt(served.Add(1), 10), nil
	}).Once(event.WorksWithoutRedis(), func(r *event.OnceRule) { r.MaxAnswer = 65536 })
	k := once.New(server.Client(), once.Config{})
	t.Cleanup(k.Close)
	n := &till{Keeper: k, route: route, after: 30 * time.Second}
	server.Kill()
	send := func(i int) string {
		out, err := n.send(t, "ann", fmt.Sprintf(`{"item":"sword","idempotencyKey":"k%d"}`, i))
		require.NoError(t, err)
		return out[len(out)-8:]
	}
	const events = 2500 // 160 MB
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range events {
		send(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(96<<20), "twice 32 MiB, and what keeps them")
	last := send(events - 1)
	require.Contains(t, last, strconv.Itoa(events), "the last one is remembered")
	require.Equal(t, int64(events), served.Load())
	send(0)
	require.Equal(t, int64(events+1), served.Load(), "the first one is not")
}

// A ledgerShop sells by one script, which looks at the record and writes into it which sale it
// became.
type ledgerShop struct {
	rdb  redis.UniversalClient
	sold atomic.Int64
}

var sellScript = redisx.NewScript(record.Functions + `
local found = once_check(KEYS[1], ARGV[1], ARGV[2])
if found then return {found[1], found[2] or ''} end
redis.call('SET', KEYS[1], ARGV[3], 'PX', 60000)
return {'sold', ''}
`)

func (s *ledgerShop) buy(ctx context.Context, _ event.Player, in purchase) (bought, error) {
	if in.Item == "nothing" {
		return bought{}, fault.New("SOLD_OUT", "There is none.")
	}
	if in.Item == "wrong" {
		return bought{}, fault.Invalid("item", "wrong")
	}
	c, n := event.ClaimOf(ctx), s.sold.Load()+1
	answer, err := sellScript.Do(ctx, s.rdb, []string{c.Record}, c.Token, c.Digest, record.DoneText(c.Digest, strconv.FormatInt(n, 10))).StringSlice()
	if err != nil {
		return bought{}, err
	}
	if answer[0] != "sold" {
		var first bought
		return first, once.ReadCheck(c, answer, &first)
	}
	c.MarkRecorded()
	return bought{s.sold.Add(1)}, nil
}

func (s *ledgerShop) outcome(ctx context.Context, _ event.Player, _ purchase) (bought, bool, error) {
	text, err := s.rdb.Get(ctx, event.ClaimOf(ctx).Record).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return bought{}, false, err
	}
	_, reference, ok := record.ParseDone(text)
	n, _ := strconv.ParseInt(reference, 10, 64)
	return bought{n}, ok, nil
}

// An event whose script looks at the record costs no look of its own and leaves no claim; a repeat
// is answered all the same, on any node, and another payload is refused.
func TestOneScriptLooksAndRecords(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	s := &ledgerShop{rdb: rdb}
	newNode := func() *till {
		k := once.New(rdb, once.Config{})
		t.Cleanup(k.Close)
		return &till{Keeper: k, route: event.On("shop:buy", s.buy).Once(event.InOneScript(), event.Outcome(s.outcome)), after: 10 * time.Second}
	}
	a, b := newNode(), newNode()
	calls := func() int {
		stats, err := rdb.Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		n := 0
		for _, name := range []string{"cmdstat_evalsha:calls=", "cmdstat_eval:calls="} {
			_, rest, _ := strings.Cut(stats, name)
			more := 0
			_, _ = fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &more)
			n += more
		}
		return n
	}
	_, err := a.send(t, "zoe", sword) // the server learns the script
	require.NoError(t, err)
	require.NoError(t, rdb.ConfigResetStat(t.Context()).Err())
	out, err := a.send(t, "ann", sword)
	require.NoError(t, err)
	require.JSONEq(t, `{"number":2}`, out)
	require.Equal(t, 1, calls(), "the script of the effect, and nothing else")
	for _, n := range []*till{b, newNode(), a} {
		out, err = n.send(t, "ann", sword)
		require.NoError(t, err)
		require.JSONEq(t, `{"number":2}`, out)
		_, err = n.send(t, "ann", `{"item":"shield","idempotencyKey":"k"}`)
		requireCode(t, "CONFLICT", err)
		_, err = n.send(t, "ann", `{"item":"nothing","idempotencyKey":"k"}`)
		requireCode(t, "CONFLICT", err)
	}
	require.EqualValues(t, 2, s.sold.Load())

	// A refusal is recorded like any other, unless the payload may be mended.
	_, err = a.send(t, "bob", `{"item":"nothing","idempotencyKey":"k"}`)
	requireCode(t, "SOLD_OUT", err)
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), keys.Once("shop:buy", "", "bob", "k")).Val() == 1 }, 10*time.Second, time.Millisecond)
	_, err = b.send(t, "bob", `{"item":"nothing","idempotencyKey":"k"}`)
	requireCode(t, "SOLD_OUT", err)
	_, err = b.send(t, "bob", sword)
	requireCode(t, "CONFLICT", err)
	_, err = a.send(t, "pat", `{"item":"wrong","idempotencyKey":"k"}`)
	requireCode(t, "INVALID", err)
	_, err = b.send(t, "pat", sword)
	require.NoError(t, err)

	// A claim of a node that has died stands in the way until it counts as dead.
	claim := fmt.Sprintf("C%s%013dother", digestOf(t, a, sword), time.Now().Add(-time.Minute).UnixMilli())
	require.NoError(t, rdb.Set(t.Context(), keys.Once("shop:buy", "", "eve", "k"), claim, time.Minute).Err())
	out, err = a.send(t, "eve", sword)
	require.NoError(t, err)
	require.JSONEq(t, `{"number":4}`, out)
}

func digestOf(t *testing.T, n *till, raw string) string {
	t.Helper()
	request, err := n.route.OnceRule.Identify(&event.Player{}, []byte(raw), "")
	require.NoError(t, err)
	return request.Digest
}
