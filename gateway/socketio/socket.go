package socketio

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/jsonpack"
)

// ErrClosed says that a message was not sent because its socket has ended.
var ErrClosed = errors.New("socketio: the socket is closed")

// A Socket is one client in one namespace. Its methods may be called from any goroutine.
type Socket struct {
	nsp  *Namespace
	link *link
	id   socket.SocketId
	lib  *socket.Socket
	auth []byte // of the CONNECT; nil once the socket is connected

	expectedRooms []socket.Room // of ExpectRooms; owned by handleConnect
	connecting    *connecting   // the same; nil once the socket is connected, or where casts are not logged

	// of the record, see recorder.go
	pid         castlog.PID // static once the socket is connected
	generation  uint32      // the same
	isRecorded  atomic.Bool
	isTaken     atomic.Bool   // another connection goes on with it
	keepsRecord atomic.Bool   // whatever ends it
	lastChange  atomic.Uint64 // of the record
	toldEarly   atomic.Uint64 // the change that the client was told of before Redis had it; 0 for none
	hasLost     atomic.Bool   // a change was not made, because another connection goes on with the record
	// outageBefore is what castLog.OutageEnd said when the socket began, or -1.
	outageBefore int64

	questions openQuestions

	mu     sync.Mutex
	data   any  // guarded by mu
	isGone bool // the receiver was told of the end; guarded by mu
}

// ID returns the socket's public id. It is "" while the socket is being admitted.
func (s *Socket) ID() string { return string(s.id) }

// Namespace returns the namespace of the socket.
func (s *Socket) Namespace() *Namespace { return s.nsp }

// Conn returns the connection of the socket.
func (s *Socket) Conn() *engineio.Conn { return s.link.conn }

// ConnectAttempts returns, within Receiver.Admit, how many CONNECTs the connection has sent, this
// one included.
func (s *Socket) ConnectAttempts() int { return s.link.connectAttempts }

// Library returns the library's socket, or nil while the socket is being admitted. Do not call its
// Volatile, Compress or Timeout: they are not safe on a socket that several goroutines use.
func (s *Socket) Library() *socket.Socket { return s.lib }

// SetData stores a value with the socket.
func (s *Socket) SetData(v any) {
	s.mu.Lock()
	s.data = v
	s.mu.Unlock()
}

// IsConnected reports whether the client is connected by this socket. When it ends, that is known
// before the receiver is told.
func (s *Socket) IsConnected() bool {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	return slices.Contains(s.link.sockets, s)
}

// Data returns the value that SetData stored.
func (s *Socket) Data() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data
}

// SetConnData stores a value with the connection, for its sockets in all namespaces.
func (s *Socket) SetConnData(v any) {
	s.link.mu.Lock()
	s.link.data = v
	s.link.mu.Unlock()
}

// ConnData returns the value that SetConnData stored for a socket of the connection.
func (s *Socket) ConnData() any {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	return s.link.data
}

// Emit sends an event. The error says what cannot be encoded, or is ErrClosed.
func (s *Socket) Emit(name string, args ...any) error {
	a, err := Encode(args...)
	if err != nil {
		return err
	}
	return s.EmitArgs(name, a)
}

// EmitVolatile is Emit for an event that may be dropped when the client is too slow.
func (s *Socket) EmitVolatile(name string, args ...any) error {
	a, err := Encode(args...)
	if err != nil {
		return err
	}
	f := frameEvent(s.nsp.name, name, a, 0, false)
	defer f.releaseFrames()
	if s.nsp.rooms.holdPosition(f.text) {
		defer s.nsp.rooms.castLog.UnlockPosition()
	}
	f.sealFrames(true).pushTo(s.link.conn)
	return nil
}

// EmitArgs is Emit for arguments that are encoded already.
func (s *Socket) EmitArgs(name string, a Args) error {
	f := frameEvent(s.nsp.name, name, a, 0, false)
	defer f.releaseFrames()
	if s.nsp.rooms.holdPosition(f.text) {
		defer s.nsp.rooms.castLog.UnlockPosition()
	}
	if !f.pushTo(s.link.conn) {
		return ErrClosed
	}
	return nil
}

// Answer acknowledges an event, from within Receiver.Event or later.
func (s *Socket) Answer(id uint64, a Args) error {
	f := frameAcknowledgement(s.nsp.name, id, a)
	defer f.releaseFrames()
	if !f.pushTo(s.link.conn) {
		return ErrClosed
	}
	return nil
}

// Answering begins the acknowledgement of an event. The caller appends one JSON value to the
// message's buffer and gives it to Reply, or calls Free.
func (s *Socket) Answering(id uint64) *engineio.Message {
	m := engineio.NewText()
	m.SetBuffer(append(appendHeader(m.Buffer(), typeAck, 0, s.nsp.name, id, true), '['))
	return m
}

// Reply sends what Answering began. Call it only from within Receiver.Event: what is sent there is
// written together when the event has been handled.
func (s *Socket) Reply(m *engineio.Message) bool {
	m.SetBuffer(append(m.Buffer(), ']'))
	ok := s.link.conn.Queue(m)
	m.Free()
	return ok
}

// handleAcknowledgement passes a client's acknowledgement to the library's Emit with a callback.
// Those of our own questions went another way: see takeAnswer.
func (s *Socket) handleAcknowledgement(p *packet, attachments [][]byte) {
	ack, ok := s.lib.Acks().LoadAndDelete(p.id)
	if !ok {
		return // it came too late, or nothing was asked
	}
	ack(splitValues(p.args, attachments), nil)
}

// splitValues splits encoded arguments into values: attachments as buffers of the library, the rest
// as JSON.
func splitValues(args []byte, attachments [][]byte) []any {
	var out []any
	for i := jsonpack.SkipSpace(args, 0); i < len(args); {
		end := jsonpack.SkipValue(args, i, 1<<10)
		if end < 0 {
			return out
		}
		v := jsontext.Value(append([]byte(nil), args[i:end]...))
		var place struct {
			Placeholder bool `json:"_placeholder"`
			Num         int  `json:"num"`
		}
		if len(attachments) > 0 && decodeJSON(v, &place) == nil && place.Placeholder && place.Num >= 0 && place.Num < len(attachments) {
			out = append(out, types.NewBytesBuffer(attachments[place.Num]))
		} else {
			out = append(out, v)
		}
		i = jsonpack.SkipSpace(args, end)
		if i < len(args) && args[i] == ',' {
			i = jsonpack.SkipSpace(args, i+1)
		}
	}
	return out
}

// ExpectRooms names rooms that the socket will join in Receiver.Connected. Call it within
// Receiver.Admit: the CONNECT is then answered when this node receives what other nodes cast to
// them, so that a client that has heard its CONNECT misses nothing.
func (s *Socket) ExpectRooms(names ...string) {
	for _, name := range names {
		s.expectedRooms = append(s.expectedRooms, socket.Room(name))
	}
}

// Join adds the socket to a room, and returns how many members the room has then on this node. It
// reports false when the socket has ended, or is in as many rooms as it may be.
func (s *Socket) Join(room string) (members int, ok bool) {
	return s.nsp.rooms.joinRoom(s.id, socket.Room(room))
}

// Leave removes the socket from a room, and returns how many members are left on this node.
func (s *Socket) Leave(room string) (members int) {
	return s.nsp.rooms.leaveRoom(s.id, socket.Room(room))
}

// In reports whether the socket is in a room.
func (s *Socket) In(room string) bool { return s.nsp.rooms.isInRoom(s.id, socket.Room(room)) }

// Rooms counts the rooms that the socket is in and whose names begin with prefix.
func (s *Socket) Rooms(prefix string) int { return s.nsp.rooms.countRooms(s.id, prefix) }

// Disconnect sends what is queued, and DISCONNECT, after which the client does not reconnect by
// itself. With closing, it does so in all namespaces of the connection, and the transport is closed
// once that is written.
func (s *Socket) Disconnect(closing bool) {
	if s.lib != nil {
		s.lib.Disconnect(false)
	}
	if !closing {
		return
	}
	s.link.mu.Lock()
	others := slices.Clone(s.link.sockets)
	s.link.mu.Unlock()
	for _, other := range others {
		other.lib.Disconnect(false)
	}
	s.link.conn.Shut("server namespace disconnect")
}

// Cast sends an event with one argument to every member of a room, on all nodes. build appends the
// argument as JSON. Cast returns how many members on this node it reached, and does not wait for
// other nodes.
func (n *Namespace) Cast(room, name string, build func(dst []byte) []byte) (reached int) {
	f, list := n.frameCast(name, build, nil)
	if n.cluster != nil {
		n.cluster.publishEvent(list, nil, target{rooms: []socket.Room{socket.Room(room)}})
	}
	isHeld := n.rooms.holdPosition(f.text)
	reached = n.rooms.castToRoom(socket.Room(room), f.sealFrames(false))
	if isHeld {
		n.rooms.castLog.UnlockPosition()
	}
	f.releaseFrames()
	return reached
}

// CastEach is Cast to each of several rooms, which must have no members in common.
func (n *Namespace) CastEach(names []string, name string, build func(dst []byte) []byte) {
	if len(names) == 0 {
		return
	}
	var few [4]socket.Room
	rooms := few[:0]
	for _, r := range names {
		rooms = append(rooms, socket.Room(r))
	}
	f, list := n.frameCast(name, build, nil)
	if n.cluster != nil {
		n.cluster.publishToEachRoom(list, rooms)
	}
	isHeld := n.rooms.holdPosition(f.text)
	f.sealFrames(false)
	for _, room := range rooms {
		n.rooms.castToRoom(room, f)
	}
	if isHeld {
		n.rooms.castLog.UnlockPosition()
	}
	f.releaseFrames()
}

// frameCast frames an event with one argument, which build appends. list is the list of its name
// and argument, which lies in the frames.
func (n *Namespace) frameCast(name string, build func(dst []byte) []byte, attachments [][]byte) (f packetFrames, list []byte) {
	m := engineio.NewText()
	b := appendHeader(m.Buffer(), typeEvent, len(attachments), n.name, 0, false)
	listStart := len(b)
	b = append(appendJSONString(append(b, '['), name), ',')
	m.SetBuffer(append(build(b), ']'))
	return packetFrames{text: m}.withAttachments(attachments), m.Buffer()[listStart:]
}

// CastAll is Cast to every socket of the namespace on this node.
func (n *Namespace) CastAll(name string, a Args) {
	f := frameEvent(n.name, name, a, 0, false)
	if n.rooms.holdPosition(f.text) {
		defer n.rooms.castLog.UnlockPosition()
	}
	f.sealFrames(false)
	n.rooms.forEachMember(nil, func(m *member) {
		if m.conn != nil {
			f.pushTo(m.conn)
		}
	})
	f.releaseFrames()
}

// CastArgs is Cast for any number of arguments that are encoded already, binary ones too. The
// members of the room except, which may be "", are left out.
func (n *Namespace) CastArgs(room, except, name string, a Args) (reached int) {
	if n.cluster != nil {
		t := target{rooms: []socket.Room{socket.Room(room)}}
		if except != "" {
			t.except = []socket.Room{socket.Room(except)}
		}
		n.cluster.publishEvent(withName(name, a).asList(), a.Attachments, t)
	}
	f := frameEvent(n.name, name, a, 0, false)
	if n.rooms.holdPosition(f.text) {
		defer n.rooms.castLog.UnlockPosition()
	}
	f.sealFrames(false)
	opts := &socket.BroadcastOptions{Rooms: types.NewSet(socket.Room(room))}
	if except != "" {
		opts.Except = types.NewSet(socket.Room(except))
	}
	n.rooms.forEachMember(opts, func(m *member) {
		if m.conn != nil && f.pushTo(m.conn) {
			reached++
		}
	})
	f.releaseFrames()
	return reached
}

// ErrUnheard says that this node does not hear the other nodes of its cluster.
var ErrUnheard = errors.New("socketio: this node does not hear the other nodes")

// Heard returns when the casts of other nodes reach a room that has members here, or when ctx ends,
// and after ClusterConfig.SubscribeWait, which is counted (ClusterStats.LateSubscriptions). From
// the room's first join on, it takes about one round trip to Redis. While Redis is away, Heard
// returns ErrUnheard at once.
func (n *Namespace) Heard(ctx context.Context, room string) error {
	if n.cluster == nil {
		return nil
	}
	return n.cluster.waitSubscribed(ctx, socket.Room(room))
}

// RoomsHere lists the rooms with members on this node whose names begin with prefix.
func (n *Namespace) RoomsHere(prefix string) []string { return n.rooms.names(prefix) }

// SocketsIn lists the ids of the sockets of this node that are in a room.
func (n *Namespace) SocketsIn(room string) []string { return n.rooms.occupants(socket.Room(room)) }
