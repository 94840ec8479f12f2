package throttle

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// Config configures a Limiter; its zero value works.
type Config struct {
	// Budget is how long Redis may take, in all, before the local window decides. With the default
	// of 40 ms a decision takes less than 50 ms.
	Budget time.Duration
	// ProbeEvery is how often Redis is tried again while it is gone. Default 100 ms.
	ProbeEvery time.Duration
	// Remember is how many refusals, and how many local windows, this process keeps. Default 65,536.
	Remember int
	// Cluster says that the keys of one event may lie on several servers, so that one script cannot
	// use all of them. New sets it when rdb is a *redis.ClusterClient.
	Cluster bool
	// Nodes, when set, returns how many nodes share the limits now. While Redis is gone each node
	// admits its part of a limit, and at least one event, by the number of nodes that there were when
	// Run last read Redis.
	Nodes func() int
	// NoLocal turns the local window off: while Redis is gone Spend returns an UNAVAILABLE
	// fault, and Middleware answers 503.
	NoLocal bool
	// RefreshEvery is how often Run reads the overrides in Redis again, in case that a message was
	// lost. Default 5 s.
	RefreshEvery time.Duration
	// Node is the name under which this limiter tells the others how it is configured. No two may have
	// the same. Default: a random one.
	Node string
	// Settings are further settings that must be the same on all nodes, by name. They are compared as
	// the policies are, and are stored in Redis: none may be a secret.
	Settings map[string]string
	// OnDifference, when set, is called once for each setting or policy that another node has
	// differently, until they are alike again.
	OnDifference func(Difference)
	// OnChange, when set, is called when local windows take over, with the cause, and when Redis
	// decides again. Calls never overlap.
	OnChange func(degraded bool, cause error)
	// OnPolicies, when set, is called when the policies in force have changed. changes leaves out what
	// Policy says beside its rules, such as its message.
	OnPolicies func(changes []PolicyChange)
	// By is who changes limits by this Limiter, for PolicyChange.By on all nodes. "" says nothing.
	By string
	// OnRefresh, when set, is called with the error when Run cannot read the overrides, cannot use
	// one of them, or cannot subscribe to their changes.
	OnRefresh func(error)
	// OnError, when set, is called with the error of a request about which Middleware could not
	// decide: an unknown policy, an empty subject.
	OnError func(r *http.Request, err error)
}

// maxSpends is how many policies one event may spend.
const maxSpends = 8

// A Limiter decides about events. Its methods may be called from any goroutine.
type Limiter struct {
	cfg     Config
	rdb     redis.UniversalClient
	started time.Time
	denials *denials
	locals  localWindows
	store   *store
	health  health
	looks   *redisx.ScriptBatcher // at records, on a Cluster

	// clock returns the time since started. stamp is nil but in tests, where it replaces Redis's
	// clock, in µs.
	clock func() time.Duration
	stamp func() int64

	keyed *policy // of SpendKey; it has no rule of its own

	table     atomic.Pointer[map[string]*policy] // the map is never written
	described atomic.Pointer[describedTable]     // what most players are sent
	nodes     atomic.Int64                       // how many there were when Redis was there last

	mu        sync.Mutex
	base      []Policy   // as configured; guarded by mu
	overrides []Override // of Redis; guarded by mu
	current   []Policy   // both together; guarded by mu
	rejected  error      // why some of them are not in force; guarded by mu

	otherWindows map[string]time.Duration // the longest on other nodes, by policy; guarded by mu
	differences  map[Difference]bool      // to other nodes, without Node; guarded by mu
	told         string                   // what other nodes know of this one; guarded by mu
	changedBy    string                   // who changed the overrides that are to be read; guarded by mu
}

// New makes a Limiter of policies with distinct names; a policy with limit 0 is known, and off. It
// does not talk to Redis. The caller must Close it. Errors: ErrBadPolicy.
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
	if cfg.RefreshEvery <= 0 {
		cfg.RefreshEvery = 5 * time.Second
	}
	if cfg.Node == "" {
		cfg.Node = rand.Text()
	}
	if cfg.Nodes == nil {
		cfg.Nodes = func() int { return 1 }
	}
	cfg.Cluster = cfg.Cluster || redisx.IsCluster(rdb)
	l := &Limiter{
		cfg: cfg, rdb: rdb, started: time.Now(),
		denials: newDenials(cfg.Remember),
		locals:  localWindows{windows: make(map[windowID]*window), capacity: cfg.Remember},
		store:   newStore(rdb, cfg.Budget, cfg.Cluster),
		looks:   redisx.NewScriptBatcher(rdb),
		health:  health{rdb: rdb, budget: cfg.Budget, every: cfg.ProbeEvery, onChange: cfg.OnChange},
	}
	l.clock = func() time.Duration { return time.Since(l.started) }
	l.keyed = &policy{name: keyedPolicy}
	l.table.Store(&map[string]*policy{})
	_, err := l.setBasePolicies(policies)
	return l, err
}

// SetPolicies replaces the configured policies, for the events to come. Earlier admissions still
// count, for as long as the window that was in force at their time. A policy that is not among the
// new ones is off. Error: ErrBadPolicy; then nothing changes.
func (l *Limiter) SetPolicies(policies []Policy) error {
	l.mu.Lock()
	before := l.current
	l.mu.Unlock()
	changed, err := l.setBasePolicies(policies)
	l.mu.Lock()
	changes := l.changesSince(before, "the configuration")
	l.mu.Unlock()
	l.announceChange(changed, changes)
	return err
}

// announceChange calls Config.OnPolicies after a change.
func (l *Limiter) announceChange(changed bool, changes []PolicyChange) {
	if changed && l.cfg.OnPolicies != nil {
		l.cfg.OnPolicies(changes)
	}
}

func (l *Limiter) setBasePolicies(policies []Policy) (changed bool, err error) {
	seen := map[string]bool{}
	for _, p := range policies {
		if err := p.validate(); err != nil {
			return false, err
		}
		if seen[p.Name] {
			return false, fmt.Errorf("%w: %s is there twice", ErrBadPolicy, p.Name)
		}
		seen[p.Name] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.base = slices.Clone(policies)
	return l.enforcePolicies(), nil
}

// enforcePolicies puts base with the overrides in force, and tells whether anything has changed.
// l.mu is held.
func (l *Limiter) enforcePolicies() (changed bool) {
	policies := slices.Clone(l.base)
	l.rejected = nil
	for _, o := range l.overrides {
		next, err := Apply(policies, []Override{o})
		if err == nil {
			for _, p := range next {
				if p.Name == o.Name {
					err = p.validate()
				}
			}
		}
		if err != nil { // written by another version, or for a policy that was removed
			l.rejected = fmt.Errorf("override %s: %w", o, err)
			continue
		}
		policies = next
	}
	l.current = policies
	old := *l.table.Load()
	table := maps.Clone(old)
	for _, p := range policies {
		known := table[p.Name]
		if known == nil {
			known = &policy{name: p.Name}
			known.active.Store(newActivePolicy(p, l.otherWindows[p.Name]))
			table[p.Name], changed = known, true
		} else if !known.active.Load().isSamePolicy(p) {
			known.active.Store(newActivePolicy(p, l.otherWindows[p.Name]))
			changed = true
		} else if next := newActivePolicy(p, l.otherWindows[p.Name]); next.keep != known.active.Load().keep {
			known.active.Store(next) // for the windows of other nodes, which is no news for players
		}
	}
	for name, known := range old {
		p := known.active.Load().Policy
		if slices.ContainsFunc(policies, func(p Policy) bool { return p.Name == name }) || p.Limit == 0 && len(p.Roles) == 0 {
			continue
		}
		p.Limit, p.Roles = 0, nil
		known.active.Store(newActivePolicy(p, 0))
		changed = true
	}
	l.table.Store(&table)
	return changed
}

// Close stops the probing of Redis, and waits for calls under way.
func (l *Limiter) Close() {
	l.health.stopProbing()
	l.store.batches.Close()
}

// Policies returns those in force for players with these roles, sorted by name.
func (l *Limiter) Policies(roles ...string) []Policy {
	table := *l.table.Load()
	out := make([]Policy, 0, len(table))
	for _, p := range table {
		f := p.active.Load()
		if r := f.ruleForRoles(roles); r != nil {
			q := f.Policy
			q.Limit, q.Window = r.limit, r.window
			out = append(out, q)
		}
	}
	slices.SortFunc(out, func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// A describedTable is a table of policies as a player without roles is sent it.
type describedTable struct {
	table *map[string]*policy
	json  []byte
}

// PoliciesJSON returns Policies as clients are sent them: {"policies": […]}. The caller must not
// change it.
func (l *Limiter) PoliciesJSON(roles []string) ([]byte, error) {
	table := l.table.Load() // every change stores another one, last
	if known := l.described.Load(); len(roles) == 0 && known != nil && known.table == table {
		return known.json, nil
	}
	b, err := json.Marshal(struct {
		Policies []Policy `json:"policies"`
	}{l.Policies(roles...)})
	if err != nil {
		return nil, fmt.Errorf("throttle: %w", err)
	}
	if len(roles) == 0 {
		l.described.Store(&describedTable{table, b})
	}
	return b, nil
}

// All returns the policies with all their rules, also those that are off, sorted by name.
func (l *Limiter) All() []Policy {
	l.mu.Lock()
	out := slices.Clone(l.current)
	l.mu.Unlock()
	slices.SortFunc(out, func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Degraded tells whether local windows decide at present, because Redis does not answer.
func (l *Limiter) Degraded() bool { return l.health.isDegraded.Load() }

// Spend charges one event to policies, all or none, and decides whether it is allowed. Policies
// that are off are skipped; the first that refuses, in the given order, is the answer. It returns
// within Config.Budget whatever Redis does. Errors: ErrUnknownPolicy, ErrNoSubject, and the
// context's when it ends first. A Redis that fails is no error, but with Config.NoLocal it is an
// UNAVAILABLE fault.
func (l *Limiter) Spend(ctx context.Context, policies []string, sub Subject) (Decision, error) {
	var buf [maxSpends]target
	ts, err := l.appendTargets(buf[:0], policies, &sub)
	if err != nil {
		return Decision{}, err
	}
	if len(ts) == 0 {
		return Decision{Allowed: true}, nil
	}
	if err := ctx.Err(); err != nil {
		return Decision{}, err
	}
	return l.spendTargets(ctx, ts)
}

// spendTargets is Spend for what an event spends from.
func (l *Limiter) spendTargets(ctx context.Context, ts []target) (Decision, error) {
	now := l.clock()
	for _, t := range ts {
		if d, ok := l.denials.findDenial(t, int64(now)); ok {
			return l.recordRefused(t, now, d, 1), nil
		}
	}
	if l.health.isDegraded.Load() {
		return l.spendLocally(ts, now)
	}
	v, err := l.spendInRedis(ctx, ts)
	if err != nil {
		return l.spendAfterFailure(ctx, ts, err)
	}
	return l.decideByRedis(ts, &v), nil
}

// SpendOnce is Spend for an event that is done once (package internal/once). The script that spends
// looks at the event's record first: when found is not Claimed, Missing or NotLooked, the record
// stands in the way, nothing was spent, and the Decision is empty. An event that is admitted claims
// the record. A refusal that this process remembers does not count, because the record may have the
// answer. On a Cluster, where windows and record lie in several slots, the look is a call of its
// own. found is NotLooked when Redis was not asked; the caller then looks by itself.
func (l *Limiter) SpendOnce(ctx context.Context, policies []string, sub Subject, look record.Look) (d Decision, found record.Found, err error) {
	switch {
	case l.health.isDegraded.Load():
		d, err = l.Spend(ctx, policies, sub)
		return d, record.Found{}, err
	case l.cfg.Cluster:
		return l.spendOnceInTwo(ctx, policies, sub, look)
	}
	var buf [maxSpends]target
	ts, err := l.appendTargets(buf[:0], policies, &sub)
	if err != nil || len(ts) == 0 {
		return Decision{Allowed: err == nil}, record.Found{}, err
	}
	if err := ctx.Err(); err != nil {
		return Decision{}, record.Found{}, err
	}
	v, err := l.spendOnceInRedis(ctx, ts, look)
	switch {
	case err != nil:
		d, err = l.spendAfterFailure(ctx, ts, err)
		return d, record.Found{}, err
	case v.found.State != record.Claimed && v.found.State != record.Missing:
		return Decision{}, v.found, nil
	}
	return l.decideByRedis(ts, &v), v.found, nil
}

// spendOnceInTwo is SpendOnce on a Cluster: it looks and claims, then spends, and releases the
// claim of an event that is refused.
func (l *Limiter) spendOnceInTwo(ctx context.Context, policies []string, sub Subject, look record.Look) (d Decision, found record.Found, err error) {
	within, cancel := context.WithTimeout(ctx, l.cfg.Budget)
	defer cancel()
	found, lookErr := record.LookAlone(within, l.looks, look, true)
	if lookErr == nil && found.State != record.Claimed {
		return Decision{}, found, nil
	}
	d, err = l.Spend(ctx, policies, sub)
	if lookErr == nil && (err != nil || !d.Allowed) {
		found.State = record.Missing
		redisx.RunScripts(ctx, l.rdb, record.Settlement{Key: look.Key, Token: look.Token, Digest: look.Digest, Keep: look.Keep, How: record.Release}.Call())
	}
	return d, found, err
}

// appendTargets appends what an event of sub spends from. Policies that are off are skipped.
func (l *Limiter) appendTargets(ts []target, policies []string, sub *Subject) ([]target, error) {
	for _, name := range policies {
		t, err := l.findTarget(name, sub)
		if err != nil {
			return nil, err
		}
		if t.rule == nil || slices.ContainsFunc(ts, func(o target) bool { return o.policy == t.policy }) {
			continue
		}
		if len(ts) == maxSpends {
			return nil, fmt.Errorf("%w: an event spends at most %d", ErrBadPolicy, maxSpends)
		}
		ts = append(ts, t)
	}
	return ts, nil
}

// spendAfterFailure decides about an event about which Redis did not.
func (l *Limiter) spendAfterFailure(ctx context.Context, ts []target, err error) (Decision, error) {
	if ctx.Err() != nil {
		return Decision{}, ctx.Err()
	}
	if !isOnlyThisKey(err) {
		if n := int64(l.cfg.Nodes()); n > l.nodes.Load() {
			l.nodes.Store(n)
		}
		l.health.startProbing(keys.RateLimit(ts[0].subject, ts[0].policy.name), err)
	}
	return l.spendLocally(ts, l.clock())
}

// decideByRedis makes the decision of what Redis said, and remembers a refusal.
func (l *Limiter) decideByRedis(ts []target, v *verdict) Decision {
	now := l.clock()
	if v.refused < 0 {
		return l.recordAllowed(ts, v.remaining[:], now, 0)
	}
	t := ts[v.refused]
	d := denial{until: int64(now) + v.untilOne*int64(time.Millisecond), reset: int64(now) + v.untilAll*int64(time.Millisecond), remaining: v.remaining[v.refused]}
	l.denials.rememberDenial(t, d, int64(now))
	return l.recordRefused(t, now, d, 0)
}

// findTarget returns the window that an event of sub spends from, and its rule; without a rule
// nothing limits it.
func (l *Limiter) findTarget(name string, sub *Subject) (target, error) {
	p := (*l.table.Load())[name]
	if p == nil {
		return target{}, fmt.Errorf("%w %q", ErrUnknownPolicy, name)
	}
	f := p.active.Load()
	r := f.ruleForRoles(sub.Roles)
	if r == nil {
		return target{}, nil
	}
	subject, err := sub.identifierFor(&f.Policy)
	return target{p, r, subject}, err
}

// spendLocally decides by the windows of this process.
func (l *Limiter) spendLocally(ts []target, now time.Duration) (Decision, error) {
	if l.cfg.NoLocal {
		return Decision{}, fault.Unavailable("limits", time.Second, nil)
	}
	var left [maxSpends]int
	refused, one, all := l.locals.spendTargets(ts, int(l.nodes.Load()), now, left[:])
	if refused < 0 {
		return l.recordAllowed(ts, left[:], now, 2), nil
	}
	return l.recordRefused(ts[refused], now, denial{until: int64(now + one), reset: int64(now + all), remaining: left[refused]}, 2), nil
}

var sources = [3]string{SourceRedis, SourceMemory, SourceLocal}

// The indexes of sources.
const (
	sourceMemory = 1
	sourceLocal  = 2
)

// recordRefused makes a refusal and counts it; times are since l.started.
func (l *Limiter) recordRefused(t target, now time.Duration, d denial, source int) Decision {
	t.policy.refused[source].Add(1)
	return Decision{
		Policy: t.policy.name, Scope: t.rule.scope, Limit: t.rule.limit, Window: t.rule.window, Remaining: d.remaining, Message: t.rule.message,
		RetryAfter: ceilMilliseconds(time.Duration(d.until) - now), ResetAt: l.started.Add(time.Duration(d.reset)), Source: sources[source],
	}
}

// recordAllowed makes the decision for an event that is allowed, about the policy with the least
// left, and counts it.
func (l *Limiter) recordAllowed(ts []target, left []int, now time.Duration, source int) Decision {
	least := 0
	for i, t := range ts {
		t.policy.allowed[source].Add(1)
		if left[i] < left[least] {
			least = i
		}
	}
	t := ts[least]
	return Decision{
		Allowed: true, Policy: t.policy.name, Scope: t.rule.scope, Limit: t.rule.limit, Remaining: left[least], Window: t.rule.window,
		ResetAt: l.started.Add(now + t.rule.window), Source: sources[source],
	}
}
