package operate

import (
	"context"
	"strings"

	"github.com/aeturnis/realtime/throttle"
)

// PolicyView is a policy as operators and other programs see it.
type PolicyView struct {
	Name      string   `json:"name"`
	Limit     int      `json:"limit"` // 0 is off
	WindowMs  int64    `json:"windowMs"`
	Scope     string   `json:"scope"` // what is counted by: user, session, ip, connection or global
	Cost      int      `json:"cost"`
	Roles     []string `json:"roles"`     // role=N/WINDOW
	Overrides []string `json:"overrides"` // set at run time, as `limits set` takes them
}

// ViewPolicy returns what is shown of a policy.
func ViewPolicy(p throttle.Policy, overrides []throttle.Override) PolicyView {
	v := PolicyView{p.Name, p.Limit, p.Window.Milliseconds(), string(p.Scope), max(1, p.Cost), []string{}, []string{}}
	for _, r := range p.Roles {
		rule, _ := strings.CutPrefix(throttle.Override{Limit: r.Limit, Window: r.Window}.String(), "=")
		v.Roles = append(v.Roles, r.Role+"="+rule)
	}
	for _, o := range overrides {
		if o.Name == p.Name {
			v.Overrides = append(v.Overrides, o.String())
		}
	}
	return v
}

// LimitChanges are rules that are to hold: NAME[@ROLE]=N/WINDOW, =off or =default.
type LimitChanges struct {
	set     []throttle.Override
	restore []string
}

// ParseLimitChanges reads and checks all rules, so that all can be made, or none. Errors: those of
// package throttle.
func ParseLimitChanges(l *throttle.Limiter, rules []string) (changes LimitChanges, err error) {
	for _, r := range rules {
		if name, ok := strings.CutSuffix(r, "=default"); ok {
			if _, err := l.Rule(name); err != nil {
				return changes, err
			}
			changes.restore = append(changes.restore, name)
			continue
		}
		o, err := throttle.ParseOverride(r)
		if err != nil {
			return changes, err
		}
		changes.set = append(changes.set, o)
	}
	return changes, l.CheckOverrides(changes.set)
}

// Make makes the changes, those that set rules all at once, and calls changed for each: from is the
// rule before, to the one that holds now, "" for a role without one of its own.
func (c LimitChanges) Make(ctx context.Context, l *throttle.Limiter, changed func(name, from, to string)) error {
	change := func(names []string, do func() error) error {
		before := make([]string, len(names))
		for i, name := range names {
			var err error
			if before[i], err = l.Rule(name); err != nil {
				return err
			}
		}
		if err := do(); err != nil {
			return err
		}
		for i, name := range names {
			to, err := l.Rule(name)
			if err != nil {
				return err
			}
			changed(name, before[i], to)
		}
		return nil
	}
	for _, name := range c.restore {
		if err := change([]string{name}, func() error { _, err := l.Restore(ctx, name); return err }); err != nil {
			return err
		}
	}
	var names []string
	for _, o := range c.set {
		name, _, _ := strings.Cut(o.String(), "=")
		names = append(names, name)
	}
	return change(names, func() error { return l.Override(ctx, c.set...) })
}
