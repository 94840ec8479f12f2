package socketio

import (
	"github.com/zishang520/socket.io/v2/socket"
)

// CastUnlogged casts as Cast, CastEach, CastInOrder or CastArgs would, without a log, with
// everything that a cast may have: binary values, a span, whether it is volatile.
func (n *Namespace) CastUnlogged(c LoggedCast) {
	f, list := n.frameCast(c.Name, c.Build, c.Attachments)
	t := target{position: streamPosition{c.Stream, c.Place}, traceparent: c.Traceparent, volatile: c.IsVolatile}
	for _, room := range c.Rooms {
		t.rooms = append(t.rooms, socket.Room(room))
	}
	if c.Except != "" {
		t.except = []socket.Room{socket.Room(c.Except)}
	}
	if n.cluster != nil {
		n.cluster.publishEvent(list, c.Attachments, t)
	}
	if c.Place > 0 {
		n.rooms.castInOrder(t, f.sealFrames(c.IsVolatile))
		return
	}
	isHeld := n.rooms.holdPosition(f.text)
	n.rooms.deliverFrames(f.sealFrames(c.IsVolatile), t.broadcastOptions(), nil)
	if isHeld {
		n.rooms.castLog.UnlockPosition()
	}
	f.releaseFrames()
}
