package gateway

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/tracing"
)

// ErrNotConnected says that the connection of the player has ended meanwhile.
var ErrNotConnected = event.ErrNotConnected

// ErrTooManyRooms says that the connection is in as many rooms as it may be.
var ErrTooManyRooms = fault.New("TOO_MANY_ROOMS", "You are in too many rooms.")

// Join puts a connection into a room, and returns how many members the room has on this node. A
// second Join changes nothing. Once Join has returned, the player receives what any node casts to
// the room. The error is ErrTooManyRooms or ErrNotConnected.
func (s *Namespace) Join(ctx context.Context, conn, room string) (members int, err error) {
	c := s.findConn(conn)
	if c == nil {
		return 0, ErrNotConnected
	}
	members, ok := c.socket.Join(room)
	if !ok {
		return members, ErrTooManyRooms
	}
	_ = s.nsp.Heard(ctx, room) // on failure the room is local to this node for now, which is counted
	c.socket.WaitRecorded(ctx)
	return members, nil
}

// Leave takes a connection out of a room, and returns how many members are left on this node. The
// connection still receives what this node has cast to the room before. Leave does nothing for a
// connection that has ended, which is in no room any more.
func (s *Namespace) Leave(ctx context.Context, conn, room string) (members int, err error) {
	c := s.findConn(conn)
	if c == nil {
		return 0, nil
	}
	s.nsp.WaitDelivered(ctx, room)
	members = c.socket.Leave(room)
	c.socket.WaitRecorded(ctx)
	return members, nil
}

// In reports whether a connection is in a room.
func (s *Namespace) In(conn, room string) bool {
	c := s.findConn(conn)
	return c != nil && c.socket.In(room)
}

// Count returns how many of a connection's rooms have names that begin with prefix.
func (s *Namespace) Count(conn, prefix string) int {
	if c := s.findConn(conn); c != nil {
		return c.socket.Rooms(prefix)
	}
	return 0
}

// Cast sends an event to every member of a room, on all nodes. The payload is encoded once. An
// event.Appender encodes itself; the members receive an event.Ordered in its order. The error says
// that the payload can not be encoded.
func (s *Namespace) Cast(ctx context.Context, room, name string, payload any) error {
	return s.castToRoom(ctx, room, "", name, payload)
}

// CastEach is like Cast to each of several rooms. The rooms must have no members in common.
func (s *Namespace) CastEach(ctx context.Context, rooms []string, name string, payload any) error {
	encoded, err := encodePayload(name, payload)
	if err != nil || len(rooms) == 0 {
		return err
	}
	span := beginCast(ctx, name)
	defer span.End()
	c := s.castOf(name, encoded, span)
	c.Rooms = rooms
	switch {
	case s.isLogged(name):
		_ = s.nsp.CastLogged(c) // when too much waits for Redis, it is delivered here alone, and counted
	case span != nil || !encoded.isPlain() || c.IsVolatile:
		s.nsp.CastUnlogged(c)
	default:
		s.nsp.CastEach(rooms, name, encoded.build)
	}
	return nil
}

func (s *Namespace) castToRoom(ctx context.Context, room, except, name string, payload any) error {
	encoded, err := encodePayload(name, payload)
	if err != nil {
		return err
	}
	span := beginCast(ctx, name)
	defer span.End()
	c := s.castOf(name, encoded, span)
	c.Rooms, c.Except = []string{room}, except
	o, isOrdered := payload.(event.Ordered)
	if isOrdered {
		c.Stream, c.Place = o.Order()
	}
	switch {
	case s.isLogged(name):
		_ = s.nsp.CastLogged(c) // when too much waits for Redis, it is delivered here alone, and counted
	case span != nil || !encoded.isPlain() || c.IsVolatile:
		s.nsp.CastUnlogged(c)
	case isOrdered:
		s.nsp.CastInOrder(room, except, name, c.Stream, c.Place, encoded.build)
	case except == "":
		s.nsp.Cast(room, name, encoded.build)
	default:
		s.nsp.CastArgs(room, except, name, socketio.Args{JSON: encoded.build(nil)})
	}
	return nil
}

// castOf returns a cast without rooms.
func (s *Namespace) castOf(name string, encoded encodedPayload, span *tracing.Span) socketio.LoggedCast {
	return socketio.LoggedCast{
		Name: name, Build: encoded.build, Attachments: encoded.attachments,
		IsVolatile: s.g.volatile[name], Traceparent: span.Traceparent(),
	}
}

// CastExcept is like Cast to those members of a room who are not in the room except, which may be
// "". A caller that casts to one room and then to another, except the first, reaches every member
// of both rooms once.
func (s *Namespace) CastExcept(ctx context.Context, room, except, name string, payload any) error {
	return s.castToRoom(ctx, room, except, name, payload)
}

// An encodedPayload is a payload as clients get it.
type encodedPayload struct {
	build       func(dst []byte) []byte // appends the payload as JSON
	attachments [][]byte                // the binary values
}

// isPlain reports whether the payload has no binary values.
func (e encodedPayload) isPlain() bool { return len(e.attachments) == 0 }

// encodePayload encodes the payload of a cast.
func encodePayload(name string, payload any) (e encodedPayload, err error) {
	if a, ok := payload.(event.Appender); ok {
		return encodedPayload{build: a.AppendJSON}, nil
	}
	var text []byte
	if event.HasBinary(reflect.TypeOf(payload)) {
		text, e.attachments, err = event.AppendBinary(nil, nil, payload)
	} else {
		var buf bytes.Buffer
		err = json.MarshalWrite(&buf, payload)
		text = buf.Bytes()
	}
	if err != nil {
		return e, fmt.Errorf("cast %s: %w", name, err)
	}
	e.build = func(dst []byte) []byte { return append(dst, text...) }
	return e, nil
}

// RoomsOf returns the rooms of a connection whose names begin with prefix.
func (s *Namespace) RoomsOf(conn, prefix string) (rooms []string) {
	c := s.findConn(conn)
	if c == nil || c.socket.Library() == nil {
		return nil
	}
	for _, name := range c.socket.Library().Rooms().Keys() {
		if strings.HasPrefix(string(name), prefix) {
			rooms = append(rooms, string(name))
		}
	}
	return rooms
}

// SendStatus tells every player on this node which features work. Each value is a Health: "ok",
// "local", "stale" or "paused".
func (g *Gateway) SendStatus(features map[string]string) error {
	return g.castToNode("gateway:status", features)
}

// SendMoved tells every player on this node, in `gateway:status`, that another Redis with other
// data took the place of the one before: what was acknowledged last may be gone.
func (g *Gateway) SendMoved() error {
	return g.castToNode("gateway:status", map[string]bool{"moved": true})
}

// castToNode sends an event to every player on this node, in each namespace.
func (g *Gateway) castToNode(name string, payload any) error {
	a, err := socketio.Encode(payload)
	if err != nil {
		return err
	}
	for _, s := range g.namespaces {
		s.nsp.CastAll(name, a)
	}
	return nil
}
