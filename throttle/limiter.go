package throttle

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// Config tunes a Limiter; its zero value works.
type Config struct {
	// Budget is how long Redis may take, in all, before the local window decides. The
	// default of 40 ms leaves a decision well inside 50 ms.
	Budget time.Duration
	// ProbeEvery is how often Redis is tried again while it is gone. Default 100 ms.
	ProbeEvery time.Duration
	// Remember is how many refusals, and how many local windows, are kept. Default 65,536.
	Remember int
	// Cluster says that keys lie on several servers. It is found out by itself when rdb is
	// a *redis.ClusterClient.
	Cluster bool
	// OnChange, when set, is called when Redis is given up (with the cause) and when it is
	// back. Calls never overlap.
	OnChange func(degraded bool, cause error)
	// OnError, when set, is told what went wrong with a request that Middleware answered
	// with a status of its own: a policy that is not there, a subject that is empty.
	OnError func(r *http.Request, err error)
}

// maxSpends is how many policies one event may spend.
const maxSpends = 8

// A Limiter judges events. Its methods may be called from any goroutine.
type Limiter struct {
	cfg     Config
	byName  map[string]*policy
	started time.Time
	denials *denials
	locals  locals
	redis   batcher
	health  health
}

// A policy in force, with what the hot path needs of it.
type policy struct {
	Policy
	args    []any // of spend.lua
	refused [3]atomic.Uint64
	allowed [3]atomic.Uint64
}

// New makes a Limiter of policies with distinct names; those with limit 0 are known, and off.
// Errors: ErrBadPolicy. It does not talk to Redis. Close it.
func New(rdb redis.UniversalClient, policies []Policy, cfg Config) (*Limiter, error) {
	if cfg.Budget <= 0 {
		cfg.Budget = 40 * time.Millisecond
	}
	if cfg.ProbeEvery <= 0 {
		cfg.ProbeEvery = 100 * time.Millisecond
	}
	if cfg.Remember <= 0 {
		cfg.Remember = 1 << 16
	}
	if _, ok := rdb.(*redis.ClusterClient); ok {
		cfg.Cluster = true
	}
	l := &Limiter{
		cfg: cfg, byName: make(map[string]*policy), started: time.Now(),
		denials: newDenials(cfg.Remember),
		locals:  locals{m: make(map[target]*window), cap: cfg.Remember},
		redis:   batcher{rdb: rdb, budget: cfg.Budget},
		health:  health{rdb: rdb, budget: cfg.Budget, every: cfg.ProbeEvery, onChange: cfg.OnChange},
	}
	for _, p := range policies {
		if err := p.validate(); err != nil {
			return nil, err
		}
		if l.byName[p.Name] != nil {
			return nil, fmt.Errorf("%w: %s is there twice", ErrBadPolicy, p.Name)
		}
		l.byName[p.Name] = &policy{Policy: p, args: []any{p.Limit, p.Window.Milliseconds()}}
	}
	return l, nil
}

// Close stops the probing of Redis and waits for calls under way.
func (l *Limiter) Close() {
	l.health.close()
	l.redis.close()
}

// Policies are those in force, by name.
func (l *Limiter) Policies() []Policy {
	out := make([]Policy, 0, len(l.byName))
	for _, p := range l.byName {
		if p.Limit > 0 {
			out = append(out, p.Policy)
		}
	}
	slices.SortFunc(out, func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Degraded tells that Redis is not asked at present: local windows decide.
func (l *Limiter) Degraded() bool { return l.health.degraded.Load() }

// Spend charges one event to policies, all or none, and says whether it may be. Policies
// that are off are skipped; the first that refuses, in the given order, is the answer. It
// returns within Config.Budget whatever Redis does. Errors: ErrUnknownPolicy,
// ErrNoSubject, and the context's when it ends first; a store that fails is no error.
func (l *Limiter) Spend(ctx context.Context, policies []string, sub Subject) (Decision, error) {
	var buf [maxSpends]target
	ts := buf[:0]
	for _, name := range policies {
		p := l.byName[name]
		if p == nil {
			return Decision{}, fmt.Errorf("%w %q", ErrUnknownPolicy, name)
		}
		if p.Limit == 0 || slices.ContainsFunc(ts, func(t target) bool { return t.policy == p }) {
			continue
		}
		if len(ts) == maxSpends {
			return Decision{}, fmt.Errorf("%w: an event spends at most %d", ErrBadPolicy, maxSpends)
		}
		subject, err := sub.of(p)
		if err != nil {
			return Decision{}, err
		}
		ts = append(ts, target{p, subject})
	}
	if len(ts) == 0 {
		return Decision{Allowed: true}, nil
	}
	if err := ctx.Err(); err != nil {
		return Decision{}, err
	}
	now := time.Since(l.started)
	for _, t := range ts {
		if d, ok := l.denials.get(t, int64(now)); ok {
			return l.refusal(t.policy, now, time.Duration(d.until), time.Duration(d.reset), 1), nil
		}
	}
	if l.health.degraded.Load() {
		return l.spendLocal(ts, now), nil
	}
	v, err := l.spendRedis(ctx, ts)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return Decision{}, ctx.Err()
	default:
		if !onlyThisKey(err) {
			l.health.failed(keys.RateLimit(ts[0].subject, ts[0].policy.Name), err)
		}
		return l.spendLocal(ts, time.Since(l.started)), nil
	}
	now = time.Since(l.started)
	if v.refused < 0 {
		return l.allowance(ts, v.left[:], now, 0), nil
	}
	t := ts[v.refused]
	d := denial{int64(now) + v.one*int64(time.Millisecond), int64(now) + v.all*int64(time.Millisecond)}
	l.denials.put(t, d, int64(now))
	return l.refusal(t.policy, now, time.Duration(d.until), time.Duration(d.reset), 0), nil
}

// spendRedis asks Redis. One script takes all windows, except on a Cluster.
func (l *Limiter) spendRedis(ctx context.Context, ts []target) (verdict, error) {
	c := newCall()
	if l.cfg.Cluster {
		for _, t := range ts {
			r := request{keys: []string{keys.RateLimit(t.subject, t.policy.Name)}, args: t.policy.args}
			if len(ts) > 1 {
				r.args = append(slices.Clip(r.args), "", "stamp")
			}
			c.requests = append(c.requests, r)
		}
	} else {
		r := request{args: ts[0].policy.args}
		for i, t := range ts {
			r.keys = append(r.keys, keys.RateLimit(t.subject, t.policy.Name))
			if i > 0 {
				r.args = append(slices.Clip(r.args), t.policy.args...)
			}
		}
		c.requests = append(c.requests, r)
	}
	l.redis.submit(c)
	return c.wait(ctx, l.cfg.Budget)
}

func (l *Limiter) spendLocal(ts []target, now time.Duration) Decision {
	var left [maxSpends]int
	refused, one, all := l.locals.spend(ts, now, left[:])
	if refused < 0 {
		return l.allowance(ts, left[:], now, 2)
	}
	return l.refusal(ts[refused].policy, now, now+one, now+all, 2)
}

var sources = [3]string{SourceRedis, SourceMemory, SourceLocal}

// refusal and allowance make the decision and count it; times are since l.started.
func (l *Limiter) refusal(p *policy, now, until, reset time.Duration, source int) Decision {
	p.refused[source].Add(1)
	return Decision{
		Policy: p.Name, Scope: p.Scope, Limit: p.Limit, Window: p.Window,
		RetryAfter: wholeMs(until - now), ResetAt: l.started.Add(reset), Source: sources[source],
	}
}

func (l *Limiter) allowance(ts []target, left []int, now time.Duration, source int) Decision {
	least := 0
	for i, t := range ts {
		t.policy.allowed[source].Add(1)
		if left[i] < left[least] {
			least = i
		}
	}
	p := ts[least].policy
	return Decision{
		Allowed: true, Policy: p.Name, Scope: p.Scope, Limit: p.Limit, Remaining: left[least], Window: p.Window,
		ResetAt: l.started.Add(now + p.Window), Source: sources[source],
	}
}
