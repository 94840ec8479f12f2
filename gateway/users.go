package gateway

import (
	"slices"
	"sync"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
)

// errTooManyOfUser refuses a connection of a user who has as many as Config.MaxPerUser.
var errTooManyOfUser = fault.New("TOO_MANY_CONNECTIONS", "You have too many connections.")

// userConns are the connections of this node by user, from when they are admitted.
type userConns struct {
	mu     sync.Mutex
	byUser map[string][]*conn // guarded by mu; no list is empty
}

// add adds a connection, unless its user has as many as limit; 0 is no limit. The namespaces of one
// Engine.IO connection count once.
func (u *userConns) add(c *conn, userID string, limit int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byUser == nil {
		u.byUser = map[string][]*conn{}
	}
	if !u.isPlace(userID, limit, c.sharedConn) {
		return false
	}
	u.byUser[userID] = append(u.byUser[userID], c)
	return true
}

// hasPlace reports whether add would add one more connection now.
func (u *userConns) hasPlace(userID string, limit int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.isPlace(userID, limit, nil)
}

// isPlace reports whether a user may have the connection of these namespaces. mu is held.
func (u *userConns) isPlace(userID string, limit int, own *sharedConn) bool {
	if limit <= 0 || len(u.byUser[userID]) < limit {
		return true
	}
	others := map[*sharedConn]bool{}
	for _, c := range u.byUser[userID] {
		if c.sharedConn != own {
			others[c.sharedConn] = true
		}
	}
	return len(others) < limit
}

// remove removes a connection.
func (u *userConns) remove(c *conn, userID string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.byUser[userID]
	if i := slices.Index(all, c); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if len(all) == 0 {
		delete(u.byUser, userID)
	} else {
		u.byUser[userID] = all
	}
}

// list returns the connections of a user, also those that are not connected yet.
func (u *userConns) list(userID string) []*conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.byUser[userID])
}

// names returns the ids of all users who are connected.
func (u *userConns) names() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	names := make([]string, 0, len(u.byUser))
	for id := range u.byUser {
		names = append(names, id)
	}
	return names
}

// Here returns the players of all connections that a user has to the main namespace on this node.
func (g *Gateway) Here(userID string) (players []event.Player) {
	for _, c := range g.users.list(userID) {
		if p := c.player.Load(); p.Conn != "" && c.namespace.isMain() {
			players = append(players, *p)
		}
	}
	return players
}

// ConnectedPlayers returns the players of all Engine.IO connections that a user has to this node.
func (g *Gateway) ConnectedPlayers(userID string) (players []event.Player) {
	for _, c := range g.connsOf(userID) {
		players = append(players, *c.player.Load())
	}
	return players
}

// PlayerOfAny returns the player of a connection of this node to any namespace, or none.
func (g *Gateway) PlayerOfAny(conn string) (players []event.Player) {
	if c := g.findAnyConn(conn); c != nil {
		players = append(players, *c.player.Load())
	}
	return players
}

// refuseConnect counts and logs the refusal of a CONNECT, with what is known of the client, and
// returns it as the client gets it.
func (g *Gateway) refuseConnect(refused engineio.Refused, f *fault.Fault, about refusedClient) error {
	refused.Code, refused.Reason = f.Code, f.Message
	g.reportRefusal(refused, nil, about)
	return &socketio.Refusal{Message: f.Message, Data: connectErrorData{f.Code, f.Detail("retryAfterMs"), f.Detail("reason"), f.Detail("until")}}
}

// connsOfSession returns the connections of a session that may send events.
func (g *Gateway) connsOfSession(userID, sessionID string) (conns []*conn) {
	for _, c := range g.users.list(userID) {
		if p := c.player.Load(); p.SessionID == sessionID && p.Conn != "" {
			conns = append(conns, c)
		}
	}
	return conns
}

// changePlayer changes what is known of the player of a connection, and returns it.
func (c *conn) changePlayer(change func(p *event.Player)) event.Player {
	for {
		old := c.player.Load()
		fresh := *old
		change(&fresh)
		if c.player.CompareAndSwap(old, &fresh) {
			return fresh
		}
	}
}
