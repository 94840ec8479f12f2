package gateway

import (
	"context"

	"github.com/aeturnis/realtime/gateway/socketio"
)

// This file is for programs beside the gateway, which cast and close connections by its API.

// A Push is one cast of another program.
type Push struct {
	Room  string // "" is everybody
	Event string
	JSON  []byte // the payload; kept until the cast is delivered
	// IsVolatile leaves out clients whose transport is busy, and logs nothing.
	IsVolatile bool
}

// A Reach says whom a Push reached.
type Reach = socketio.Reach

// StartPush casts, and returns a function that waits until all nodes have said how many connections
// it reached. Pushes that are logged are delivered in the order of the calls, and so are those that
// are not. A push to everybody is not logged. An error of StartPush says that nobody receives it;
// after one of wait, somebody may.
func (g *Gateway) StartPush(p Push) (wait func(ctx context.Context) (Reach, error), err error) {
	return g.nsp.StartCounted(socketio.CountedCast{
		Room: p.Room, Name: p.Event, Build: func(dst []byte) []byte { return append(dst, p.JSON...) },
		IsLogged: !p.IsVolatile, IsVolatile: p.IsVolatile,
	})
}

// UserRoom returns the room that all connections of a user are in.
func UserRoom(userID string) string { return userRoom(userID) }

// Disconnect ends a connection of this node: the client gets what waits for it and DISCONNECT, and
// does not come back by itself. It reports whether there was one.
func (g *Gateway) Disconnect(conn string) bool {
	c := g.findConn(conn)
	if c == nil {
		return false
	}
	c.socket.Disconnect(true)
	return true
}
