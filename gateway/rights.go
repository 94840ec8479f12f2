package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/socketio"
)

const (
	// maxRoleAge is how old what this node knows of a player's roles may be when they matter.
	maxRoleAge = 5 * time.Second
	// roleReadTimeout bounds a read of a session's roles. After a read that failed, what was known
	// holds, and the next one is a roleRetryPause later.
	roleReadTimeout = 500 * time.Millisecond
	roleRetryPause  = time.Second
)

// needsRoles reports whether an event's outcome may depend on the roles of its player: on those
// that the route wants, or on those that the player has, which may lift limits and open channels.
func needsRoles(r *route, p *event.Player) bool {
	return len(r.Roles) > 0 || len(p.Roles) > 0 && !r.IsInstant
}

// refreshRoles reads the roles of a connection's session again when what is known of them is older
// than maxAge. Concurrent calls for one session share a read. While the store does not answer, what
// was known holds.
func (g *Gateway) refreshRoles(c *conn, maxAge time.Duration) {
	if g.sinceStart()-time.Duration(c.rolesReadAt.Load()) < maxAge {
		return
	}
	p := c.player.Load()
	_, _, _ = g.roleReads.Do(p.SessionID, func() (any, error) {
		asked := g.sinceStart()
		ctx, cancel := context.WithTimeout(g.baseCtx, roleReadTimeout)
		defer cancel()
		s, err := g.cfg.Sessions.Get(ctx, p.SessionID)
		var f *fault.Fault
		switch {
		case err == nil:
			g.applyRoles(p, listRoles(s.Roles), asked)
		case errors.As(err, &f) && f.Code == fault.ErrUnauthenticated.Code: // its end is told by the Tracker
			g.applyRoles(p, nil, asked)
		default:
			for _, c := range g.connsOfSession(p.UserID, p.SessionID) {
				c.rolesReadAt.Store(int64(g.sinceStart() - maxRoleAge + roleRetryPause))
			}
		}
		return nil, nil
	})
}

// applyRoles sets the roles of all connections of a session, as they were when asked. Where they
// changed, the client is sent `session` and `limits` again.
func (g *Gateway) applyRoles(of *event.Player, roles []string, asked time.Duration) {
	for _, c := range g.connsOfSession(of.UserID, of.SessionID) {
		c.rolesMu.Lock()
		if int64(asked) < c.rolesReadAt.Load() {
			c.rolesMu.Unlock()
			continue // a later read was faster
		}
		c.rolesReadAt.Store(int64(asked))
		now := roles
		if roles != nil { // else the session has ended, and what was added ends with it
			now = c.grant.addRoles(roles)
		}
		isChanged := !slices.Equal(c.player.Load().Roles, now)
		if isChanged {
			c.changePlayer(func(p *event.Player) { p.Roles = now })
		}
		c.rolesMu.Unlock()
		if isChanged && c.handle.Alive() {
			g.sendGreeting(c)
		}
	}
}

// sendGreeting sends a client who it is, and what it may do.
func (g *Gateway) sendGreeting(c *conn) {
	p, grant := c.playerNow(), c.shownGrant()
	ttl, now := c.handle.TTL(), time.Now()
	welcome, err := json.Marshal(Welcome{
		SessionID: p.SessionID, UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID, Roles: listRoles(p.Roles),
		TTLMs: ttl.Milliseconds(), ExpiresAt: now.Add(ttl).UnixMilli(), ServerTime: now.UnixMilli(), Node: g.cfg.Node, Recovered: c.socket.IsRecovered(),
		RoundTripUs: p.RoundTrip.Microseconds(), Channels: grant.Channels, Rooms: grant.Rooms, Data: grant.Data,
	})
	if err != nil {
		g.log.Error("event could not be encoded", zap.String("event", "session"), zap.Error(err))
	}
	emit := c.socket.EmitWithPosition
	if c.socket.IsRecovered() {
		emit = c.socket.EmitBeforeReplay
	}
	_ = emit("session", socketio.Args{JSON: welcome}) // the error says that the client is gone
	g.sendLimits(c.socket, p.Roles)
}

// sinceStart is the time since New. It does not jump with the wall clock.
func (g *Gateway) sinceStart() time.Duration { return time.Since(g.started) }

// Fresh returns the player of a connection with the roles that its session has now. While the
// sessions can not be read, they are those that were known. It is false for a connection that has
// ended.
func (g *Gateway) Fresh(conn string) (event.Player, bool) {
	c := g.findConn(conn)
	if c == nil {
		return event.Player{}, false
	}
	g.refreshRoles(c, 0)
	return *c.player.Load(), true
}

// RefreshUser reads the sessions of all connections that a user has to this node again, because
// they were changed.
func (g *Gateway) RefreshUser(userID string) {
	var reads sync.WaitGroup
	done := map[string]bool{}
	for _, c := range g.users.list(userID) {
		p := c.player.Load()
		if p.Conn == "" || done[p.SessionID] {
			continue
		}
		done[p.SessionID] = true
		g.roleReads.Forget(p.SessionID) // a read that is under way may have seen the session as it was
		reads.Go(func() { g.refreshRoles(c, 0) })
	}
	reads.Wait()
}

// RoomsHere returns the names of the rooms that have members on this node and begin with prefix.
func (g *Gateway) RoomsHere(prefix string) []string { return g.nsp.RoomsHere(prefix) }

// MembersHere returns the players of this node's connections that are in a room.
func (g *Gateway) MembersHere(room string) (players []event.Player) {
	for _, id := range g.nsp.SocketsIn(room) {
		if c := g.findConn(id); c != nil {
			players = append(players, *c.player.Load())
		}
	}
	return players
}

// Emit sends an event to one connection of this node. It does nothing for one that has ended.
func (g *Gateway) Emit(conn, name string, payload any) {
	if c := g.findConn(conn); c != nil {
		g.emitPayload(c.socket, name, payload)
	}
}
