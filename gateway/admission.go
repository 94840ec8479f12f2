package gateway

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
)

// This file decides whether a client whose session was found is let in. Each part has a time of its
// own: a session that was read late, or a ConnectJudge that thinks for long, takes nothing from the
// others. Config.Socket.Engine.ConnectTimeout bounds them all.

// An obstacle is why a client is not let in. Of its fields one is set.
type obstacle struct {
	judged  error        // the ConnectJudge refused the client, or could not judge it
	tooFast error        // the client comes back by itself: errConnectsLimited or errReturnsLimited
	noPlace *fault.Fault // the user has too many connections
	isFull  bool         // the user has too many connections to this node
	further *fault.Fault // the connection may not have this namespace beside its others
}

// judgeAdmission returns why a client is not let in, or nil. The ConnectJudge is asked only about
// clients that nothing else keeps out. p becomes the player of c, with what the ConnectJudge adds.
func (g *Gateway) judgeAdmission(ctx context.Context, c *conn, session Session, p *event.Player, auth []byte) *obstacle {
	c.player.Store(p) // nobody else knows c before users.add
	if c.isFurther {
		return g.judgeFurtherAdmission(ctx, c, session, p)
	}
	isReturning := PresentsConnection(auth)
	var noPlace *fault.Fault
	_ = errors.As(session.UnlessReplaces, &noPlace) // else the number of connections is known, and is not too large
	if !isReturning {                               // else its place may be that of the connection that it presents
		switch {
		case noPlace != nil:
			return &obstacle{noPlace: noPlace}
		case !g.users.hasPlace(p.UserID, g.cfg.MaxPerUser):
			return &obstacle{isFull: true}
		}
	}
	if err := g.spendConnect(ctx, c); err != nil {
		return &obstacle{tooFast: err}
	}
	if g.cfg.ConnectJudge != nil {
		if err := g.judgeConnect(ctx, c, session, p, isReturning && g.HasLog()); err != nil {
			return &obstacle{judged: err}
		}
	}
	if err := g.recoverConn(ctx, c, session, p); err != nil {
		return &obstacle{tooFast: err}
	}
	switch {
	case noPlace != nil && !c.socket.ReplacesLiving():
		return &obstacle{noPlace: noPlace}
	case !g.users.add(c, p.UserID, g.cfg.MaxPerUser):
		return &obstacle{isFull: true}
	}
	return nil
}

// judgeFurtherAdmission is judgeAdmission for a further namespace of a connection: the ConnectJudge
// has judged that, and the connection has its place.
func (g *Gateway) judgeFurtherAdmission(ctx context.Context, c *conn, session Session, p *event.Player) *obstacle {
	if f := c.judgeFurther(session); f != nil {
		return &obstacle{further: f}
	}
	p.Roles = c.grant.addRoles(session.Roles)
	if err := g.recoverConn(ctx, c, session, p); err != nil {
		return &obstacle{tooFast: err}
	}
	if !g.users.add(c, p.UserID, g.cfg.MaxPerUser) {
		return &obstacle{isFull: true}
	}
	return nil
}

// beginPart returns the context of one part of an admission, which ends after a time and when the
// gateway closes.
func (g *Gateway) beginPart(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	stop := context.AfterFunc(g.baseCtx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// PresentsConnection reports whether the client that sent a CONNECT with this auth may go on with
// an earlier connection.
func PresentsConnection(auth []byte) bool { return bytes.Contains(auth, []byte(`"pid"`)) }

// refuseAdmission reports a client that is not let in, and returns the error of its CONNECT.
func (g *Gateway) refuseAdmission(o *obstacle, refused engineio.Refused, p *event.Player) error {
	about := refusedClient{player: *p}
	switch {
	case o.judged != nil:
		return g.refuseJudged(refused, o.judged, about)
	case o.tooFast != nil:
		refused.Code, refused.Reason = fault.ErrRateLimited.Code, o.tooFast.Error()
		g.reportRefusal(refused, nil, about)
		return o.tooFast
	case o.noPlace != nil:
		return g.refuseConnect(refused, o.noPlace, about)
	case o.further != nil:
		return g.refuseConnect(refused, o.further, about)
	}
	g.refused.add(refusalOf(p, "", errTooManyOfUser))
	return g.refuseConnect(refused, errTooManyOfUser.With("limit", g.cfg.MaxPerUser), about)
}
