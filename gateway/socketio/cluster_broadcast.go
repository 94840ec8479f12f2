package socketio

import (
	"errors"
	"strings"
	"sync"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redisbus"
)

// errTooLarge says that a message was not published because of its size.
var errTooLarge = errors.New("socketio: the message is too large for the cluster")

// scratchPool has buffers in which messages are packed.
var scratchPool = sync.Pool{New: func() any { return new([]byte) }}

// putScratch gives back a buffer, which holds b now, unless that has become large.
func putScratch(buf *[]byte, b []byte) {
	if *buf = b; cap(b) > 64<<10 {
		*buf = nil
	}
	scratchPool.Put(buf)
}

// publishEvent publishes an event to the other nodes: list is its name and arguments as JSON, in
// brackets. It does not wait.
func (n *clusterNamespace) publishEvent(list []byte, attachments [][]byte, t target) {
	n.publishBroadcast(list, attachments, t, nil)
}

// maxNodesForOneMessage is the largest number of nodes with which an event for several rooms is
// published as one message. All nodes receive that message, but it costs less than one for each
// room.
const maxNodesForOneMessage = 2

// publishToEachRoom is publishEvent for several rooms. With few nodes it publishes one message;
// otherwise one for each room, which only the nodes with members there receive. The event is packed
// once.
func (n *clusterNamespace) publishToEachRoom(list []byte, rooms []socket.Room) {
	buf := scratchPool.Get().(*[]byte)
	b, ok := n.appendBroadcastHead(*buf, list, nil)
	targetStart := len(b)
	roomsPerMessage := 1
	if n.trustedNodeCount.Load() <= maxNodesForOneMessage && !n.cluster.bus.IsCluster() {
		roomsPerMessage = len(rooms)
	}
	for ; len(rooms) > 0; rooms = rooms[roomsPerMessage:] {
		t := target{rooms: rooms[:roomsPerMessage]}
		b = t.appendTo(b[:targetStart])
		n.publishPacked(b, ok, t, nil)
	}
	putScratch(buf, b)
}

// appendBroadcastHead packs what stands before the target in a broadcast, at the beginning of buf.
// It reports false when the event cannot be packed.
func (n *clusterNamespace) appendBroadcastHead(buf, list []byte, attachments [][]byte) (b []byte, ok bool) {
	nsp := n.name
	if nsp == "/" {
		nsp = ""
	}
	return appendPacket(jsonpack.AppendText(append(buf[:0], broadcastHead), n.cluster.uid), list, attachments, nsp, busDepth)
}

// publishBroadcast is publishEvent. With a request q, which may be nil, it asks every node that
// receives the event how many members that reached.
func (n *clusterNamespace) publishBroadcast(list []byte, attachments [][]byte, t target, q *pendingRequest) {
	buf := scratchPool.Get().(*[]byte)
	b, ok := n.appendBroadcastHead(*buf, list, attachments)
	b = t.appendTo(b)
	var onPublished func(receivers, alsoCounted int64, err error)
	if q != nil {
		b[0] = countingHead
		b = jsonpack.AppendText(b, q.id)
		onPublished = q.setListeners
	}
	n.publishPacked(b, ok, t, onPublished)
	putScratch(buf, b)
}

// publishPacked gives a packed broadcast to the bus, on the channel of its target. ok is false when
// it could not be packed.
func (n *clusterNamespace) publishPacked(b []byte, ok bool, t target, onPublished func(receivers, alsoCounted int64, err error)) {
	if !ok || len(b) > n.cluster.cfg.MaxMessage {
		n.cluster.discarded.Add(1)
		if onPublished != nil {
			onPublished(0, 0, errTooLarge)
		}
		return
	}
	n.cluster.bus.Publish(redisbus.Message{
		Channel: n.channelFor(t), Payload: b, OnPublished: onPublished,
		IsSharded: len(t.rooms) == 1 && n.classicNodeCount.Load() == 0 && n.cluster.bus.HasShardedChannels(),
	})
}

// onBroadcast delivers a broadcast of another node. This node's own come too; their first bytes
// tell which they are.
func (n *clusterNamespace) onBroadcast(b []byte) bool {
	if len(b) > n.cluster.cfg.MaxMessage {
		return false
	}
	if n.cluster.castLog != nil && len(b) > 0 && (b[0] == loggedHead || b[0] == loggedCountingHead) {
		return n.onLogged(b)
	}
	uid := n.cluster.uid
	isOwn := len(b) > 2+len(uid) && b[1] == 0xa0|byte(len(uid)) && string(b[2:2+len(uid)]) == uid
	if isOwn && b[0] != countingHead {
		return true
	}
	m, ok := readBroadcast(b)
	if !ok {
		return false
	}
	if isOwn {
		n.noteOwnBroadcast(&m)
		return true
	}
	if string(m.nsp) != n.name {
		return true
	}
	return n.deliverBroadcast(&m, castlog.Position{}, false)
}

// deliverBroadcast delivers a broadcast of another node. Where it came by the log, at is its
// position, which is held. It reports false when clients would refuse it.
func (n *clusterNamespace) deliverBroadcast(m *receivedBroadcast, at castlog.Position, isLogged bool) bool {
	if m.traceparent != "" {
		defer n.cluster.cfg.Tracer.Continue("deliver "+m.eventName(), m.traceparent).End()
	}
	f, ok := m.frameForMembers(n.name, 2*n.cluster.cfg.MaxMessage)
	if !ok {
		return false
	}
	if isLogged {
		appendOffset(f.text, at)
	} else if n.holdPosition(f.text) {
		defer n.castLog.UnlockPosition()
	}
	f.sealFrames(m.volatile)
	if isLogged {
		n.replays.note(m.rooms, m.except, at, f)
	}
	if len(m.rooms) == 1 && m.position.number > 0 {
		n.castInOrder(m.target, f)
		return true
	}
	switch {
	case len(m.rooms) == 1 && len(m.except) == 0:
		n.answerCount(m, n.castToRoom(m.rooms[0], f))
	case len(m.rooms) == 0 && len(m.except) == 0:
		n.answerCount(m, n.castToEverySocket(f))
	default:
		n.deliverFrames(f, m.broadcastOptions(), nil)
	}
	f.releaseFrames()
	return true
}

// isWireRoomName reports whether other nodes may ask sockets to join a room of this name: it must
// not be empty or absurdly long, and hold no zero byte.
func isWireRoomName(room socket.Room) bool {
	return room != "" && len(room) <= 512 && !strings.ContainsRune(string(room), 0)
}
