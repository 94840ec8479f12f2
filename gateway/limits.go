package gateway

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/socketio"
)

// A Subject is whom a limit may be about.
type Subject struct {
	User, Session, IP, Conn string
	Roles                   []string // shared; never written
}

// A Verdict is what a Limiter says about one event.
type Verdict struct {
	Allowed bool
	// Known says that the refusal was known before: nobody was asked.
	Known bool
	// Limit tells of the policy that refuses, or of the one with the least left. It is empty
	// when nothing limits the event.
	fault.Limit
}

// A Limiter spends limits.
type Limiter interface {
	// Spend charges all policies, or none, and soon says which. It never refuses because its
	// own store failed; an error says why it can not judge.
	Spend(ctx context.Context, policies []string, s Subject) (Verdict, error)
	// Describe is the `limits` event's {policies: […]} for a player with these roles.
	Describe(roles []string) any
}

// budgets is what a connection has used up, policy by policy.
type budgets struct {
	mu   sync.Mutex
	list []budget // guarded by mu; as many as there are policies
}

type budget struct {
	policy  string
	since   time.Time // of the first refusal that is counted
	refused int
	warned  time.Time
}

// of is the policy's budget. b.mu is held.
func (b *budgets) of(policy string) *budget {
	for i := range b.list {
		if b.list[i].policy == policy {
			return &b.list[i]
		}
	}
	b.list = append(b.list, budget{policy: policy})
	return &b.list[len(b.list)-1]
}

// refuse counts a refusal, and tells whether it is the one for which to close: so many times
// the limit within a window that begins with a refusal.
func (b *budgets) refuse(l fault.Limit, times int, now time.Time) (fatal bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.of(l.Policy)
	if now.Sub(x.since) >= l.Window {
		x.since, x.refused = now, 0
	}
	x.refused++
	return times > 0 && x.refused == times*l.Limit
}

// warn tells whether the player should hear that little is left: under a fifth, and not
// twice in a window.
func (b *budgets) warn(l fault.Limit, now time.Time) bool {
	if l.Policy == "" || 5*l.Remaining >= l.Limit {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.of(l.Policy)
	if !x.warned.IsZero() && now.Sub(x.warned) < l.Window {
		return false
	}
	x.warned = now
	return true
}

// spend charges the policies of a route.
func (g *Gateway) spend(ctx context.Context, p *event.Player, policies []string) (Verdict, error) {
	return g.cfg.Limiter.Spend(ctx, policies, Subject{p.UserID, p.SessionID, p.Addr, p.Conn, p.Roles})
}

// mistaken spends the policy for events that nobody understands. Where it refuses, that is
// the answer.
func (g *Gateway) mistaken(p *event.Player, f *fault.Fault) (v Verdict, refused bool) {
	if g.cfg.Mistakes == "" || f.Code != fault.ErrUnknownEvent.Code && f.Code != fault.ErrInvalid.Code {
		return Verdict{}, false
	}
	v, err := g.spend(g.base, p, []string{g.cfg.Mistakes})
	if err != nil {
		g.log.Warn("mistake could not be counted", zap.String("conn", p.Conn), zap.Error(err))
		return Verdict{}, false
	}
	return v, !v.Allowed
}

// refuse answers an event that came too often, and ends the connection of whoever goes on
// and on. Nothing is allocated but the answer: it may be one of a flood.
func (g *Gateway) refuse(c *conn, s *socketio.Socket, e *socketio.Event, v Verdict) {
	v.Fatal = c.budgets.refuse(v.Limit, g.cfg.CloseAfter, time.Now())
	if e.HasID {
		m := s.Answering(e.ID)
		m.SetBuffer(append(v.AppendJSON(append(m.Buffer(), refuseHead...)), '}'))
		s.Reply(m)
	}
	if !e.HasID || v.Fatal {
		_ = s.EmitArgs("error", socketio.Args{JSON: v.AppendJSON(nil)}) // who is gone is told nothing
	}
	if v.Fatal {
		c.dead.Store(true)
		s.Conn().Shut(reasonRateLimited)
	}
}

// reasonRateLimited is why such a connection was closed.
const reasonRateLimited = "rate limited"

// warn sends `limits` when an admitted event has left little.
func (g *Gateway) warn(c *conn, v Verdict) {
	if c.budgets.warn(v.Limit, time.Now()) {
		remaining := v.Remaining // and not v, which would be allocated for every event
		p := Policy{Name: v.Policy, Limit: v.Limit.Limit, WindowMs: v.Window.Milliseconds(), Scope: v.Scope, Remaining: &remaining}
		g.greet(c.socket, "limits", Limits{[]Policy{p}})
	}
}

// TellLimits sends every player on this node the limits as they are now.
func (g *Gateway) TellLimits() {
	for _, x := range g.conns.Range {
		c := x.(*conn)
		g.greet(c.socket, "limits", g.cfg.Limiter.Describe(c.player.Load().Roles))
	}
}
