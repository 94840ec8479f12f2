package gateway

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/once/record"
)

// A Subject is what a limit may count by: a user, a session, an address or a connection.
type Subject struct {
	User, Session, IP, Conn string
	Roles                   []string // shared with other goroutines: must not be changed
}

// A Verdict is what a Limiter says about one event.
type Verdict struct {
	Allowed bool
	// Known says that this process remembered the refusal, so that the store was not asked.
	Known bool
	// Limit describes the policy that refuses, or the one with the least left. It is empty when
	// nothing limits the event.
	fault.Limit
}

// A Limiter decides whether a player may do something once more.
type Limiter interface {
	// Spend charges all policies, or none, and answers within its own time budget. It never
	// refuses because its store failed: an error says why it can not judge.
	Spend(ctx context.Context, policies []string, s Subject) (Verdict, error)
	// SpendOnce is Spend for an event that is done once: it looks at the event's record first, and
	// claims it when the event is allowed. When the record stands in the way, it charges nothing
	// and the Verdict is empty. found is NotLooked when the store did not look.
	SpendOnce(ctx context.Context, policies []string, s Subject, look record.Look) (v Verdict, found record.Found, err error)
	// OpenConnection returns what counts every event of a new connection; nil counts none.
	OpenConnection() EventWindow
	// Describe returns the payload of `limits`, {policies: […]}, for a player with these roles, as
	// JSON, which stays as it is.
	Describe(roles []string) ([]byte, error)
}

// An EventWindow bounds how many events of one connection are served.
type EventWindow interface {
	// Spend charges one event of a player with these roles. It never waits, and allocates nothing.
	Spend(roles []string) Verdict
}

// refusalBudgets counts the refusals of one connection, policy by policy.
type refusalBudgets struct {
	mu       sync.Mutex
	byPolicy []policyBudget // guarded by mu; as many as there are policies
	last     []Refusal      // the last refusals of the connection, at most lastPerConn; guarded by mu
}

type policyBudget struct {
	policy      string
	windowStart time.Time // of the first refusal that is counted
	refusals    int
	total       int // refusals since the connection was opened
	warnedAt    time.Time
}

// budgetOf returns the budget of a policy. b.mu is held.
func (b *refusalBudgets) budgetOf(policy string) *policyBudget {
	for i := range b.byPolicy {
		if b.byPolicy[i].policy == policy {
			return &b.byPolicy[i]
		}
	}
	b.byPolicy = append(b.byPolicy, policyBudget{policy: policy})
	return &b.byPolicy[len(b.byPolicy)-1]
}

// countRefusal counts a refusal, and tells whether the connection is to be closed for it: when it
// is the refusal number times × limit within a window that begins with a refusal.
func (b *refusalBudgets) countRefusal(l fault.Limit, times int, now time.Time) (fatal bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.budgetOf(l.Policy)
	if now.Sub(x.windowStart) >= l.Window {
		x.windowStart, x.refusals = now, 0
	}
	x.refusals++
	x.total++
	return times > 0 && x.refusals == times*l.Limit
}

// shouldWarn tells whether the player should be warned that little is left: when it is less than a
// fifth, and at most once in a window.
func (b *refusalBudgets) shouldWarn(l fault.Limit, now time.Time) bool {
	if l.Policy == "" || 5*l.Remaining >= l.Limit {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.budgetOf(l.Policy)
	if !x.warnedAt.IsZero() && now.Sub(x.warnedAt) < l.Window {
		return false
	}
	x.warnedAt = now
	return true
}

// spendLimits charges policies for a player.
func (g *Gateway) spendLimits(ctx context.Context, p *event.Player, policies []string) (Verdict, error) {
	return g.cfg.Limiter.Spend(ctx, policies, g.subjectOf(p))
}

// subjectOf returns what limits count a player's events by. The namespaces of one Engine.IO
// connection are one connection.
func (g *Gateway) subjectOf(p *event.Player) Subject {
	conn := p.Conn
	if len(g.namespaces) > 1 {
		if c := g.findAnyConn(conn); c != nil {
			conn = c.limitID
		}
	}
	return Subject{p.UserID, p.SessionID, p.Addr, conn, p.Roles}
}

// spendForMistake spends the policy for unknown and malformed events. When that policy refuses, its
// refusal is the answer to the event.
func (g *Gateway) spendForMistake(p *event.Player, f *fault.Fault) (v Verdict, refused bool) {
	if g.cfg.MistakePolicy == "" || f.Code != fault.ErrUnknownEvent.Code && f.Code != fault.ErrInvalid.Code {
		return Verdict{}, false
	}
	v, err := g.spendLimits(g.baseCtx, p, []string{g.cfg.MistakePolicy})
	if err != nil {
		g.log.Warn("mistake could not be counted", zap.String("conn", p.Conn), zap.String("user", p.UserID), sessionTagOf(p.SessionID), zap.Error(err))
		return Verdict{}, false
	}
	return v, !v.Allowed
}

// answerRateLimited answers an event that a limit refused, and closes the connection of a client
// that does not stop. It allocates nothing but the answer, because the event may be one of a flood.
func (g *Gateway) answerRateLimited(c *conn, s *socketio.Socket, e *socketio.Event, v Verdict) {
	v.Fatal = c.budgets.countRefusal(v.Limit, g.cfg.CloseAfter, time.Now())
	if e.HasID {
		m := s.Answering(e.ID)
		m.SetBuffer(append(v.AppendJSON(append(m.Buffer(), refuseHead...)), '}'))
		s.Reply(m)
	}
	if !e.HasID || v.Fatal {
		_ = s.EmitArgs("error", socketio.Args{JSON: v.AppendJSON(nil)}) // the error says that the client is gone
	}
	if v.Fatal {
		c.isEnded.Store(true)
		s.Conn().Shut(reasonRateLimited)
	}
}

// reasonRateLimited is the reason for which such a connection is closed.
const reasonRateLimited = "rate limited"

// warnOfLimits sends `limits` when little is left of a policy after an event.
func (g *Gateway) warnOfLimits(c *conn, v Verdict) {
	if c.budgets.shouldWarn(v.Limit, time.Now()) {
		remaining := v.Remaining // a pointer into v would allocate v for every event
		p := Policy{Name: v.Policy, Limit: v.Limit.Limit, WindowMs: v.Window.Milliseconds(), Scope: v.Scope, Remaining: &remaining}
		g.emitPayload(c.socket, "limits", Limits{[]Policy{p}})
	}
}

// ResendLimits sends every player on this node the current limits.
func (g *Gateway) ResendLimits() {
	for _, x := range g.conns.Range {
		c := x.(*conn)
		g.sendLimits(c.socket, c.player.Load().Roles)
	}
}

// sendLimits sends one client the limits of a player with these roles.
func (g *Gateway) sendLimits(s *socketio.Socket, roles []string) {
	payload, err := g.cfg.Limiter.Describe(roles)
	if err != nil {
		g.log.Error("event could not be encoded", zap.String("event", "limits"), zap.Error(err))
		return
	}
	_ = s.EmitArgs("limits", socketio.Args{JSON: payload}) // the error says that the client is gone
}
