package throttle

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

var ann = Subject{User: "ann", Session: "s-ann", IP: "10.0.0.1", Conn: "c1"}

// One is refused until just before the promised time, and admitted at it.
func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	p := Policy{Name: "p", Limit: 2, Window: 400 * time.Millisecond, Scope: ByUser}
	a, b := newLimiter(t, rdb, patient, p), newLimiter(t, rdb, patient, p)
	begun := time.Now()
	require.True(t, spend(t, a, ann, "p").Allowed)
	require.True(t, spend(t, b, ann, "p").Allowed)
	var d Decision
	for d = spend(t, a, ann, "p"); d.Allowed; d = spend(t, a, ann, "p") {
	}
	told := time.Now()
	require.Positive(t, d.RetryAfter)
	require.LessOrEqual(t, d.RetryAfter, p.Window)
	require.Zero(t, d.RetryAfter%time.Millisecond)
	// Asked all the time, both nodes refuse until then: what is answered before the window of the
	// first admission is over. Asking spends nothing, so it takes no place of the event that is due
	// then.
	for time.Since(told) < d.RetryAfter-5*time.Millisecond {
		for _, l := range []*Limiter{a, b} {
			if again, err := l.Peek(t.Context(), "p", ann); time.Since(begun) < p.Window {
				require.NoError(t, err)
				require.False(t, again.Allowed)
			}
		}
	}
	// …and admit then.
	<-time.After(time.Until(told.Add(d.RetryAfter)))
	require.True(t, spend(t, a, ann, "p").Allowed)
}

func TestDecisionTellsAll(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, redistest.Client(t), patient, Defaults(false)...)
	d := spend(t, l, ann, "chat")
	require.WithinDuration(t, time.Now().Add(10*time.Second), d.ResetAt, 5*time.Second)
	d.ResetAt = time.Time{}
	require.Equal(t, Decision{Allowed: true, Policy: "chat", Scope: ByUser, Limit: 10, Remaining: 9, Window: 10 * time.Second, Source: "redis"}, d)
	require.Nil(t, d.Fault())
	for i := 8; i >= 0; i-- {
		require.Equal(t, i, spend(t, l, ann, "chat").Remaining)
	}
	d = spend(t, l, ann, "chat")
	f := d.Fault()
	require.ErrorIs(t, f, fault.ErrRateLimited)
	require.Equal(t, "chat", f.Detail("policy"))
	require.Equal(t, "user", f.Detail("scope"))
	require.Equal(t, 10, f.Detail("limit"))
	require.Equal(t, 0, f.Detail("remaining"))
	require.Equal(t, int64(10_000), f.Detail("windowMs"))
	require.Equal(t, d.RetryAfter.Milliseconds(), f.Detail("retryAfterMs"))
	require.True(t, d.ResetAt.After(time.Now().Add(d.RetryAfter-time.Second)))
	// Others, and other policies, have budgets of their own.
	require.True(t, spend(t, l, Subject{User: "bob"}, "chat").Allowed)
	require.True(t, spend(t, l, ann, "combat").Allowed)
}

// A policy's own message is in every refusal, from Redis, from memory and from the local window,
// and changes with the policy.
func TestAPolicyHasItsOwnMessage(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	p := Policy{Name: "shouts", Limit: 1, Window: time.Minute, Scope: ByUser, Message: `Not so "loud" <please>.`}
	l := newLimiter(t, server.Client(), patient, p, Policy{Name: "plain", Limit: 1, Window: time.Minute, Scope: ByUser})
	require.Empty(t, spend(t, l, ann, "shouts").Message, "it is allowed")
	for _, source := range []string{SourceRedis, SourceMemory} {
		d := spend(t, l, ann, "shouts")
		require.Equal(t, source, d.Source)
		require.Equal(t, p.Message, d.Message)
		require.ErrorIs(t, d.Fault(), fault.ErrRateLimited)
		want, err := json.Marshal(d.Fault())
		require.NoError(t, err)
		require.Equal(t, string(want), string(d.Refusal().AppendJSON(nil)))
		require.Contains(t, string(want), `"message":"Not so \"loud\" `)
	}
	spend(t, l, ann, "plain")
	require.Equal(t, fault.ErrRateLimited.Message, spend(t, l, ann, "plain").Fault().Message)

	p.Message = "Hush."
	require.NoError(t, l.SetPolicies([]Policy{p}))
	require.Equal(t, "Hush.", spend(t, l, ann, "shouts").Message)
	server.Kill()
	bob := Subject{User: "bob"}
	require.True(t, spend(t, l, bob, "shouts").Allowed)
	d := spend(t, l, bob, "shouts")
	require.Equal(t, SourceLocal, d.Source)
	require.Equal(t, "Hush.", d.Message)

	for _, bad := range []string{strings.Repeat("x", 201), "a\nb", "\xff"} {
		p.Message = bad
		require.ErrorIs(t, l.SetPolicies([]Policy{p}), ErrBadPolicy)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	l := newLimiter(t, rdb, patient,
		Policy{Name: "u", Limit: 1, Window: time.Minute, Scope: ByUser}, Policy{Name: "s", Limit: 1, Window: time.Minute, Scope: BySession},
		Policy{Name: "i", Limit: 1, Window: time.Minute, Scope: ByIP}, Policy{Name: "c", Limit: 1, Window: time.Minute, Scope: ByConnection})
	for policy, key := range map[string]string{"u": "ann", "s": "s-ann", "i": "10.0.0.1", "c": "c1"} {
		require.True(t, spend(t, l, ann, policy).Allowed)
		require.EqualValues(t, 1, rdb.Exists(t.Context(), keys.RateLimit(key, policy)).Val(), policy)
		require.False(t, spend(t, l, ann, policy).Allowed)
		_, err := l.Spend(t.Context(), []string{policy}, Subject{})
		require.ErrorIs(t, err, ErrNoSubject)
	}
	require.True(t, spend(t, l, Subject{IP: "2001:db8:1:2:aaaa::1"}, "i").Allowed)
	require.False(t, spend(t, l, Subject{IP: "2001:db8:1:2:bbbb::9"}, "i").Allowed, "the same /64")
	require.True(t, spend(t, l, Subject{IP: "2001:db8:1:3::1"}, "i").Allowed)
	require.False(t, spend(t, l, Subject{IP: "::ffff:10.0.0.1"}, "i").Allowed, "the same IPv4 address")
	require.True(t, spend(t, l, Subject{IP: "64:ff9b::203.0.113.1"}, "i").Allowed)
	require.True(t, spend(t, l, Subject{IP: "64:ff9b::203.0.113.2"}, "i").Allowed, "another customer behind NAT64")
	require.False(t, spend(t, l, Subject{IP: "203.0.113.1"}, "i").Allowed, "the same customer without NAT64")
}

func TestSeveralPolicies(t *testing.T) {
	t.Parallel()
	for name, cluster := range map[string]bool{"one script": false, "spend and give back": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := patient
			cfg.Cluster = cluster
			l := newLimiter(t, redistest.Client(t), cfg,
				Policy{Name: "wide", Limit: 5, Window: time.Minute, Scope: ByUser}, Policy{Name: "narrow", Limit: 2, Window: time.Minute, Scope: ByUser}, Policy{Name: "off", Limit: 0, Window: 0, Scope: ByUser})
			both := []string{"wide", "off", "narrow", "wide"}
			d := spend(t, l, ann, both...)
			require.True(t, d.Allowed)
			require.Equal(t, "narrow", d.Policy, "the one with the least left")
			require.Equal(t, 1, d.Remaining)
			require.True(t, spend(t, l, ann, both...).Allowed)
			for range 3 {
				d = spend(t, l, ann, both...)
				require.False(t, d.Allowed)
				require.Equal(t, "narrow", d.Policy)
			}
			require.Equal(t, 2, spend(t, l, ann, "wide").Remaining, "refusals cost the other policy nothing")
		})
	}
}

func TestUnknownAndOff(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	var sent counter
	rdb.AddHook(&sent)
	l := newLimiter(t, rdb, patient, Policy{Name: "off", Scope: ByUser})
	_, err := l.Spend(t.Context(), []string{"nonsense"}, ann)
	require.ErrorIs(t, err, ErrUnknownPolicy)
	require.Equal(t, Decision{Allowed: true}, spend(t, l, Subject{}, "off"))
	require.Equal(t, Decision{Allowed: true}, spend(t, l, Subject{}))
	require.Zero(t, sent.total())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l = newLimiter(t, rdb, patient, Defaults(false)...)
	_, err = l.Spend(ctx, []string{"chat"}, ann)
	require.ErrorIs(t, err, context.Canceled)
}

// A flood of refused events costs Redis nothing, and us no allocation.
func TestRefusalsAreRemembered(t *testing.T) {
	// Not parallel: it counts allocations.
	rdb := redistest.Client(t)
	l := newLimiter(t, rdb, patient, Policy{Name: "p", Limit: 3, Window: 2 * time.Second, Scope: ByUser})
	var sent counter
	rdb.AddHook(&sent)
	var d Decision
	for d = spend(t, l, ann, "p"); d.Allowed; d = spend(t, l, ann, "p") {
	}
	require.Equal(t, SourceRedis, d.Source)
	asked := sent.total()
	end := time.Now().Add(d.RetryAfter)
	policies := []string{"p"}
	n, ctx := 0, t.Context()
	allocs := testing.AllocsPerRun(1000, func() {
		if d, err := l.Spend(ctx, policies, ann); err != nil || d.Allowed || d.Source != SourceMemory {
			t.Error(d, err)
		}
		n++
	})
	require.True(t, time.Now().Before(end), "the machine is too slow to tell")
	require.Zero(t, allocs)
	require.Equal(t, 1001, n)
	require.Equal(t, asked, sent.total(), "Redis was not asked")
	require.Equal(t, d.ResetAt.UnixMilli(), spend(t, l, ann, "p").ResetAt.UnixMilli())
	<-time.After(time.Until(end))
	d = spend(t, l, ann, "p")
	require.True(t, d.Allowed)
	require.Equal(t, SourceRedis, d.Source)
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, redistest.Client(t), Config{Remember: 128}, Policy{Name: "p", Limit: 1, Window: time.Hour, Scope: ByUser})
	at := func(i int) target {
		got, err := l.findTarget("p", &Subject{User: fmt.Sprint(i)})
		require.NoError(t, err)
		return got
	}
	for i := range 10_000 {
		l.denials.rememberDenial(at(i), denial{until: 1 << 40}, int64(i))
		_, err := l.spendLocally([]target{at(i)}, time.Duration(i))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, l.denials.countDenials(), 128)
	require.Greater(t, l.denials.countDenials(), 64)
	require.LessOrEqual(t, len(l.locals.windows), 128)
	_, ok := l.denials.findDenial(at(9999), 0)
	require.True(t, ok, "the newest is there")
	_, ok = l.denials.findDenial(at(9999), 1<<40)
	require.False(t, ok, "it ends")
	_, ok = l.denials.findDenial(at(9999), 0)
	require.False(t, ok, "and is gone then")
}

// Callers at once are batched, and a server that has lost its scripts gets them again.
func TestBatches(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	l := newLimiter(t, rdb, patient, Policy{Name: "p", Limit: 1000, Window: time.Minute, Scope: ByUser}, Policy{Name: "q", Limit: 1000, Window: time.Minute, Scope: ByUser})
	for range 2 {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 5 {
					d, err := l.Spend(context.Background(), []string{"p", "q"}, ann)
					if err != nil || !d.Allowed || d.Source != SourceRedis {
						t.Error(d, err)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, rdb.ScriptFlush(t.Context()).Err())
	}
	require.Equal(t, 1000-641, spend(t, l, ann, "p").Remaining, "each was charged once")
}

// A foreign value under one key is that subject's trouble, not everybody's.
func TestWrongTypeStaysWithItsSubject(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	l := newLimiter(t, rdb, patient, Policy{Name: "p", Limit: 1, Window: time.Minute, Scope: ByUser})
	require.NoError(t, rdb.LPush(t.Context(), keys.RateLimit("ann", "p"), 1).Err())
	require.Equal(t, SourceLocal, spend(t, l, ann, "p").Source)
	require.False(t, l.Degraded())
	require.Equal(t, SourceRedis, spend(t, l, Subject{User: "bob"}, "p").Source)
}

// AutoPipeline, where the caller has it, works underneath too.
func TestAutoPipeline(t *testing.T) {
	t.Parallel()
	ap, err := redistest.Client(t).(*redis.Client).AutoPipeline()
	require.NoError(t, err)
	l := newLimiter(t, ap, patient, Policy{Name: "p", Limit: 2, Window: time.Minute, Scope: ByUser})
	require.True(t, spend(t, l, ann, "p").Allowed)
	require.True(t, spend(t, l, ann, "p").Allowed)
	require.False(t, spend(t, l, ann, "p").Allowed)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, redistest.Client(t), patient, Policy{Name: "p", Limit: 1, Window: time.Minute, Scope: ByUser})
	for range 4 {
		spend(t, l, ann, "p")
	}
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(l))
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[name(f, m)] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	require.Equal(t, map[string]float64{
		"gateway_ratelimit_decisions_total allowed p user redis":  1,
		"gateway_ratelimit_decisions_total refused p user redis":  1,
		"gateway_ratelimit_decisions_total refused p user memory": 2,
		"gateway_ratelimit_degraded":                              0,
		"gateway_settings_differences":                            0,
	}, got)
}

func name(f *dto.MetricFamily, m *dto.Metric) string {
	s := f.GetName()
	for _, l := range m.GetLabel() { // sorted: decision, policy, scope, source
		s += " " + l.GetValue()
	}
	return s
}

func TestNoGoroutineIsLeft(t *testing.T) {
	// Not parallel: it counts goroutines.
	server := redistest.Server(t)
	rdb := server.Client()
	require.NoError(t, rdb.Ping(t.Context()).Err())
	before := goleak.IgnoreCurrent()
	l, err := New(rdb, Defaults(false), Config{})
	require.NoError(t, err)
	spend(t, l, ann, "chat", "combat")
	server.Kill()
	require.Equal(t, SourceLocal, spend(t, l, ann, "chat").Source)
	require.True(t, l.Degraded())
	l.Close()
	goleak.VerifyNone(t, before)
}
