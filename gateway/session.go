package gateway

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// sessionRoutes returns the events about the player's own session, which every namespace has.
func (g *Gateway) sessionRoutes() []event.Route {
	return []event.Route{
		event.On("session:ping", g.ping).Instant().Unlimited("it reads nothing but this node's memory"),
		event.On("session:time", g.readClock).Instant().Passive().Unlimited("it reads nothing but a clock"),
		event.On("session:character", g.chooseCharacter).Limit("rooms").Once(event.Beside(sessionOfChoice), event.CanRepeat()),
		event.On("session:logout", g.logout).Unlimited("it is a connection's last event"),
	}
}

// Pong answers session:ping.
type Pong struct {
	TTLMs      int64 `json:"ttlMs"`      // what is left of the session
	ServerTime int64 `json:"serverTime"` // Unix ms
}

// Clock answers session:time.
type Clock struct {
	// ServerTimeUs is the server's clock when it took up the event, Unix µs. A client that notes when
	// it sent the event and when it had the answer is ahead of the server by the middle of the two
	// less this, wrong by at most half of their distance.
	ServerTimeUs int64 `json:"serverTimeUs"`
	// RoundTripUs is how long the last ping of this connection took, there and back; absent before
	// the first one.
	RoundTripUs int64 `json:"roundTripUs,omitzero"`
}

// AppendJSON makes Clock an event.Appender.
func (c *Clock) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"serverTimeUs":`...), c.ServerTimeUs, 10)
	if c.RoundTripUs > 0 {
		dst = strconv.AppendInt(append(dst, `,"roundTripUs":`...), c.RoundTripUs, 10)
	}
	return append(dst, '}')
}

// readClock answers what the server's clock says, in µs. It does not count as activity.
func (g *Gateway) readClock(_ context.Context, p event.Player, _ event.None) (Clock, error) {
	return Clock{time.Now().UnixMicro(), p.RoundTrip.Microseconds()}, nil
}

// AppendJSON makes Pong an event.Appender: pings are frequent.
func (p *Pong) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"ttlMs":`...), p.TTLMs, 10)
	dst = strconv.AppendInt(append(dst, `,"serverTime":`...), p.ServerTime, 10)
	return append(dst, '}')
}

// ping answers how much of the session is left. It counts as activity.
func (g *Gateway) ping(_ context.Context, p event.Player, _ event.None) (Pong, error) {
	now := time.Now().UnixMilli()
	c := g.findAnyConn(p.Conn)
	if c == nil {
		return Pong{ServerTime: now}, nil
	}
	c.handle.Touch() // before the answer is computed, so that the answer counts it
	return Pong{c.handle.TTL().Milliseconds(), now}, nil
}

// Choice is the payload of session:character.
type Choice struct {
	CharacterID string `json:"characterId" validate:"required,id"`
	// IdempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets
	// the first answer, and a choice that was made meanwhile stays.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// sessionOfChoice makes the record of a choice belong to its session: the answer names the session.
// The id is a secret, so the record has its hash.
func sessionOfChoice(p event.Player, _ Choice) string { return "session:" + hashSessionID(p.SessionID) }

// errNotYours refuses a character of another user.
var errNotYours = fault.New(fault.ErrForbidden.Code, "That character is not yours.")

// chooseCharacter chooses the character that the session plays, for all its connections to this
// node.
func (g *Gateway) chooseCharacter(ctx context.Context, p event.Player, in Choice) (Welcome, error) {
	if g.cfg.Characters != nil {
		yours, err := g.cfg.Characters.Owns(ctx, p.UserID, in.CharacterID)
		if err != nil {
			return Welcome{}, fmt.Errorf("owner of character: %w", err)
		}
		if !yours {
			return Welcome{}, errNotYours
		}
	}
	s, err := g.cfg.Sessions.SetCharacter(ctx, p.SessionID, in.CharacterID)
	if err != nil {
		return Welcome{}, err
	}
	for _, c := range g.connsOfSession(p.UserID, p.SessionID) {
		fresh := c.changePlayer(func(p *event.Player) { p.CharacterID = s.CharacterID })
		c.socket.SetOwner(ownerOf(s, c.grant))
		if g.cfg.Observer != nil && c.namespace.isMain() {
			g.cfg.Observer.CharacterChanged(fresh)
		}
	}
	grant := Admission{}
	if c := g.findAnyConn(p.Conn); c != nil {
		grant = c.shownGrant()
	}
	now := time.Now()
	return Welcome{
		SessionID: p.SessionID, UserID: p.UserID, Username: p.Username, CharacterID: s.CharacterID, Roles: listRoles(p.Roles),
		TTLMs: s.TTL.Milliseconds(), ExpiresAt: s.ExpiresAt.UnixMilli(), ServerTime: now.UnixMilli(), Node: g.cfg.Node,
		RoundTripUs: p.RoundTrip.Microseconds(), Channels: grant.Channels, Rooms: grant.Rooms, Data: grant.Data,
	}, nil
}

// LogoutRequest says which sessions end.
type LogoutRequest struct {
	// Everywhere ends all sessions of the user, on all devices.
	Everywhere bool `json:"everywhere,omitempty"`
}

// logout ends the session, or all of its user. The answer comes before session:revoked.
func (g *Gateway) logout(ctx context.Context, p event.Player, in LogoutRequest) (event.None, error) {
	c := g.findAnyConn(p.Conn)
	if c == nil {
		return event.None{}, g.endSessions(ctx, p, in)
	}
	c.stateMu.Lock()
	c.isLoggingOut = true
	c.stateMu.Unlock()
	done := false
	defer func() {
		if done {
			return
		}
		c.stateMu.Lock()
		c.isLoggingOut = false
		over := c.pendingEnd
		c.stateMu.Unlock()
		if over != nil {
			g.announceEnd(c.sharedConn, *over)
		}
	}()
	err := g.endSessions(ctx, p, in)
	done = err == nil
	return event.None{}, err
}

// endSessions ends the sessions that a logout means.
func (g *Gateway) endSessions(ctx context.Context, p event.Player, in LogoutRequest) error {
	if in.Everywhere {
		return g.cfg.Sessions.LogoutEverywhere(ctx, p.UserID, p.SessionID)
	}
	return g.cfg.Sessions.Logout(ctx, p.SessionID)
}

// finishLogout announces the end of the session after a logout was answered.
func (g *Gateway) finishLogout(c *conn) {
	c.stateMu.Lock()
	leaving := c.isLoggingOut
	c.isLoggingOut = false
	c.stateMu.Unlock()
	if leaving {
		c.isEnded.Store(true)
		g.announceEnd(c.sharedConn, Ended{"LOGGED_OUT", "You have logged out."})
	}
}
