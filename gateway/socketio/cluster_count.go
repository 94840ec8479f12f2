package socketio

import (
	"context"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// A broadcast to one room may ask everyone who hears it how many it reached: the id of the
// question stands behind the three elements that Node's adapter looks at. Redis tells how
// many hear it, this node perhaps too, and each answers with responseCount. Node's adapter
// hears every room and answers nothing; where it is present, the room is counted afterwards.

// countTimeout is how long a CastCount waits for other nodes at most.
const countTimeout = time.Second

// CastCount is Cast that tells how many members took it on all nodes. missing is how many
// nodes did not say so within a second, or before ctx ended, or at least 1 when Redis did
// not take the message: then more may have been reached. While Redis is away it does not wait.
func (n *Namespace) CastCount(ctx context.Context, room, name string, build func(dst []byte) []byte) (reached, missing int) {
	if n.cluster == nil {
		return n.Cast(room, name, build), 0
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	m := engineio.NewText()
	defer m.Free()
	b := appendHeader(m.Buffer(), typeEvent, 0, n.name, 0, false)
	list := len(b)
	b = append(appendJSONString(append(b, '['), name), ',')
	m.SetBuffer(append(build(b), ']'))
	wait := n.cluster.publishCounting(ctx, m.Buffer()[list:], socket.Room(room))
	reached = n.rooms.castToRoom(socket.Room(room), packetFrames{text: m}.sealFrames(false))
	there, missing := wait()
	return reached + there, missing
}

// publishCounting publishes an event to a room; what it returns waits for the number of members on
// the other nodes.
func (n *clusterNamespace) publishCounting(ctx context.Context, list []byte, room socket.Room) (wait func() (members, missing int)) {
	t := target{rooms: []socket.Room{room}}
	if n.classicNodeCount.Load() > 0 {
		n.publishEvent(list, nil, t)
		return func() (int, int) { return n.countElsewhere(ctx, t) }
	}
	deadline, _ := ctx.Deadline()
	got := make(chan int, 1)
	total := 0
	q := &pendingRequest{
		id:    newID(),
		onAnswer: func(r *response) { total += clampClientCount(r.ClientCount) },
		onDone:  func(missing int) { got <- missing },
	}
	if !n.cluster.bus.IsConnected() || !n.openRequest(time.Until(deadline), q) {
		n.publishEvent(list, nil, t)
		return func() (int, int) { return 0, max(1, int(n.nodeCount.Load())-1) }
	}
	n.publishBroadcast(list, nil, t, q)
	return func() (int, int) {
		select {
		case missing := <-got:
			q.mu.Lock()
			defer q.mu.Unlock()
			return total, missing
		case <-ctx.Done():
			q.expireRequest()
			missing := <-got
			q.mu.Lock()
			defer q.mu.Unlock()
			return total, max(1, missing)
		}
	}
}

// countElsewhere counts the members of a room on other nodes.
func (n *clusterNamespace) countElsewhere(ctx context.Context, t target) (members, missing int) {
	type count struct{ members, missing int }
	got := make(chan count, 1)
	n.fetchSockets(t.broadcastOptions(), func(all []socket.SocketDetails, missing int) {
		got <- count{len(all) - len(n.selectSockets(t.broadcastOptions())), missing}
	})
	select {
	case c := <-got:
		return max(0, c.members), c.missing
	case <-ctx.Done():
		return 0, int(n.nodeCount.Load()) - 1
	}
}

// setListeners learns how many nodes hear a broadcast that counts: each of them answers.
func (q *pendingRequest) setListeners(receivers, _ int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.awaitedUnnamed, q.isSent = int(receivers), true
	if err != nil {
		q.finishRequest(max(1, int(q.namespace.nodeCount.Load())-1))
		return
	}
	q.finishIfAnswered()
}

// answerCount answers a broadcast that counts; here is how many it reached on this node.
func (n *clusterNamespace) answerCount(m *receivedBroadcast, here int) {
	if len(m.countID) == 0 {
		return
	}
	r := &request{UID: string(m.uid), RequestID: string(m.countID)}
	n.sendResponse(r, struct {
		answerHead
		ClientCount int `json:"clientCount"`
	}{answerHead{responseCount, r.RequestID, n.cluster.uid}, here})
}

// noteOwnBroadcast takes note that this node has heard a broadcast of its own: its members were
// counted when it was sent.
func (n *clusterNamespace) noteOwnBroadcast(m *receivedBroadcast) {
	n.mu.Lock()
	q := n.openRequests[string(m.countID)]
	n.mu.Unlock()
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.awaitedNodes == nil && !q.answeredNodes[n.cluster.uid] {
		q.answeredNodes[n.cluster.uid] = true
		q.finishIfAnswered()
	}
}
