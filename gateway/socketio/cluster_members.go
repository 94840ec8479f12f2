package socketio

import (
	"context"

	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"
)

// Members counts a room's members on all nodes. missing is how many nodes did not answer before ctx
// ended, or are gone: when it is not 0, there may be more members.
func (n *Namespace) Members(ctx context.Context, room string) (members, missing int) {
	opts := &socket.BroadcastOptions{Rooms: types.NewSet(socket.Room(room))}
	here := len(n.rooms.selectSockets(opts))
	if n.cluster == nil {
		return here, 0
	}
	type count struct{ members, missing int }
	got := make(chan count, 1)
	n.cluster.fetchSockets(opts, func(all []socket.SocketDetails, missing int) { got <- count{len(all), missing} })
	select {
	case c := <-got:
		return c.members, c.missing
	case <-ctx.Done():
		return here, int(n.cluster.nodeCount.Load()) - 1
	}
}
