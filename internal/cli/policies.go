package cli

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/throttle"
)

// LimitFlags say how often players may do things.
type LimitFlags struct {
	Limit           []string      `placeholder:"NAME[@ROLE]=N/WINDOW" help:"Override a policy (chat=20/10s), override it for players with a role (chat@vip=50/10s), or lift it (chat=off). The flag may be repeated."`
	LimitFallback   string        `default:"local" enum:"local,none" help:"While Redis is away, limits are kept in this process (local), or every event that has a limit is refused as UNAVAILABLE (none) (${enum})."`
	LimitTimeout    time.Duration `default:"40ms" help:"How long Redis may take to decide a limit before this node decides by its own memory. Raise it when Redis is far away."`
	LimitCloseAfter int           `default:"10" help:"Close a connection whose refusals by one limit within its window reach this multiple of the limit; 0 means never."`

	FilePolicies FilePolicies `kong:"-"` // of the file; the program sets them after it has parsed
}

// configuredPolicies returns the limits as configured: the defaults, over them the file's policies,
// over those what --limit says.
func (f *LimitFlags) configuredPolicies(dev bool) ([]throttle.Policy, error) {
	all, err := applyFile(throttle.Defaults(dev), f.FilePolicies)
	if err != nil {
		return nil, usage.Errorf("--config: policies: %w", err)
	}
	var overrides []throttle.Override
	for _, l := range f.Limit {
		o, err := throttle.ParseOverride(l)
		if err != nil {
			return nil, usage.Errorf("--limit: %w", err)
		}
		overrides = append(overrides, o)
	}
	if all, err = throttle.Apply(all, overrides); err != nil {
		return nil, usage.Errorf("--limit: %w", err)
	}
	return all, nil
}

// policyEvents returns the events that spend a policy of the file beside what their routes say.
func (f *LimitFlags) policyEvents() map[string][]string {
	events := map[string][]string{}
	for name, p := range f.FilePolicies {
		events[name] = p.Events
	}
	return events
}

// FilePolicies are the `policies` of the file, by name.
type FilePolicies map[string]filePolicy

// A filePolicy is one entry of `policies` in the file. What is left out is as it was.
type filePolicy struct {
	Limit   *int              `yaml:"limit"`
	Window  *time.Duration    `yaml:"window"`
	Scope   *throttle.Scope   `yaml:"scope"`
	Cost    *int              `yaml:"cost"`
	Message *string           `yaml:"message"` // of a refusal
	Roles   map[string]string `yaml:"roles"`   // role to N/WINDOW, or off
	Events  []string          `yaml:"events"`  // that spend it beside what they spend already
}

// readTable takes a table of the file apart; unknown fields are errors.
func readTable[T ~map[string]V, V any](found any) (table T, err error) {
	if found == nil {
		return nil, nil
	}
	raw, err := yaml.Marshal(found)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	err = d.Decode(&table)
	return table, err
}

// applyFile lays the file's policies over the defaults; names that these do not know are
// policies of their own, by user where no scope is given.
func applyFile(policies []throttle.Policy, file FilePolicies) ([]throttle.Policy, error) {
	out := slices.Clone(policies)
	for _, name := range slices.Sorted(maps.Keys(file)) {
		f := file[name]
		i := slices.IndexFunc(out, func(p throttle.Policy) bool { return p.Name == name })
		if i < 0 {
			i = len(out)
			out = append(out, throttle.Policy{Name: name, Scope: throttle.ByUser})
		}
		p := &out[i]
		p.Limit, p.Window = valueOrDefault(f.Limit, p.Limit), valueOrDefault(f.Window, p.Window)
		p.Scope, p.Cost = valueOrDefault(f.Scope, p.Scope), valueOrDefault(f.Cost, p.Cost)
		p.Message = valueOrDefault(f.Message, p.Message)
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

func valueOrDefault[T any](v *T, otherwise T) T {
	if v != nil {
		return *v
	}
	return otherwise
}
