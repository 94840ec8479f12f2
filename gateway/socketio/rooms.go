package socketio

import (
	"strings"
	"sync"

	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/castlog"
)

// rooms is the library's adapter for one node: the index of who is in which room. One lock guards
// both directions of the index, so a join never races the last leave. A broadcast is framed once,
// and the same bytes are queued for every member. Every socket is in the room of its own id,
// without an entry for it.
type rooms struct {
	socket.Adapter // for what does not concern rooms

	maxRooms int
	// onOccupancy, if not nil, is called for the first join of a room (by is 1) and the last leave
	// (-1), with mu held.
	onOccupancy func(name socket.Room, by int)
	castLog     *castlog.Log // nil where casts are not logged
	replays     *replays     // the same
	// onMembership, if not nil, is called for each join (by is 1) and leave (-1) of a socket that
	// stays, with mu held.
	onMembership func(m *member, name socket.Room, by int)
	// onJoinRefused, if not nil, is called for a join of AddAll beyond maxRooms.
	onJoinRefused func(id, room string)

	mu      sync.RWMutex
	rooms   map[socket.Room]*room       // never empty ones; guarded by mu
	members map[socket.SocketId]*member // guarded by mu

	admitted map[socket.PrivateSessionId]*socket.Session // that the library is about to connect; guarded by mu
}

type room struct {
	name    socket.Room
	members []*member
	streams streams // the streams whose casts to the room come in order
}

// A member is one socket with the rooms that it is in.
type member struct {
	lib         *socket.Socket
	conn        *engineio.Conn // nil before attachConn
	socket      *Socket        // the same
	memberships []membership
}

// A membership is a member's entry in one room.
type membership struct {
	room  *room
	index int // in room.members
}

type adapterBuilder struct {
	maxRooms      int
	onJoinRefused func(id, room string)
	cluster       *cluster            // nil for a server that shares no Redis
	local         map[string]Receiver // Config.LocalNamespaces
}

// New is called by the library, once for each namespace.
func (b adapterBuilder) New(nsp socket.Namespace) socket.Adapter {
	a := &rooms{Adapter: socket.MakeAdapter(), maxRooms: b.maxRooms, onJoinRefused: b.onJoinRefused, rooms: map[socket.Room]*room{}, members: map[socket.SocketId]*member{}}
	if b.cluster != nil && b.local[nsp.Name()] == nil {
		n := b.cluster.addNamespace(nsp.Name(), a)
		a.Prototype(n)
		a.Construct(nsp)
		return n
	}
	a.Prototype(a)
	a.Construct(nsp)
	return a
}

// notifyOccupancy calls onOccupancy. mu is held.
func (a *rooms) notifyOccupancy(name socket.Room, by int) {
	if a.onOccupancy != nil {
		a.onOccupancy(name, by)
	}
}

// AddAll puts a socket into rooms. It is called by the library: for a socket that connects, for its
// own API, and for the requests of other nodes.
func (a *rooms) AddAll(id socket.SocketId, names *types.Set[socket.Room]) {
	for _, name := range a.addAll(id, names) {
		if a.onJoinRefused != nil {
			a.onJoinRefused(string(id), string(name))
		}
	}
}

// addAll is AddAll. It returns the rooms that the socket cannot join because it is in too many.
func (a *rooms) addAll(id socket.SocketId, names *types.Set[socket.Room]) (refused []socket.Room) {
	lib, ok := a.Nsp().Sockets().Load(id)
	if !ok {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.members[id]
	if m == nil {
		if !names.Has(socket.Room(id)) {
			return nil // it has left: only a socket that connects joins the room of its id
		}
		m = &member{lib: lib}
		a.members[id] = m
		a.notifyOccupancy(socket.Room(id), 1)
	}
	for _, name := range names.Keys() {
		if !a.addToRoom(m, id, name) {
			refused = append(refused, name)
		}
	}
	return refused
}

// attachConn is called when the answer to the socket's CONNECT is queued. Before, it is sent
// nothing.
func (a *rooms) attachConn(id socket.SocketId, conn *engineio.Conn, s *Socket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.members[id]; m != nil {
		m.conn, m.socket = conn, s
	}
}

// addToRoom adds a member to a room, and reports whether it is in the room now. It is not when it
// is in too many others. mu is held.
func (a *rooms) addToRoom(m *member, id socket.SocketId, name socket.Room) bool {
	if name == socket.Room(id) || m.findMembership(name) >= 0 {
		return true
	}
	if a.maxRooms > 0 && len(m.memberships) >= a.maxRooms {
		return false
	}
	r := a.rooms[name]
	if r == nil {
		r = &room{name: name}
		a.rooms[name] = r
		a.notifyOccupancy(name, 1)
	}
	m.memberships = append(m.memberships, membership{r, len(r.members)})
	r.members = append(r.members, m)
	if a.onMembership != nil {
		a.onMembership(m, name, 1)
	}
	return true
}

// findMembership returns the index of the member's entry for a room, or -1.
func (m *member) findMembership(name socket.Room) int {
	for i, s := range m.memberships {
		if s.room.name == name {
			return i
		}
	}
	return -1
}

// removeFromRoom removes the membership with index i of a member. mu is held.
func (a *rooms) removeFromRoom(m *member, i int) {
	s := m.memberships[i]
	r := s.room
	last := r.members[len(r.members)-1]
	r.members[s.index] = last
	last.memberships[last.findMembership(r.name)].index = s.index
	r.members[len(r.members)-1] = nil
	if r.members = r.members[:len(r.members)-1]; len(r.members) == 0 {
		delete(a.rooms, r.name)
		a.notifyOccupancy(r.name, -1)
	}
	m.memberships[i] = m.memberships[len(m.memberships)-1]
	m.memberships = m.memberships[:len(m.memberships)-1]
}

// Del removes a socket from a room.
func (a *rooms) Del(id socket.SocketId, name socket.Room) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.members[id]; m != nil {
		if i := m.findMembership(name); i >= 0 {
			a.removeFromRoom(m, i)
			if a.onMembership != nil {
				a.onMembership(m, name, -1)
			}
		}
	}
}

// DelAll removes a socket from all rooms, its own too.
func (a *rooms) DelAll(id socket.SocketId) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.members[id]; m != nil {
		for len(m.memberships) > 0 {
			a.removeFromRoom(m, len(m.memberships)-1)
		}
		delete(a.members, id)
		a.notifyOccupancy(socket.Room(id), -1)
	}
}

// joinRoom is AddAll for one room. It returns how many members the room has then on this node.
func (a *rooms) joinRoom(id socket.SocketId, name socket.Room) (members int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.members[id]
	if m == nil || !a.addToRoom(m, id, name) {
		return a.countMembers(name), false
	}
	return a.countMembers(name), true
}

// leaveRoom is Del. It returns how many members the room has then on this node.
func (a *rooms) leaveRoom(id socket.SocketId, name socket.Room) (members int) {
	a.Del(id, name)
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.countMembers(name)
}

func (a *rooms) isInRoom(id socket.SocketId, name socket.Room) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	m := a.members[id]
	return m != nil && (name == socket.Room(id) || m.findMembership(name) >= 0)
}

// countRooms counts the rooms that the socket is in and whose names begin with prefix.
func (a *rooms) countRooms(id socket.SocketId, prefix string) (n int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if m := a.members[id]; m != nil {
		for _, s := range m.memberships {
			if strings.HasPrefix(string(s.room.name), prefix) {
				n++
			}
		}
	}
	return n
}

// countMembers counts the members of a room on this node. mu is held.
func (a *rooms) countMembers(name socket.Room) (n int) {
	if r := a.rooms[name]; r != nil {
		n = len(r.members)
	}
	if a.members[socket.SocketId(name)] != nil {
		n++
	}
	return n
}

// Sockets lists the sockets that are in any of the rooms, or all.
func (a *rooms) Sockets(names *types.Set[socket.Room]) *types.Set[socket.SocketId] {
	ids := types.NewSet[socket.SocketId]()
	a.forEachMember(&socket.BroadcastOptions{Rooms: names}, func(m *member) { ids.Add(m.lib.Id()) })
	return ids
}

// SocketRooms lists the rooms of a socket, its own first. It returns nil when there is no such
// socket.
func (a *rooms) SocketRooms(id socket.SocketId) *types.Set[socket.Room] {
	a.mu.RLock()
	defer a.mu.RUnlock()
	m := a.members[id]
	if m == nil {
		return nil
	}
	names := types.NewSet(socket.Room(id))
	for _, s := range m.memberships {
		names.Add(s.room.name)
	}
	return names
}

// Rooms copies the index. It is for tools, not for the path of a message.
func (a *rooms) Rooms() *types.Map[socket.Room, *types.Set[socket.SocketId]] {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := &types.Map[socket.Room, *types.Set[socket.SocketId]]{}
	for name, r := range a.rooms {
		ids := types.NewSet[socket.SocketId]()
		for _, m := range r.members {
			ids.Add(m.lib.Id())
		}
		all.Store(name, ids)
	}
	for id := range a.members {
		own, _ := all.LoadOrStore(socket.Room(id), types.NewSet[socket.SocketId]())
		own.Add(id)
	}
	return all
}

// Sids copies the index in the other direction.
func (a *rooms) Sids() *types.Map[socket.SocketId, *types.Set[socket.Room]] {
	a.mu.RLock()
	ids := make([]socket.SocketId, 0, len(a.members))
	for id := range a.members {
		ids = append(ids, id)
	}
	a.mu.RUnlock()
	all := &types.Map[socket.SocketId, *types.Set[socket.Room]]{}
	for _, id := range ids {
		if names := a.SocketRooms(id); names != nil {
			all.Store(id, names)
		}
	}
	return all
}

// names lists the rooms with members here whose names begin with prefix.
func (a *rooms) names(prefix string) (names []string) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for name := range a.rooms {
		if strings.HasPrefix(string(name), prefix) {
			names = append(names, string(name))
		}
	}
	return names
}

// occupants lists the ids of the members of a room here.
func (a *rooms) occupants(name socket.Room) (ids []string) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if r := a.rooms[name]; r != nil {
		for _, m := range r.members {
			ids = append(ids, string(m.lib.Id()))
		}
	}
	return ids
}
