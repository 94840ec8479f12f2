package ops

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/throttle"
)

// Limits is the command that shows and changes limits.
type Limits struct {
	Show  limitsShow  `cmd:"" help:"Show the limits in force, or who has spent of one."`
	Check limitsCheck `cmd:"" help:"Tell what a subject has left, and spend nothing; exits 1 when it would be refused."`
	Reset limitsReset `cmd:"" help:"Forget what a subject has spent, and lift a block."`
	Block limitsBlock `cmd:"" help:"Refuse everything of a subject for a time."`
	Set   limitsSet   `cmd:"" help:"Change limits on every node at once, without losing windows."`
}

// errWouldRefuse is the answer no.
var errWouldRefuse = errors.New("it would be refused")

// openLimiter opens Redis and the limits in it, as the gateways have them. The caller calls done at
// the end.
func openLimiter(ctx context.Context, f cli.RedisFlags) (l *throttle.Limiter, done func(), err error) {
	rdb, err := f.OpenRedis(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = rdb.Close()
		}
	}()
	policies, err := throttle.Published(ctx, rdb)
	if err != nil {
		return nil, nil, err
	}
	if policies == nil { // no gateway has run here yet
		policies = throttle.Defaults(false)
	}
	l, err = throttle.New(rdb, policies, throttle.Config{})
	if err != nil {
		return nil, nil, err
	}
	if err := l.Refresh(ctx); err != nil {
		return nil, nil, err
	}
	return l, func() { l.Close(); _ = rdb.Close() }, nil
}

// asWrongArgument marks an error about a name that the caller gave as wrong usage.
func asWrongArgument(err error) error {
	for _, e := range []error{throttle.ErrUnknownPolicy, throttle.ErrBadPolicy, throttle.ErrNoSubject, throttle.ErrOff, throttle.ErrBadBlock} {
		if errors.Is(err, e) {
			return usage.Wrap(err)
		}
	}
	return err
}

// subjectOf returns the subject that the argument names under the policy.
func subjectOf(l *throttle.Limiter, policy, id string) throttle.Subject {
	for _, p := range l.All() {
		if p.Name == policy {
			return throttle.SubjectOf(p.Scope, id)
		}
	}
	return throttle.SubjectOf(throttle.ByUser, id) // unknown or off: the limiter says so
}

// subjectArgs name a window.
type subjectArgs struct {
	cli.RedisFlags `embed:""`
	Policy         string `arg:"" help:"The policy, such as chat."`
	Subject        string `arg:"" help:"The user id, address, session id or connection id, as the policy counts."`
}

type limitsShow struct {
	cli.RedisFlags `embed:""`
	Policy         string `arg:"" optional:"" help:"Show who has spent of this policy."`
	Most           int    `default:"1000" help:"Show at most this many subjects."`
	JSON           bool   `help:"Print JSON."`
}

// Run shows policies by name, or windows by subject.
func (c limitsShow) Run(ctx context.Context, s cli.Streams) error {
	l, done, err := openLimiter(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	if c.Policy != "" {
		return c.printSpenders(ctx, l, s)
	}
	var views []PolicyView
	for _, p := range l.All() {
		views = append(views, policyViewOf(p, l.Overrides()))
	}
	if c.JSON {
		return printJSON(s.Out, views)
	}
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POLICY\tLIMIT\tWINDOW\tBY\tCOST\tROLES\tSET AT RUN TIME")
	for _, v := range views {
		limit, window := "off", "-"
		if v.Limit > 0 {
			limit, window = strconv.Itoa(v.Limit), (time.Duration(v.WindowMs) * time.Millisecond).String()
		}
		writeTableRow(t, v.Name, limit, window, v.Scope,
			strconv.Itoa(v.Cost), strings.Join(v.Roles, " "), strings.Join(v.Overrides, " "))
	}
	return t.Flush()
}

// A PolicyView is a policy as the command line shows it.
type PolicyView struct {
	Name      string   `json:"name"`
	Limit     int      `json:"limit"` // 0 is off
	WindowMs  int64    `json:"windowMs"`
	Scope     string   `json:"scope"`
	Cost      int      `json:"cost"`
	Roles     []string `json:"roles"`     // role=N/WINDOW
	Overrides []string `json:"overrides"` // set at run time, as `limits set` takes them
}

func policyViewOf(p throttle.Policy, overrides []throttle.Override) PolicyView {
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

// A WindowView is what a subject has left. Times are Unix ms.
type WindowView struct {
	Policy       string `json:"policy"`
	Subject      string `json:"subject"`
	Allowed      bool   `json:"allowed"`
	Limit        int    `json:"limit"`
	Remaining    int    `json:"remaining"`
	RetryAfterMs int64  `json:"retryAfterMs"`
	ResetAt      int64  `json:"resetAt"`
	BlockedUntil int64  `json:"blockedUntil,omitzero"`
}

func windowViewOf(subject string, d throttle.Decision) WindowView {
	v := WindowView{d.Policy, subject, d.Allowed, d.Limit, d.Remaining, d.RetryAfter.Milliseconds(), d.ResetAt.UnixMilli(), 0}
	if !d.BlockedUntil.IsZero() {
		v.BlockedUntil = d.BlockedUntil.UnixMilli()
	}
	return v
}

// printSpenders shows who has spent of the policy.
func (c limitsShow) printSpenders(ctx context.Context, l *throttle.Limiter, s cli.Streams) error {
	windows, err := l.Dump(ctx, c.Policy, c.Most)
	if err != nil {
		return asWrongArgument(err)
	}
	views := []WindowView{}
	for _, w := range windows {
		views = append(views, windowViewOf(w.Subject, w.Decision))
	}
	if c.JSON {
		return printJSON(s.Out, views)
	}
	return printWindows(s, views)
}

func printWindows(s cli.Streams, views []WindowView) error {
	t := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POLICY\tSUBJECT\tREMAINING\tRETRY AFTER\tALL BACK IN\tBLOCKED UNTIL")
	in := func(ms int64) string { return (time.Duration(max(0, ms)) * time.Millisecond).String() }
	for _, v := range views {
		blocked := "-"
		if v.BlockedUntil > 0 {
			blocked = time.UnixMilli(v.BlockedUntil).UTC().Format(time.RFC3339)
		}
		writeTableRow(t, v.Policy, v.Subject, fmt.Sprintf("%d of %d", v.Remaining, v.Limit), in(v.RetryAfterMs), in(v.ResetAt-time.Now().UnixMilli()), blocked)
	}
	return t.Flush()
}

type limitsCheck struct {
	subjectArgs `embed:""`
	Role        []string `help:"The player has this role. The flag may be repeated."`
	JSON        bool     `help:"Print JSON."`
}

// Run exits 1 when an event would be refused now.
func (c limitsCheck) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("subject", c.Subject); err != nil {
		return err
	}
	for _, role := range c.Role {
		if err := checkID("role", role); err != nil {
			return err
		}
	}
	l, done, err := openLimiter(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	sub := subjectOf(l, c.Policy, c.Subject)
	sub.Roles = c.Role
	d, err := l.Peek(ctx, c.Policy, sub)
	if err != nil {
		return asWrongArgument(err)
	}
	v := windowViewOf(c.Subject, d)
	if c.JSON {
		err = printJSON(s.Out, v)
	} else {
		err = printWindows(s, []WindowView{v})
	}
	if err == nil && !d.Allowed {
		err = errWouldRefuse
	}
	return err
}

type limitsReset struct {
	subjectArgs `embed:""`
}

// Run is done also when nothing was spent.
func (c limitsReset) Run(ctx context.Context) error {
	if err := checkID("subject", c.Subject); err != nil {
		return err
	}
	l, done, err := openLimiter(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	return asWrongArgument(l.Reset(ctx, c.Policy, subjectOf(l, c.Policy, c.Subject)))
}

type limitsBlock struct {
	subjectArgs `embed:""`
	For         time.Duration `default:"10m" help:"Block for this long; 0 lifts the block."`
}

// Run prints until when the subject is blocked.
func (c limitsBlock) Run(ctx context.Context, s cli.Streams) error {
	if c.For < 0 {
		return usage.Errorf("--for must not be negative")
	}
	if err := checkID("subject", c.Subject); err != nil {
		return err
	}
	l, done, err := openLimiter(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	d, err := l.Block(ctx, c.Policy, subjectOf(l, c.Policy, c.Subject), c.For)
	if err != nil {
		return asWrongArgument(err)
	}
	return printWindows(s, []WindowView{windowViewOf(c.Subject, d)})
}

type limitsSet struct {
	cli.RedisFlags `embed:""`
	Rules          []string `arg:"" placeholder:"NAME[@ROLE]=N/WINDOW" help:"chat=20/10s, chat@vip=50/10s, chat=off; chat=default is what the gateways were configured with."`
}

// Run changes all, or nothing when one of them is wrong.
func (c limitsSet) Run(ctx context.Context) error {
	l, done, err := openLimiter(ctx, c.RedisFlags)
	if err != nil {
		return err
	}
	defer done()
	var set []throttle.Override
	var restore []string
	for _, r := range c.Rules {
		if name, ok := strings.CutSuffix(r, "=default"); ok {
			restore = append(restore, name)
			continue
		}
		o, err := throttle.ParseOverride(r)
		if err != nil {
			return usage.Wrap(err)
		}
		set = append(set, o)
	}
	if err := l.CheckOverrides(set); err != nil {
		return asWrongArgument(err)
	}
	for _, name := range restore {
		if _, err := l.Restore(ctx, name); err != nil {
			return err
		}
	}
	for _, o := range set {
		if err := l.Override(ctx, o); err != nil {
			return asWrongArgument(err)
		}
	}
	return nil
}
