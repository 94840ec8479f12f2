package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/operate"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// Limits is the command that shows and changes limits.
type Limits struct {
	Show  limitsShow  `cmd:"" help:"Show the limits in force, or who has spent of one."`
	Check limitsCheck `cmd:"" help:"Tell what a subject has left, and spend nothing; exits 1 when it would be refused."`
	Reset limitsReset `cmd:"" help:"Forget what a subject has spent, and lift a block."`
	Block limitsBlock `cmd:"" help:"Refuse everything of a subject for a time."`
	Set   limitsSet   `cmd:"" help:"Change limits on every node at once, without losing windows."`

	Top     limitsTop     `cmd:"" help:"Tell which policy refuses most, and whom."`
	History limitsHistory `cmd:"" help:"Tell who set which limit, when, from and to."`
}

// errWouldRefuse is the answer no.
var errWouldRefuse = errors.New("it would be refused")

// A limitsClient is Redis, and the limits in it as the gateways have them.
type limitsClient struct {
	*throttle.Limiter
	rdb redis.UniversalClient
}

// openLimiter opens Redis and the limits in it. The caller calls done at the end.
func openLimiter(ctx context.Context, f cli.RedisFlags, s cli.Streams) (l limitsClient, done func(), err error) {
	rdb, err := f.OpenRedis(ctx)
	if err != nil {
		return l, nil, err
	}
	limits, err := limiterOf(ctx, rdb, operatorOf(s))
	if err != nil {
		_ = rdb.Close()
		return l, nil, err
	}
	return limitsClient{limits, rdb}, func() { limits.Close(); _ = rdb.Close() }, nil
}

// limiterOf returns the limits in Redis. The caller closes them. by is who changes them.
func limiterOf(ctx context.Context, rdb redis.UniversalClient, by string) (*throttle.Limiter, error) {
	policies, err := throttle.Published(ctx, rdb)
	if err != nil {
		return nil, err
	}
	if policies == nil { // no gateway has run here yet
		policies = throttle.Defaults(false)
	}
	l, err := throttle.New(rdb, policies, throttle.Config{By: by})
	if err != nil {
		return nil, err
	}
	if err := l.Refresh(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// asWrongArgument marks an error about a name that the caller gave as wrong usage.
func asWrongArgument(err error) error {
	for _, e := range []error{throttle.ErrUnknownPolicy, throttle.ErrBadPolicy, throttle.ErrBadOverride, throttle.ErrBadLimit, throttle.ErrBadWindow, throttle.ErrNoSubject, throttle.ErrOff, throttle.ErrBadBlock} {
		if errors.Is(err, e) {
			return usage.Wrap(err)
		}
	}
	return err
}

// subjectOf returns the subject that the argument names under the policy. A session may be named by
// the digits of its hash.
func (l limitsClient) subjectOf(ctx context.Context, policy, id string) (throttle.Subject, error) {
	for _, p := range l.All() {
		if p.Name != policy {
			continue
		}
		if p.Scope == throttle.BySession && identity.IsSessionHash(id) {
			session, err := resolveSession(ctx, sessions.New(l.rdb, sessions.Config{}), id)
			if err != nil {
				return throttle.Subject{}, err
			}
			id = session.ID
		}
		return throttle.SubjectOf(p.Scope, id), nil
	}
	return throttle.SubjectOf(throttle.ByUser, id), nil // unknown or off: the limiter says so
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
	Reveal         bool   `help:"Show whole session ids, of a policy by session."`
	JSON           bool   `help:"Print JSON."`
}

// Run shows policies by name, or windows by subject.
func (c limitsShow) Run(ctx context.Context, s cli.Streams) error {
	l, done, err := openLimiter(ctx, c.RedisFlags, s)
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
type PolicyView = operate.PolicyView

func policyViewOf(p throttle.Policy, overrides []throttle.Override) PolicyView {
	return operate.ViewPolicy(p, overrides)
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
func (c limitsShow) printSpenders(ctx context.Context, l limitsClient, s cli.Streams) error {
	windows, err := l.Dump(ctx, c.Policy, c.Most)
	if err != nil {
		return asWrongArgument(err)
	}
	views := []WindowView{}
	for _, w := range windows {
		subject := w.Subject
		if w.Scope == throttle.BySession && !c.Reveal {
			subject = identity.SessionTag(subject)
		}
		views = append(views, windowViewOf(subject, w.Decision))
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
	l, done, err := openLimiter(ctx, c.RedisFlags, s)
	if err != nil {
		return err
	}
	defer done()
	sub, err := l.subjectOf(ctx, c.Policy, c.Subject)
	if err != nil {
		return err
	}
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
	JSON        bool `help:"Print JSON."`
}

// Run is done also when nothing was spent. As JSON it prints what the subject has left.
func (c limitsReset) Run(ctx context.Context, s cli.Streams) error {
	if err := checkID("subject", c.Subject); err != nil {
		return err
	}
	l, done, err := openLimiter(ctx, c.RedisFlags, s)
	if err != nil {
		return err
	}
	defer done()
	sub, err := l.subjectOf(ctx, c.Policy, c.Subject)
	if err != nil {
		return err
	}
	if err := l.Reset(ctx, c.Policy, sub); err != nil {
		return asWrongArgument(err)
	}
	recordAct(ctx, l.rdb, s, auditlog.Act{What: "limits reset", Target: shownSubject(sub), From: c.Policy})
	if !c.JSON {
		return nil
	}
	d, err := l.Peek(ctx, c.Policy, sub)
	if err != nil {
		return asWrongArgument(err)
	}
	return printJSON(s.Out, windowViewOf(c.Subject, d))
}

type limitsBlock struct {
	subjectArgs `embed:""`
	For         time.Duration `default:"10m" help:"Block for this long; 0 lifts the block."`
	JSON        bool          `help:"Print JSON."`
}

// Run prints until when the subject is blocked.
func (c limitsBlock) Run(ctx context.Context, s cli.Streams) error {
	if c.For < 0 {
		return usage.Errorf("--for must not be negative")
	}
	if err := checkID("subject", c.Subject); err != nil {
		return err
	}
	l, done, err := openLimiter(ctx, c.RedisFlags, s)
	if err != nil {
		return err
	}
	defer done()
	sub, err := l.subjectOf(ctx, c.Policy, c.Subject)
	if err != nil {
		return err
	}
	d, err := l.Block(ctx, c.Policy, sub, c.For)
	if err != nil {
		return asWrongArgument(err)
	}
	recordAct(ctx, l.rdb, s, auditlog.Act{What: "limits block", Target: shownSubject(sub), From: c.Policy, To: c.For.String()})
	v := windowViewOf(c.Subject, d)
	if c.JSON {
		return printJSON(s.Out, v)
	}
	return printWindows(s, []WindowView{v})
}

type limitsSet struct {
	cli.RedisFlags `embed:""`
	Rules          []string `arg:"" placeholder:"NAME[@ROLE]=N/WINDOW" help:"chat=20/10s, chat@vip=50/10s, chat=off; chat=default is what the gateways were configured with."`
	JSON           bool     `help:"Print JSON."`
}

// A LimitChange is a limit that a command has changed. "" is the same as for everybody.
type LimitChange struct {
	Policy string `json:"policy"` // NAME or NAME@ROLE
	From   string `json:"from"`
	To     string `json:"to"`
}

// Run changes all, or nothing when one of them is wrong.
func (c limitsSet) Run(ctx context.Context, s cli.Streams) error {
	l, done, err := openLimiter(ctx, c.RedisFlags, s)
	if err != nil {
		return err
	}
	defer done()
	changes, err := operate.ParseLimitChanges(l.Limiter, c.Rules)
	if err != nil {
		return asWrongArgument(err)
	}
	made := []LimitChange{}
	err = changes.Make(ctx, l.Limiter, func(name, from, to string) {
		made = append(made, LimitChange{Policy: name, From: from, To: to})
		recordAct(ctx, l.rdb, s, auditlog.Act{What: setLimit, Target: name, From: from, To: cmp.Or(to, "as for everybody")})
	})
	if err != nil {
		return asWrongArgument(err)
	}
	if c.JSON {
		return printJSON(s.Out, made)
	}
	return nil
}

// shownSubject returns what a subject is called in the audit log.
func shownSubject(s throttle.Subject) string {
	if s.Session != "" {
		return "session " + identity.SessionTag(s.Session)
	}
	return cmp.Or(s.User, s.IP, s.Conn)
}
