package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/throttle"
)

// limitSettings say how often players may do things.
type limitSettings struct {
	Limit           []string `placeholder:"NAME[@ROLE]=N/WINDOW" help:"Override a policy (chat=20/10s), for players with a role (chat@vip=50/10s), or lift it (chat=off); may be repeated."`
	LimitFallback   string   `default:"local" enum:"local,none" help:"While Redis is gone local windows limit; with none, what is limited is UNAVAILABLE (${enum})."`
	LimitCloseAfter int      `default:"10" help:"How many times a limit may be refused to one connection within a window, before it is closed; 0 is never."`

	filePolicies map[string]filePolicy // of the file
}

// policies are the limits as configured: the defaults, over them the file's policies, over
// those what --limit says.
func (c *serveCmd) policies() ([]throttle.Policy, error) {
	all, err := withFile(throttle.Defaults(c.Dev), c.filePolicies)
	if err != nil {
		return nil, usageError{fmt.Errorf("--config: policies: %w", err)}
	}
	var overrides []throttle.Override
	for _, l := range c.Limit {
		o, err := throttle.ParseOverride(l)
		if err != nil {
			return nil, usageError{fmt.Errorf("--limit: %w", err)}
		}
		overrides = append(overrides, o)
	}
	if all, err = throttle.Apply(all, overrides); err != nil {
		return nil, usageError{fmt.Errorf("--limit: %w", err)}
	}
	return all, nil
}

// closeAfter is the setting as the gateway has it.
func (c *limitSettings) closeAfter() int {
	if c.LimitCloseAfter == 0 {
		return -1
	}
	return c.LimitCloseAfter
}

// A filePolicy is one entry of `policies` in the file. What is left out is as it was.
type filePolicy struct {
	Limit  *int              `yaml:"limit"`
	Window *time.Duration    `yaml:"window"`
	Scope  *throttle.Scope   `yaml:"scope"`
	Cost   *int              `yaml:"cost"`
	Roles  map[string]string `yaml:"roles"`  // role to N/WINDOW, or off
	Events []string          `yaml:"events"` // that spend it beside what they spend already
}

// readPolicies takes the file's `policies` apart; unknown fields are errors.
func readPolicies(found any) (map[string]filePolicy, error) {
	if found == nil {
		return nil, nil
	}
	raw, err := yaml.Marshal(found)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	var policies map[string]filePolicy
	return policies, d.Decode(&policies)
}

// withFile lays the file's policies over the defaults; names that these do not know are
// policies of their own, by user where no scope is given.
func withFile(policies []throttle.Policy, file map[string]filePolicy) ([]throttle.Policy, error) {
	out := slices.Clone(policies)
	for _, name := range slices.Sorted(maps.Keys(file)) {
		f := file[name]
		i := slices.IndexFunc(out, func(p throttle.Policy) bool { return p.Name == name })
		if i < 0 {
			i = len(out)
			out = append(out, throttle.Policy{Name: name, Scope: throttle.ByUser})
		}
		p := &out[i]
		p.Limit, p.Window = given(f.Limit, p.Limit), given(f.Window, p.Window)
		p.Scope, p.Cost = given(f.Scope, p.Scope), given(f.Cost, p.Cost)
		for _, role := range slices.Sorted(maps.Keys(f.Roles)) {
			limit, window, err := throttle.ParseRule(f.Roles[role])
			if err != nil {
				return nil, fmt.Errorf("%s: role %s: %w", name, role, err)
			}
			p.Roles = append(p.Roles, throttle.RoleRule{Role: role, Limit: limit, Window: window})
		}
	}
	return out, nil
}

func given[T any](v *T, otherwise T) T {
	if v != nil {
		return *v
	}
	return otherwise
}

// attach makes events spend what the file says that they do.
func attach(routes []event.Route, file map[string]filePolicy) error {
	for name, f := range file {
		for _, e := range f.Events {
			i := slices.IndexFunc(routes, func(r event.Route) bool { return r.Name == e })
			if i < 0 {
				return usage("--config: policies: %s: there is no event %q", name, e)
			}
			routes[i] = routes[i].Limit(name)
		}
	}
	return nil
}
