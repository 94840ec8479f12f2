package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
)

// This file lets a program of the game judge who connects.

// A ConnectJudge judges players whose session was found.
type ConnectJudge interface {
	// JudgeConnect returns what is added to a connection. p has no Conn yet. isReturning says that the
	// client wants to go on with an earlier connection. A *fault.Fault refuses the client for good.
	// Any other error means that it can not be judged now: the transport is closed, and the client
	// comes back.
	JudgeConnect(ctx context.Context, p event.Player, isReturning bool) (Admission, error)
}

// An Admission is what a ConnectJudge adds to a connection, for as long as the connection lives.
type Admission struct {
	Roles    []string       // beside those of the session
	Channels []string       // of the chat, that are joined if the chat lets the player in
	Rooms    []string       // that are joined
	Data     jsontext.Value // for the client; empty is none
}

// addRoles returns the roles of a session with those that were added.
func (a *Admission) addRoles(roles []string) []string {
	if len(a.Roles) == 0 {
		return roles
	}
	all := slices.Clone(roles)
	for _, r := range a.Roles {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

// summary returns what stands for the rights that were added: "" for none.
func (a *Admission) summary() string {
	if len(a.Roles)+len(a.Channels)+len(a.Rooms) == 0 {
		return ""
	}
	h := sha256.New()
	for _, list := range [][]string{a.Roles, a.Channels, a.Rooms} {
		for _, one := range slices.Sorted(slices.Values(list)) {
			_, _ = h.Write([]byte(one + "\x00"))
		}
		_, _ = h.Write([]byte{1})
	}
	return "\x00" + string(h.Sum(nil))
}

// shownGrant returns what was added to a connection, as its client is told: what it joins is in the
// main namespace.
func (c *conn) shownGrant() Admission {
	if c.namespace.isMain() {
		return c.grant
	}
	return Admission{Data: c.grant.Data}
}

// errNotJudged ends a connection without an answer, so that its client comes back by itself.
var errNotJudged = errors.New("gateway: the client could not be judged")

// judgeConnect asks the ConnectJudge, and adds what it adds to the player. Its time does not depend
// on how long the session's read took.
func (g *Gateway) judgeConnect(ctx context.Context, c *conn, session Session, p *event.Player, isReturning bool) error {
	ctx, cancel := g.beginPart(ctx, g.cfg.Timeout)
	defer cancel()
	grant, err := g.cfg.ConnectJudge.JudgeConnect(ctx, *p, isReturning)
	if err != nil {
		return err
	}
	c.grant = grant
	p.Roles = grant.addRoles(session.Roles)
	return nil
}

// errConnectsLimited ends a connection without an answer, so that its client comes back by itself:
// it has connected again after one handshake, more often than the policy allows.
var errConnectsLimited = errors.New("gateway: one connection connected again too often")

// spendConnect charges a CONNECT beside which there is no other namespace. The first of a
// connection was paid by its handshake; each one more begins the limits of a connection anew, and
// counts as a handshake. The error is errConnectsLimited.
func (g *Gateway) spendConnect(ctx context.Context, c *conn) error {
	if g.cfg.ConnectPolicy == "" || c.socket.ConnectAttempts() <= 1 {
		return nil
	}
	v, err := g.cfg.Limiter.Spend(ctx, []string{g.cfg.ConnectPolicy}, Subject{IP: c.socket.Conn().Addr()})
	if err == nil && !v.Allowed {
		return errConnectsLimited
	}
	return nil
}

// refuseJudged refuses a client that the ConnectJudge refused or could not judge.
func (g *Gateway) refuseJudged(refused engineio.Refused, err error, about refusedClient) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return g.refuseConnect(refused, f, about)
	}
	refused.Code, refused.Reason = fault.ErrUnavailable.Code, "the backend could not judge it"
	g.reportRefusal(refused, err, about)
	return errors.Join(errNotJudged, err)
}

// joinGranted has a connection join what the ConnectJudge named. A client that goes on with an
// earlier connection is in the rooms already, because that had the same rights.
func (g *Gateway) joinGranted(c *conn, isRecovered bool) {
	if isRecovered || !c.namespace.isMain() || c.isEnded.Load() || len(c.grant.Rooms)+len(c.grant.Channels) == 0 {
		return
	}
	p := *c.player.Load()
	for _, room := range c.grant.Rooms {
		if _, ok := c.socket.Join(room); !ok {
			g.log.Warn("connection is in too many rooms for what its backend wants", zap.String("conn", p.Conn), zap.String("user", p.UserID), sessionTagOf(p.SessionID), zap.String("room", room))
			break
		}
	}
	ctx, cancel := context.WithTimeout(g.baseCtx, g.cfg.Timeout)
	defer cancel()
	for _, channel := range c.grant.Channels {
		if err := g.cfg.JoinChannel(ctx, p, channel); err != nil {
			f := fault.Of(err)
			g.emitPayload(c.socket, "chat:left", struct {
				Channel string `json:"channel"`
				Code    string `json:"code"`
			}{channel, codeOfLeft(f)})
			if f.Code == fault.ErrInternal.Code {
				g.log.Warn("channel that its backend wants could not be joined", zap.String("conn", p.Conn), zap.String("user", p.UserID), sessionTagOf(p.SessionID), zap.String("channel", channel), zap.Error(err))
			}
		}
	}
}

// codeOfLeft returns the code of chat:left for a channel that could not be joined: the true one,
// but for a player who is no member.
func codeOfLeft(f *fault.Fault) string {
	if f.Code == fault.ErrForbidden.Code {
		return "NOT_IN_CHANNEL"
	}
	return f.Code
}
