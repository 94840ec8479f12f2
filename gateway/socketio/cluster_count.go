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

// countWithin is how long a CastCount waits for other nodes at most.
const countWithin = time.Second

// CastCount is Cast that tells how many members took it on all nodes. missing is how many
// nodes did not say so within a second, or before ctx ended, or at least 1 when Redis did
// not take the message: then more may have been reached. While Redis is away it does not wait.
func (n *Namespace) CastCount(ctx context.Context, room, name string, build func(dst []byte) []byte) (reached, missing int) {
	if n.cluster == nil {
		return n.Cast(room, name, build), 0
	}
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	m := engineio.NewText()
	defer m.Free()
	b := appendHeader(m.Buffer(), typeEvent, 0, n.name, 0, false)
	list := len(b)
	b = append(appendString(append(b, '['), name), ',')
	m.SetBuffer(append(build(b), ']'))
	wait := n.cluster.count(ctx, m.Buffer()[list:], socket.Room(room))
	reached = n.rooms.cast(socket.Room(room), frames{text: m}.seal(false))
	there, missing := wait()
	return reached + there, missing
}

// count publishes an event to a room; what it returns waits for the number of members on
// the other nodes.
func (n *clusterNamespace) count(ctx context.Context, list []byte, room socket.Room) (wait func() (members, missing int)) {
	t := target{rooms: []socket.Room{room}}
	if n.classic.Load() > 0 {
		n.tell(list, nil, t)
		return func() (int, int) { return n.elsewhere(ctx, t) }
	}
	deadline, _ := ctx.Deadline()
	got := make(chan int, 1)
	total := 0
	q := &inquiry{
		id:    newID(),
		heard: func(r *response) { total += clients(r.ClientCount) },
		done:  func(missing int) { got <- missing },
	}
	if !n.hub.bus.IsConnected() || !n.open(time.Until(deadline), q) {
		n.tell(list, nil, t)
		return func() (int, int) { return 0, max(1, int(n.nodes.Load())-1) }
	}
	n.publish(list, nil, t, q)
	return func() (int, int) {
		select {
		case missing := <-got:
			q.mu.Lock()
			defer q.mu.Unlock()
			return total, missing
		case <-ctx.Done():
			q.expire()
			missing := <-got
			q.mu.Lock()
			defer q.mu.Unlock()
			return total, max(1, missing)
		}
	}
}

// elsewhere counts the members of a room on other nodes.
func (n *clusterNamespace) elsewhere(ctx context.Context, t target) (members, missing int) {
	type count struct{ members, missing int }
	got := make(chan count, 1)
	n.fetch(t.options(), func(all []socket.SocketDetails, missing int) {
		got <- count{len(all) - len(n.selected(t.options())), missing}
	})
	select {
	case c := <-got:
		return max(0, c.members), c.missing
	case <-ctx.Done():
		return 0, int(n.nodes.Load()) - 1
	}
}

// listeners learns how many nodes hear a broadcast that counts: each of them answers.
func (q *inquiry) listeners(receivers, _ int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.others, q.sent = int(receivers), true
	if err != nil {
		q.finish(max(1, int(q.nsp.nodes.Load())-1))
		return
	}
	q.check()
}

// counted answers a broadcast that counts; here is how many it reached on this node.
func (n *clusterNamespace) counted(m *broadcast, here int) {
	if len(m.question) == 0 {
		return
	}
	r := &request{UID: string(m.uid), RequestID: string(m.question)}
	n.reply(r, struct {
		answerHead
		ClientCount int `json:"clientCount"`
	}{answerHead{responseCount, r.RequestID, n.hub.uid}, here})
}

// selfHeard takes note that this node has heard a broadcast of its own: its members were
// counted when it was sent.
func (n *clusterNamespace) selfHeard(m *broadcast) {
	n.mu.Lock()
	q := n.requests[string(m.question)]
	n.mu.Unlock()
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.due == nil && !q.answered[n.hub.uid] {
		q.answered[n.hub.uid] = true
		q.check()
	}
}
