package throttle

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrBadOverride is returned for a text that is no override.
var ErrBadOverride = errors.New("throttle: want NAME[@ROLE]=LIMIT/WINDOW or NAME[@ROLE]=off")

// An Override replaces the limit and window of a policy, or of a role in it. With limit 0 there is
// no limit.
type Override struct {
	Name   string
	Role   string // "" is the base
	Limit  int
	Window time.Duration
}

// ParseOverride reads "chat=2000/1s", "chat=off" or "chat@vip=50/10s". Errors: ErrBadOverride,
// ErrBadLimit, ErrBadWindow.
func ParseOverride(s string) (Override, error) {
	target, text, ok := strings.Cut(s, "=")
	if !ok {
		return Override{}, fmt.Errorf("%q: %w", s, ErrBadOverride)
	}
	name, role, forRole := strings.Cut(target, "@")
	if !policyName.MatchString(name) || forRole && !roleName.MatchString(role) {
		return Override{}, fmt.Errorf("%q: %w", s, ErrBadOverride)
	}
	limit, window, err := ParseRule(text)
	if err != nil {
		return Override{}, fmt.Errorf("%q: %w", s, err)
	}
	return Override{name, role, limit, window}, nil
}

// ParseRule reads "2000/1s", or "off", which is a limit of 0. Errors: as ParseOverride.
func ParseRule(text string) (limit int, window time.Duration, err error) {
	if text == "off" {
		return 0, 0, nil
	}
	count, length, ok := strings.Cut(text, "/")
	if !ok {
		return 0, 0, ErrBadOverride
	}
	limit, err = strconv.Atoi(count)
	if err != nil || limit < 1 || limit > MaxLimit {
		return 0, 0, ErrBadLimit
	}
	window, err = time.ParseDuration(length)
	if err != nil || !isValidWindow(window) {
		return 0, 0, ErrBadWindow
	}
	return limit, window, nil
}

// fieldName is what stands before the "=" of an override.
func (o Override) fieldName() string {
	if o.Role == "" {
		return o.Name
	}
	return o.Name + "@" + o.Role
}

// ruleText is what stands behind the "=" of an override.
func (o Override) ruleText() string {
	if o.Limit == 0 {
		return "off"
	}
	return fmt.Sprintf("%d/%s", o.Limit, o.Window)
}

// String returns the text that ParseOverride reads.
func (o Override) String() string { return o.fieldName() + "=" + o.ruleText() }

// Apply returns the policies with the overrides in force; a later override wins. Its error is
// ErrUnknownPolicy, and lists the known ones.
func Apply(policies []Policy, overrides []Override) ([]Policy, error) {
	out := slices.Clone(policies)
	for _, o := range overrides {
		i := slices.IndexFunc(out, func(p Policy) bool { return p.Name == o.Name })
		if i < 0 {
			names := make([]string, len(out))
			for j, p := range out {
				names[j] = p.Name
			}
			slices.Sort(names)
			return nil, fmt.Errorf("%w %q: there are %s", ErrUnknownPolicy, o.Name, strings.Join(names, ", "))
		}
		out[i].applyOverride(o)
	}
	return out, nil
}

func (p *Policy) applyOverride(o Override) {
	if o.Role == "" {
		p.Limit = o.Limit
		if o.Limit > 0 {
			p.Window = o.Window
		}
		return
	}
	p.Roles = slices.Clone(p.Roles)
	r := RoleRule{o.Role, o.Limit, o.Window}
	if i := slices.IndexFunc(p.Roles, func(r RoleRule) bool { return r.Role == o.Role }); i >= 0 {
		p.Roles[i] = r
	} else {
		p.Roles = append(p.Roles, r)
	}
}
