package throttle

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Scope says whose events are counted together.
type Scope string

// The scopes. ByIP counts an IPv6 address by its /64 prefix, which is what one customer is given.
const (
	ByUser       Scope = "user"
	BySession    Scope = "session"
	ByIP         Scope = "ip"
	ByConnection Scope = "connection"
	ByKey        Scope = "key"    // subjects are named by Policy.Key
	Global       Scope = "global" // the events of all players are counted together
)

// A Policy is a limit with a name.
type Policy struct {
	Name   string        // [a-z][a-z0-9-]*, at most 32 characters
	Limit  int           // at most MaxLimit; 0 is off
	Window time.Duration // whole milliseconds, at most MaxWindow
	Scope  Scope
	// Cost is how much of the limit one event takes; it is at most the limit. 0 is 1.
	Cost int
	// Roles replace limit and window for players with a role. For a player with several of these
	// roles the most generous rule counts: one that is off, else the one with the most events per
	// second.
	Roles []RoleRule
	// Message is what a refused player reads, at most MaxMessage bytes; "" is the message of
	// RATE_LIMITED.
	Message string
	// Key returns the subject's name, and "" when it has none. It is required for ByKey, and only
	// allowed there.
	Key func(Subject) string
}

// A RoleRule is the limit of players with a role. Limit 0 is off.
type RoleRule struct {
	Role   string
	Limit  int
	Window time.Duration
}

// The bounds of a policy.
const (
	MaxLimit   = 1_000_000
	MaxWindow  = 24 * time.Hour
	MaxMessage = 200 // bytes
	maxSubject = 512 // bytes
	// maxMixed is the highest limit of a policy whose rules have windows of different lengths,
	// because such windows are read whole.
	maxMixed = 10_000
)

// Errors of configuration.
var (
	ErrUnknownPolicy = errors.New("throttle: unknown policy")
	ErrBadPolicy     = errors.New("throttle: bad policy")
	ErrBadLimit      = fmt.Errorf("throttle: a limit is a whole number from 1 to %d", MaxLimit)
	ErrBadWindow     = fmt.Errorf("throttle: a window is a duration of whole milliseconds from 1ms to %s", MaxWindow)
)

// Defaults returns the policies of the game. With dev, login is 60 per minute instead of 5.
//
// events, reads, rooms and moderation have windows of three seconds. A rate of n a second is then a
// limit of 3n: a client may do three seconds' worth at once, as when it starts or comes back, and
// no more than n a second for long. 100 events a second are more than a game at 60 frames a second
// sends; 20 reads a second are a page with every list that there is, opened every second; nobody
// goes through more than five doors a second.
func Defaults(dev bool) []Policy {
	login := 5
	if dev {
		login = 60
	}
	return []Policy{
		{Name: "combat", Limit: 10, Window: 5 * time.Second, Scope: ByUser},
		{Name: "chat", Limit: 10, Window: 10 * time.Second, Scope: ByUser},
		{Name: "login", Limit: login, Window: time.Minute, Scope: ByIP},
		{Name: "api", Limit: 50, Window: time.Minute, Scope: ByIP},
		{Name: "bearers", Limit: 60, Window: time.Minute, Scope: ByIP},
		{Name: "connect", Limit: 20, Window: 10 * time.Second, Scope: ByIP},
		{Name: "trade", Limit: 10, Window: 10 * time.Second, Scope: ByUser},
		{Name: "errors", Limit: 20, Window: 5 * time.Second, Scope: ByConnection},
		{Name: "events", Limit: 300, Window: 3 * time.Second, Scope: ByConnection},
		{Name: "reads", Limit: 60, Window: 3 * time.Second, Scope: ByUser},
		{Name: "rooms", Limit: 15, Window: 3 * time.Second, Scope: ByUser},
		{Name: "moderation", Limit: 15, Window: 3 * time.Second, Scope: ByUser},
	}
}

var (
	policyName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	roleName   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	scopes     = []Scope{ByUser, BySession, ByIP, ByConnection, ByKey, Global}
)

func (p Policy) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %w", ErrBadPolicy, p.Name, fmt.Errorf(format, args...))
	}
	if !policyName.MatchString(p.Name) {
		return fmt.Errorf("%w: name %q", ErrBadPolicy, p.Name)
	}
	switch {
	case !slices.Contains(scopes, p.Scope):
		return bad("scope %q", p.Scope)
	case (p.Scope == ByKey) != (p.Key != nil):
		return bad("scope %q and the key function do not fit", p.Scope)
	case p.Cost < 0:
		return bad("cost %d", p.Cost)
	case len(p.Message) > MaxMessage || !utf8.ValidString(p.Message) || strings.ContainsFunc(p.Message, unicode.IsControl):
		return bad("a message is at most %d bytes of UTF-8 without control characters", MaxMessage)
	}
	rules := append([]RoleRule{{"", p.Limit, p.Window}}, p.Roles...)
	var most int
	var window time.Duration
	mixed := false
	for i, r := range rules {
		if r.Limit > 0 {
			most = max(most, r.Limit)
			mixed = mixed || window > 0 && r.Window != window
			window = r.Window
		}
		switch {
		case i > 0 && !roleName.MatchString(r.Role):
			return bad("role %q", r.Role)
		case slices.ContainsFunc(rules[:i], func(o RoleRule) bool { return o.Role == r.Role }):
			return bad("role %q is there twice", r.Role)
		case r.Limit < 0 || r.Limit > MaxLimit:
			return bad("%w", ErrBadLimit)
		case r.Limit > 0 && !isValidWindow(r.Window):
			return bad("%w", ErrBadWindow)
		case r.Limit > 0 && r.Limit < p.Cost:
			return bad("one event costs %d, more than the limit of %d", p.Cost, r.Limit)
		}
	}
	if mixed && most > maxMixed {
		return bad("with windows of different lengths a limit is at most %d", maxMixed)
	}
	return nil
}

func isValidWindow(d time.Duration) bool {
	return d >= time.Millisecond && d <= MaxWindow && d%time.Millisecond == 0
}

// MarshalJSON writes {"name", "limit", "windowMs", "scope"}, which clients are sent, and "cost"
// where it is not 1.
func (p Policy) MarshalJSON() ([]byte, error) {
	if p.Cost == 1 {
		p.Cost = 0
	}
	return json.Marshal(struct {
		Name     string `json:"name"`
		Limit    int    `json:"limit"`
		WindowMs int64  `json:"windowMs"`
		Scope    Scope  `json:"scope"`
		Cost     int    `json:"cost,omitempty"`
	}{p.Name, p.Limit, p.Window.Milliseconds(), p.Scope, p.Cost})
}
