package throttle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Counts say how often a policy has decided in this process.
type Counts struct {
	Policy  string
	Scope   Scope
	Allowed uint64
	Refused uint64
}

// Counts returns the counts of all policies, by name.
func (l *Limiter) Counts() []Counts {
	var all []Counts
	for _, p := range *l.table.Load() {
		c := Counts{Policy: p.name, Scope: p.active.Load().Scope}
		for i := range sources {
			c.Allowed += p.allowed[i].Load()
			c.Refused += p.refused[i].Load()
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Counts) int { return strings.Compare(a.Policy, b.Policy) })
	return all
}

// A DeniedSubject is one that a policy refuses now, as far as this process knows.
type DeniedSubject struct {
	Policy  string
	Subject string
	For     time.Duration // until the next event may be admitted
}

// Denied returns subjects that are refused now, those that must wait longest first: at most most.
func (l *Limiter) Denied(most int) []DeniedSubject {
	now := int64(l.clock())
	var all []DeniedSubject
	for i := range l.denials.shards {
		s := &l.denials.shards[i]
		s.mu.Lock()
		for at, d := range s.denials {
			if d.until > now {
				all = append(all, DeniedSubject{at.policy.name, at.subject, time.Duration(d.until - now)})
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b DeniedSubject) int {
		return cmp.Or(cmp.Compare(b.For, a.For), strings.Compare(a.Policy, b.Policy), strings.Compare(a.Subject, b.Subject))
	})
	return all[:min(len(all), max(0, most))]
}

// Rule returns the rule in force for NAME or NAME@ROLE, as ParseOverride takes it behind the "=";
// "" for a role that has no rule of its own. Error: ErrUnknownPolicy.
func (l *Limiter) Rule(field string) (string, error) {
	name, role, _ := strings.Cut(field, "@")
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.current {
		if p.Name != name {
			continue
		}
		if role == "" {
			return Override{Limit: p.Limit, Window: p.Window}.ruleText(), nil
		}
		for _, r := range p.Roles {
			if r.Role == role {
				return Override{Limit: r.Limit, Window: r.Window}.ruleText(), nil
			}
		}
		return "", nil
	}
	return "", fmt.Errorf("%w %q", ErrUnknownPolicy, name)
}

// A PolicyChange is a policy that is not in force any more as it was.
type PolicyChange struct {
	Policy string
	From   string // all its rules, such as "10/10s by user"; "" for a new one
	To     string // "" for one that was removed
	By     string // who changed it at run time, as Config.By of that process says; "" where nobody did
}

// changesSince returns what has changed since the policies were as before. l.mu is held.
func (l *Limiter) changesSince(before []Policy, by string) (changes []PolicyChange) {
	rules := map[string]string{}
	for _, p := range before {
		rules[p.Name] = p.rulesText()
	}
	for _, p := range l.current {
		if now := p.rulesText(); rules[p.Name] != now {
			changes = append(changes, PolicyChange{p.Name, rules[p.Name], now, by})
		}
		delete(rules, p.Name)
	}
	for name, was := range rules {
		changes = append(changes, PolicyChange{Policy: name, From: was, By: by})
	}
	slices.SortFunc(changes, func(a, b PolicyChange) int { return strings.Compare(a.Policy, b.Policy) })
	return changes
}

// Rules returns all rules of the policy as one text, by which two policies can be compared: such as
// "10/10s by user vip=50/10s".
func (p Policy) Rules() string { return p.rulesText() }
