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

// SendPush is StartPush without the count: it does not wait. The error says that nobody receives
// it, or, where it would be logged, only connections to this node.
func (g *Gateway) SendPush(p Push) error {
	build := func(dst []byte) []byte { return append(dst, p.JSON...) }
	switch {
	case p.Room != "" && !p.IsVolatile && g.nsp.HasLog():
		return g.nsp.CastLogged(socketio.LoggedCast{Rooms: []string{p.Room}, Name: p.Event, Build: build})
	case p.Room != "" && !p.IsVolatile:
		g.nsp.Cast(p.Room, p.Event, build)
	default:
		_, err := g.StartPush(p)
		return err
	}
	return nil
}

// AfterAnswer has f called when the event that a connection has under way is answered, on the
// goroutine that serves its events: what f casts comes behind the answer. f is not called when the
// event is refused. AfterAnswer is for the handler of the event, and only while it runs; without a
// connection f is called at once.
func (g *Gateway) AfterAnswer(conn string, f func()) {
	c := g.findAnyConn(conn)
	if c == nil {
		f()
		return
	}
	c.mu.Lock()
	c.afterAnswer = append(c.afterAnswer, f)
	c.mu.Unlock()
	c.hasAfterAnswer.Store(true)
}

// finishAnswer calls what waits for the answer of an event, or drops it when the event was refused.
func (c *conn) finishAnswer(isRefused bool) {
	if !c.hasAfterAnswer.Load() {
		return
	}
	c.hasAfterAnswer.Store(false)
	c.mu.Lock()
	waiting := c.afterAnswer
	c.afterAnswer = nil
	c.mu.Unlock()
	for _, f := range waiting {
		if !isRefused {
			f()
		}
	}
}

// UserRoom returns the room that all connections of a user are in.
func UserRoom(userID string) string { return userRoom(userID) }

// Disconnect ends a connection of this node with all its namespaces: the client gets what waits for
// it and DISCONNECT, and does not come back by itself. It reports whether there was one.
func (g *Gateway) Disconnect(conn string) bool {
	c := g.findAnyConn(conn)
	if c == nil {
		return false
	}
	c.socket.Disconnect(true)
	return true
}
