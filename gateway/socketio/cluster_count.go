package socketio

import (
	"context"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/tracing"
)

// A broadcast to one room can ask every node that receives it how many members it reached: the id
// of that request stands behind the three elements that Node's adapter looks at. Redis says how
// many nodes receive the broadcast, perhaps this one too, and each answers with responseCount.
// Node's adapter receives the broadcasts to every room and answers nothing; where it is present,
// the members are counted after the broadcast.

// countTimeout is how long CastCount waits for the other nodes at most.
const countTimeout = time.Second

// CastCount is Cast that returns how many members it reached on all nodes. missing is how many
// nodes did not answer within a second, or before ctx ended; it is at least 1 when Redis did not
// take the message. When it is not 0, more members may have been reached. While Redis is away,
// CastCount does not wait.
func (n *Namespace) CastCount(ctx context.Context, room, name string, build func(dst []byte) []byte) (reached, missing int) {
	if n.cluster == nil {
		return n.Cast(room, name, build), 0
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	f, list := n.frameCast(name, build, nil)
	defer f.releaseFrames()
	wait := n.cluster.publishCounting(ctx, list, socket.Room(room))
	reached = n.rooms.castToRoom(socket.Room(room), f.sealFrames(false))
	elsewhere, missing := wait()
	return reached + elsewhere, missing
}

// publishCounting publishes an event to a room, and returns a function that waits for the number of
// members that it reached on other nodes.
func (n *clusterNamespace) publishCounting(ctx context.Context, list []byte, room socket.Room) (wait func() (members, missing int)) {
	t := target{rooms: []socket.Room{room}, traceparent: tracing.ParentOf(ctx)}
	counted := n.startCount(list, nil, t)
	return func() (int, int) { return counted(ctx) }
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

// setListeners takes from Redis's reply how many nodes receive a broadcast that counts. An answer
// of each of them is waited for.
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

// answerCount answers a broadcast that counts with how many members it reached on this node.
func (n *clusterNamespace) answerCount(m *receivedBroadcast, reached int) {
	if len(m.countID) == 0 {
		return
	}
	r := &request{UID: string(m.uid), RequestID: string(m.countID)}
	n.sendResponse(r, struct {
		answerHead
		ClientCount int `json:"clientCount"`
	}{answerHead{responseCount, r.RequestID, n.cluster.uid}, reached})
}

// noteOwnBroadcast notes that this node was one of those that received its own broadcast. It needs
// no answer: this node's members were counted when the broadcast was sent.
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
