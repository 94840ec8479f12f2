package socketio

import (
	"strings"
	"sync"

	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// rooms is our adapter: who is in which room on this node. One lock guards both directions
// of the index, so a join never races the last leave; a broadcast is framed once and the
// same bytes are queued for every member. Every socket is in the room of its own id
// without an entry for it.
type rooms struct {
	socket.Adapter // what is not about rooms

	maxRooms int
	watch    func(name socket.Room, by int) // told of the first join and the last leave, mu held; nil watches nothing

	mu      sync.RWMutex
	rooms   map[socket.Room]*room       // never empty ones; guarded by mu
	members map[socket.SocketId]*member // guarded by mu
}

type room struct {
	name    socket.Room
	members []*member
	streams streams // of what is cast to it in order
}

// A member is one socket with its seats.
type member struct {
	lib   *socket.Socket
	conn  *engineio.Conn // nil until it has arrived
	seats []seat
}

// A seat is a member's place in one room.
type seat struct {
	room  *room
	index int // in room.members
}

type roomsBuilder struct {
	maxRooms int
	cluster  *cluster // nil for a server that is alone
}

// New is called by the library, once for each namespace.
func (b roomsBuilder) New(nsp socket.Namespace) socket.Adapter {
	a := &rooms{Adapter: socket.MakeAdapter(), maxRooms: b.maxRooms, rooms: map[socket.Room]*room{}, members: map[socket.SocketId]*member{}}
	if b.cluster != nil {
		n := b.cluster.join(nsp.Name(), a)
		a.Prototype(n)
		a.Construct(nsp)
		return n
	}
	a.Prototype(a)
	a.Construct(nsp)
	return a
}

// noted tells who watches. mu is held.
func (a *rooms) noted(name socket.Room, by int) {
	if a.watch != nil {
		a.watch(name, by)
	}
}

// AddAll puts a socket into rooms.
func (a *rooms) AddAll(id socket.SocketId, names *types.Set[socket.Room]) {
	lib, ok := a.Nsp().Sockets().Load(id)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.members[id]
	if m == nil {
		if !names.Has(socket.Room(id)) {
			return // it has left: only a socket that connects joins the room of its own id
		}
		m = &member{lib: lib}
		a.members[id] = m
		a.noted(socket.Room(id), 1)
	}
	for _, name := range names.Keys() {
		a.sit(m, id, name)
	}
}

// arrive is called when the socket's CONNECT is on its way: before, it is sent nothing.
func (a *rooms) arrive(id socket.SocketId, conn *engineio.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.members[id]; m != nil {
		m.conn = conn
	}
}

// sit reports whether the member is in the room now. mu is held.
func (a *rooms) sit(m *member, id socket.SocketId, name socket.Room) bool {
	if name == socket.Room(id) || m.seatIn(name) >= 0 {
		return true
	}
	if a.maxRooms > 0 && len(m.seats) >= a.maxRooms {
		return false
	}
	r := a.rooms[name]
	if r == nil {
		r = &room{name: name}
		a.rooms[name] = r
		a.noted(name, 1)
	}
	m.seats = append(m.seats, seat{r, len(r.members)})
	r.members = append(r.members, m)
	return true
}

func (m *member) seatIn(name socket.Room) int {
	for i, s := range m.seats {
		if s.room.name == name {
			return i
		}
	}
	return -1
}

// rise takes seat i from a member. mu is held.
func (a *rooms) rise(m *member, i int) {
	s := m.seats[i]
	r := s.room
	last := r.members[len(r.members)-1]
	r.members[s.index] = last
	last.seats[last.seatIn(r.name)].index = s.index
	r.members[len(r.members)-1] = nil
	if r.members = r.members[:len(r.members)-1]; len(r.members) == 0 {
		delete(a.rooms, r.name)
		a.noted(r.name, -1)
	}
	m.seats[i] = m.seats[len(m.seats)-1]
	m.seats = m.seats[:len(m.seats)-1]
}

// Del takes a socket out of a room.
func (a *rooms) Del(id socket.SocketId, name socket.Room) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.members[id]; m != nil {
		if i := m.seatIn(name); i >= 0 {
			a.rise(m, i)
		}
	}
}

// DelAll forgets a socket.
func (a *rooms) DelAll(id socket.SocketId) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.members[id]; m != nil {
		for len(m.seats) > 0 {
			a.rise(m, len(m.seats)-1)
		}
		delete(a.members, id)
		a.noted(socket.Room(id), -1)
	}
}

// join and leave are AddAll and Del for one socket and one room; they tell how many
// members the room has then.
func (a *rooms) join(id socket.SocketId, name socket.Room) (members int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.members[id]
	if m == nil || !a.sit(m, id, name) {
		return a.size(name), false
	}
	return a.size(name), true
}

func (a *rooms) leave(id socket.SocketId, name socket.Room) (members int) {
	a.Del(id, name)
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.size(name)
}

func (a *rooms) in(id socket.SocketId, name socket.Room) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	m := a.members[id]
	return m != nil && (name == socket.Room(id) || m.seatIn(name) >= 0)
}

// count is in how many rooms whose names begin with prefix the socket is.
func (a *rooms) count(id socket.SocketId, prefix string) (n int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if m := a.members[id]; m != nil {
		for _, s := range m.seats {
			if strings.HasPrefix(string(s.room.name), prefix) {
				n++
			}
		}
	}
	return n
}

// size is how many members a room has on this node. mu is held.
func (a *rooms) size(name socket.Room) (n int) {
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
	a.each(&socket.BroadcastOptions{Rooms: names}, func(m *member) { ids.Add(m.lib.Id()) })
	return ids
}

// SocketRooms lists the rooms of a socket, its own first; nil when there is no such socket.
func (a *rooms) SocketRooms(id socket.SocketId) *types.Set[socket.Room] {
	a.mu.RLock()
	defer a.mu.RUnlock()
	m := a.members[id]
	if m == nil {
		return nil
	}
	names := types.NewSet(socket.Room(id))
	for _, s := range m.seats {
		names.Add(s.room.name)
	}
	return names
}

// Rooms and Sids copy the index; they are for tools, not for the path of a message.
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

// Sids is the other direction of Rooms.
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
