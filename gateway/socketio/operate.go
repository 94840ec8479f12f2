package socketio

import "github.com/zishang520/socket.io/v2/socket"

// This file does to sockets of all nodes what an operator asks for. A target is a room, or the id
// of a socket.

// MakeJoin has the sockets of a target join a room, as far as MaxRooms allows.
func (n *Namespace) MakeJoin(target, room string) {
	n.lib.In(socket.Room(target)).SocketsJoin(socket.Room(room))
}

// MakeLeave has the sockets of a target leave a room.
func (n *Namespace) MakeLeave(target, room string) {
	n.lib.In(socket.Room(target)).SocketsLeave(socket.Room(room))
}

// MakeDisconnect disconnects the sockets of a target, with closing also their transports.
func (n *Namespace) MakeDisconnect(target string, closing bool) {
	n.lib.In(socket.Room(target)).DisconnectSockets(closing)
}
