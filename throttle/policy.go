package throttle

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Scope says whose budget it is.
type Scope string

// The scopes. By address, IPv6 counts by its /64 prefix, which is what one customer is given.
const (
	ByUser       Scope = "user"
	BySession    Scope = "session"
	ByIP         Scope = "ip"
	ByConnection Scope = "connection"
)

// A Policy is a limit with a name.
type Policy struct {
	Name   string        // [a-z][a-z0-9-]*, at most 32
	Limit  int           // at most MaxLimit; 0 is off
	Window time.Duration // whole milliseconds, at most MaxWindow
	Scope  Scope
}

// What a policy may be.
const (
	MaxLimit   = 1_000_000
	MaxWindow  = 24 * time.Hour
	maxSubject = 512 // bytes
)

// Errors of configuration.
var (
	ErrBadOverride   = errors.New("throttle: want NAME=LIMIT/WINDOW or NAME=off")
	ErrUnknownPolicy = errors.New("throttle: unknown policy")
	ErrBadPolicy     = errors.New("throttle: bad policy")
	ErrBadLimit      = fmt.Errorf("throttle: a limit is a whole number from 1 to %d", MaxLimit)
	ErrBadWindow     = fmt.Errorf("throttle: a window is a duration of whole milliseconds from 1ms to %s", MaxWindow)
)

// Defaults are the policies of the game. dev lifts login to 60 per minute.
func Defaults(dev bool) []Policy {
	login := 5
	if dev {
		login = 60
	}
	return []Policy{
		{"combat", 10, 5 * time.Second, ByUser},
		{"chat", 10, 10 * time.Second, ByUser},
		{"login", login, time.Minute, ByIP},
		{"api", 50, time.Minute, ByIP},
		{"connect", 20, 10 * time.Second, ByIP},
		{"trade", 10, 10 * time.Second, ByUser},
	}
}

var policyName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (p Policy) validate() error {
	switch {
	case !policyName.MatchString(p.Name):
		return fmt.Errorf("%w: name %q", ErrBadPolicy, p.Name)
	case !slices.Contains([]Scope{ByUser, BySession, ByIP, ByConnection}, p.Scope):
		return fmt.Errorf("%w: %s: scope %q", ErrBadPolicy, p.Name, p.Scope)
	case p.Limit < 0 || p.Limit > MaxLimit:
		return fmt.Errorf("%w: %s: %w", ErrBadPolicy, p.Name, ErrBadLimit)
	case p.Limit > 0 && !goodWindow(p.Window):
		return fmt.Errorf("%w: %s: %w", ErrBadPolicy, p.Name, ErrBadWindow)
	}
	return nil
}

func goodWindow(d time.Duration) bool {
	return d >= time.Millisecond && d <= MaxWindow && d%time.Millisecond == 0
}

// MarshalJSON writes {"name", "limit", "windowMs", "scope"}, as clients are told.
func (p Policy) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name     string `json:"name"`
		Limit    int    `json:"limit"`
		WindowMs int64  `json:"windowMs"`
		Scope    Scope  `json:"scope"`
	}{p.Name, p.Limit, p.Window.Milliseconds(), p.Scope})
}

// An Override replaces the limit and window of a policy. Limit 0 lifts it.
type Override struct {
	Name   string
	Limit  int
	Window time.Duration
}

// ParseOverride reads "chat=2000/1s" or "chat=off". Errors: ErrBadOverride, ErrBadLimit,
// ErrBadWindow.
func ParseOverride(s string) (Override, error) {
	name, rule, ok := strings.Cut(s, "=")
	if !ok || !policyName.MatchString(name) {
		return Override{}, fmt.Errorf("%q: %w", s, ErrBadOverride)
	}
	if rule == "off" {
		return Override{Name: name}, nil
	}
	count, window, ok := strings.Cut(rule, "/")
	if !ok {
		return Override{}, fmt.Errorf("%q: %w", s, ErrBadOverride)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > MaxLimit {
		return Override{}, fmt.Errorf("%q: %w", s, ErrBadLimit)
	}
	d, err := time.ParseDuration(window)
	if err != nil || !goodWindow(d) {
		return Override{}, fmt.Errorf("%q: %w", s, ErrBadWindow)
	}
	return Override{name, n, d}, nil
}

// Apply returns the policies with the overrides in force; a later override wins. It fails
// with ErrUnknownPolicy, and says which there are.
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
		out[i].Limit = o.Limit
		if o.Limit > 0 {
			out[i].Window = o.Window
		}
	}
	return out, nil
}

// A Subject is who spends. A policy needs only the field of its scope.
type Subject struct{ User, Session, IP, Conn string }

// ErrNoSubject is returned when the field that a policy's scope needs is empty or too long:
// a mistake of the caller's, never a verdict.
var ErrNoSubject = errors.New("throttle: no usable subject")

func (s *Subject) of(p *policy) (string, error) {
	var v string
	switch p.Scope {
	case ByUser:
		v = s.User
	case BySession:
		v = s.Session
	case ByConnection:
		v = s.Conn
	case ByIP:
		v = address(s.IP)
	}
	if v == "" || len(v) > maxSubject {
		return "", fmt.Errorf("%w: policy %s is by %s", ErrNoSubject, p.Name, p.Scope)
	}
	return v, nil
}

// address folds an IPv6 address to its /64; what is no IPv6 address stays as it is.
func address(s string) string {
	if strings.IndexByte(s, ':') < 0 {
		return s
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return s
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return s
	}
	return p.String()
}
