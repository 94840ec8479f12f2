package socketio

import (
	"github.com/zishang520/socket.io/v2/socket"
)

// CastTraced casts as Cast, CastEach, CastInOrder or CastArgs would, without a log, and tells the
// other nodes the span of the cast. Few casts are traced.
func (n *Namespace) CastTraced(c LoggedCast) {
	m, listStart := n.frameCast(c.Name, c.Build)
	t := target{position: streamPosition{c.Stream, c.Place}, traceparent: c.Traceparent}
	for _, room := range c.Rooms {
		t.rooms = append(t.rooms, socket.Room(room))
	}
	if c.Except != "" {
		t.except = []socket.Room{socket.Room(c.Except)}
	}
	if n.cluster != nil {
		n.cluster.publishEvent(m.Buffer()[listStart:], nil, t)
	}
	if c.Place > 0 {
		n.rooms.castInOrder(t, packetFrames{text: m}.sealFrames(false))
		return
	}
	isHeld := n.rooms.holdPosition(m)
	n.rooms.deliverFrames(packetFrames{text: m}.sealFrames(false), t.broadcastOptions(), nil)
	if isHeld {
		n.rooms.castLog.UnlockPosition()
	}
	m.Free()
}
