package socketio

import (
	"sync"
	"time"

	"github.com/zishang520/socket.io-go-parser/v2/parser"
	"github.com/zishang520/socket.io/v2/socket"
)

// This file finds the members whom a message is for, and delivers it to them.

// forEachMember calls f once for each member that opts selects. f must not call the adapter.
func (a *rooms) forEachMember(opts *socket.BroadcastOptions, f func(*member)) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var names, except []socket.Room
	if opts != nil && opts.Rooms != nil {
		names = opts.Rooms.Keys()
	}
	if opts != nil && opts.Except != nil {
		except = opts.Except.Keys()
	}
	isExcluded := func(m *member) bool {
		for _, name := range except {
			if socket.Room(m.lib.Id()) == name || m.findMembership(name) >= 0 {
				return true
			}
		}
		return false
	}
	if len(names) == 0 {
		for _, m := range a.members {
			if !isExcluded(m) {
				f(m)
			}
		}
		return
	}
	for i, name := range names {
		visit := func(m *member) {
			for _, earlier := range names[:i] { // it was visited there
				if socket.Room(m.lib.Id()) == earlier || m.findMembership(earlier) >= 0 {
					return
				}
			}
			if !isExcluded(m) {
				f(m)
			}
		}
		if r := a.rooms[name]; r != nil {
			for _, m := range r.members {
				visit(m)
			}
		}
		if m := a.members[socket.SocketId(name)]; m != nil && m.findMembership(name) < 0 {
			visit(m)
		}
	}
}

// castToRoom queues frames for every member of one room, and returns how many took them. Most
// broadcasts of a game go this way.
func (a *rooms) castToRoom(name socket.Room, f packetFrames) (reached int) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if r := a.rooms[name]; r != nil {
		for _, m := range r.members {
			if m.conn != nil && f.pushTo(m.conn) {
				reached++
			}
		}
	}
	if m := a.members[socket.SocketId(name)]; m != nil && m.conn != nil && f.pushTo(m.conn) {
		reached++
	}
	return reached
}

// Broadcast delivers an event of the library to the members that opts selects.
func (a *rooms) Broadcast(p *parser.Packet, opts *socket.BroadcastOptions) {
	e, err := encodeEvent(p)
	if err != nil {
		return // the library's Emit cannot report it; our own Emit does
	}
	a.broadcastEvent(e, opts)
}

// broadcastEvent delivers an event, framed once.
func (a *rooms) broadcastEvent(e Args, opts *socket.BroadcastOptions) {
	f := framePacket(a.Nsp().Name(), e, 0, false)
	if a.holdPosition(f.text) {
		defer a.castLog.UnlockPosition()
	}
	a.deliverFrames(f.sealFrames(isVolatile(opts)), opts, nil)
	f.releaseFrames()
}

func isVolatile(opts *socket.BroadcastOptions) bool {
	return opts != nil && opts.Flags != nil && opts.Flags.Volatile
}

// deliverFrames queues frames for every member that opts selects. It calls before, which may be
// nil, for each of them first.
func (a *rooms) deliverFrames(f packetFrames, opts *socket.BroadcastOptions, before func(*member)) {
	a.forEachMember(opts, func(m *member) {
		if m.conn != nil {
			if before != nil {
				before(m)
			}
			f.pushTo(m.conn)
		}
	})
}

// BroadcastWithAck broadcasts, and calls ack for each client's answer with exactly one value: the
// first argument, or nil for an empty answer. Where a single response is expected, that value is
// the list of all its arguments.
func (a *rooms) BroadcastWithAck(p *parser.Packet, opts *socket.BroadcastOptions, count func(uint64), ack socket.Ack) {
	e, err := encodeEvent(p)
	if err != nil {
		return
	}
	a.askMembers(e, opts, func(n uint64) { count(countExpectedAnswers(opts, n)) }, ack)
}

// countExpectedAnswers returns how many answers the library is told to wait for when n clients were
// asked. For a single response it is at least one, because the library looks for that answer even
// when the socket has left.
func countExpectedAnswers(opts *socket.BroadcastOptions, n uint64) uint64 {
	if expectsSingleAnswer(opts) {
		n = max(n, 1)
	}
	return n
}

func expectsSingleAnswer(opts *socket.BroadcastOptions) bool {
	return opts != nil && opts.Flags != nil && opts.Flags.ExpectSingleResponse
}

// askMembers is BroadcastWithAck for an event that is encoded.
func (a *rooms) askMembers(e Args, opts *socket.BroadcastOptions, count func(uint64), ack socket.Ack) {
	id := a.Nsp().Ids()
	isSingle := expectsSingleAnswer(opts)
	var mu sync.Mutex // held until the number of answers is known
	mu.Lock()
	defer mu.Unlock()
	var asked []*socket.Socket
	f := framePacket(a.Nsp().Name(), e, id, true).sealFrames(isVolatile(opts))
	defer f.releaseFrames()
	a.deliverFrames(f, opts, func(m *member) {
		asked = append(asked, m.lib)
		m.lib.Acks().Store(id, func(args []any, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case isSingle:
				args = []any{args}
			case len(args) == 0:
				args = []any{nil}
			}
			ack(args[:1], err)
		})
	})
	count(uint64(len(asked)))
	if opts != nil && opts.Flags != nil && opts.Flags.Timeout != nil {
		time.AfterFunc(*opts.Flags.Timeout, func() { // answers that come later are ignored
			for _, lib := range asked {
				lib.Acks().Delete(id)
			}
		})
	}
}

// FetchSockets lists the sockets that opts selects.
func (a *rooms) FetchSockets(opts *socket.BroadcastOptions) func(func([]socket.SocketDetails, error)) {
	return func(done func([]socket.SocketDetails, error)) {
		all := []socket.SocketDetails{}
		for _, lib := range a.selectSockets(opts) {
			all = append(all, lib)
		}
		done(all, nil)
	}
}

func (a *rooms) selectSockets(opts *socket.BroadcastOptions) (all []*socket.Socket) {
	a.forEachMember(opts, func(m *member) { all = append(all, m.lib) })
	return all
}

// AddSockets makes the sockets that opts selects join rooms.
func (a *rooms) AddSockets(opts *socket.BroadcastOptions, names []socket.Room) {
	for _, lib := range a.selectSockets(opts) {
		lib.Join(names...)
	}
}

// DelSockets makes the sockets that opts selects leave rooms.
func (a *rooms) DelSockets(opts *socket.BroadcastOptions, names []socket.Room) {
	for _, lib := range a.selectSockets(opts) {
		for _, name := range names {
			lib.Leave(name)
		}
	}
}

// DisconnectSockets disconnects the sockets that opts selects.
func (a *rooms) DisconnectSockets(opts *socket.BroadcastOptions, closing bool) {
	for _, lib := range a.selectSockets(opts) {
		lib.Disconnect(closing)
	}
}

// ServerCount returns 1, because this adapter knows one node.
func (a *rooms) ServerCount() int64 { return 1 }
