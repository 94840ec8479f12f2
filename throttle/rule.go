package throttle

import (
	"slices"
	"sync/atomic"
	"time"
)

// A policy is a name, for as long as the limiter lives; the limits under that name may change.
type policy struct {
	name    string
	active  atomic.Pointer[activePolicy]
	refused [3]atomic.Uint64 // by source
	allowed [3]atomic.Uint64
}

// An activePolicy is a Policy in force, prepared for the hot path. It never changes.
type activePolicy struct {
	Policy
	base         *rule // nil: off
	roles        []roleRule
	highestLimit int           // the highest limit of all rules
	keep         time.Duration // how long admissions are kept
}

type roleRule struct {
	role string
	rule *rule // nil: off
}

// A rule decides about one event. A change makes a new rule, so its address identifies it.
type rule struct {
	scope   Scope
	limit   int
	window  time.Duration
	cost    int
	message string        // of a refusal
	keep    time.Duration // how long admissions are kept: the longest window of the policy, on any node
	args    []any         // of spend.lua, for this window alone
}

// newActivePolicy prepares a policy whose longest window on other nodes is others.
func newActivePolicy(p Policy, others time.Duration) *activePolicy {
	f := &activePolicy{Policy: p, highestLimit: p.Limit, keep: keptFor(p, others)}
	keep := f.keep
	for _, r := range p.Roles {
		f.highestLimit = max(f.highestLimit, r.Limit)
	}
	build := func(limit int, window time.Duration) *rule {
		if limit == 0 {
			return nil
		}
		r := &rule{scope: p.Scope, limit: limit, window: window, cost: max(1, p.Cost), message: p.Message, keep: keep}
		r.args = []any{limit, window.Milliseconds()}
		if r.isSpecial() {
			r.args = append(r.args, "", "", r.cost, keep.Milliseconds())
		}
		return r
	}
	f.base = build(p.Limit, p.Window)
	for _, r := range p.Roles {
		f.roles = append(f.roles, roleRule{r.Role, build(r.Limit, r.Window)})
	}
	return f
}

// isSpecial tells whether the script must be sent cost and keep.
func (r *rule) isSpecial() bool { return r.cost != 1 || r.keep != r.window }

// ruleForRoles returns the rule for a player with these roles, or nil when nothing limits the
// player.
func (f *activePolicy) ruleForRoles(roles []string) *rule {
	if len(f.roles) == 0 || len(roles) == 0 {
		return f.base
	}
	best, found := f.base, false
	for i := range f.roles {
		r := &f.roles[i]
		if !slices.Contains(roles, r.role) {
			continue
		}
		if r.rule == nil {
			return nil
		}
		if !found || r.rule.eventsPerSecond() > best.eventsPerSecond() {
			best, found = r.rule, true
		}
	}
	return best
}

// isSamePolicy tells whether p is the policy in force. Key functions cannot be compared, so a
// policy that has one is never the same.
func (f *activePolicy) isSamePolicy(p Policy) bool {
	return f.Name == p.Name && f.Limit == p.Limit && f.Window == p.Window && f.Scope == p.Scope && f.Cost == p.Cost && f.Message == p.Message &&
		slices.Equal(f.Roles, p.Roles) && f.Key == nil && p.Key == nil
}

func (r *rule) eventsPerSecond() float64 { return float64(r.limit) / r.window.Seconds() }

// limitPerNode is the limit of each of so many nodes that cannot ask each other.
func (r *rule) limitPerNode(nodes int) int { return max(r.cost, r.limit/max(1, nodes)) }

// A target is what an event spends from: a policy, the rule in it that counts, and the subject.
type target struct {
	policy  *policy
	rule    *rule
	subject string
}

func (t target) windowID() windowID { return windowID{t.policy, t.subject} }

// A windowID identifies a window.
type windowID struct {
	policy  *policy
	subject string
}
