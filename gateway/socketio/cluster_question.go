package socketio

import (
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file asks the clients of other nodes, and this node's clients for other nodes. Node's
// adapter has the same request, so questions reach the clients of Node servers too. Our own nodes
// also say whose an answer is, and which clients will not answer any more.

// askElsewhere asks the members of a room on all other nodes. Those of a node that is gone are not
// waited for.
func (n *clusterNamespace) askElsewhere(a *Asking, room string, q Question) {
	a.request = n.askOtherNodes(q.Timeout, withName(q.Name, q.Args), target{rooms: []socket.Room{socket.Room(room)}}, askHooks{
		onCounted: func(_, missing int) {
			a.update(func() {
				a.isCounted = true
				a.result.Missing = missing
			})
		},
		onNodeCount: func(node string, clients uint64) {
			a.update(func() {
				a.result.Asked += int(clients)
				a.awaitedThere[node] += int(clients)
			})
		},
		onNodeGone: func(node string) {
			a.update(func() {
				a.result.Left += max(0, a.awaitedThere[node])
				delete(a.awaitedThere, node)
			})
		},
		onAnswer: func(r *response) {
			answer := Answer{Conn: r.Conn, User: r.User, Args: Args{JSON: r.Packet, Attachments: r.attachments}, HasMore: r.HasMore}
			if len(r.Packet) == 0 {
				answer.Args.JSON = []byte("null")
			}
			a.update(func() {
				a.awaitedThere[r.UID]--
				a.note(answer, answerFate(r.Fate))
			})
		},
	})
}

// askFor asks this node's clients for another node. Its name and arguments are e.
func (n *clusterNamespace) askFor(r *request, e Args, opts *socket.BroadcastOptions, timeout time.Duration) {
	sockets := n.connectedMembers(opts)
	n.sendResponse(r, struct {
		answerHead
		ClientCount int `json:"clientCount"`
	}{answerHead{responseCount, r.RequestID, n.cluster.uid}, len(sockets)})
	if len(sockets) == 0 {
		return
	}
	isPeer := n.isPeer(r.UID)
	id := questionIDs.Add(1)
	f := framePacket(n.name, e, id, true).sealFrames(false)
	defer f.releaseFrames()
	for _, s := range sockets {
		askSocket(s, id, f, func(answer Answer, fate answerFate) {
			if fate == isAnswered || isPeer { // Node would take anything for an answer
				n.sendAnswer(r, answer, fate, isPeer)
			}
		})
	}
	time.AfterFunc(timeout, func() {
		for _, s := range sockets {
			s.forgetQuestion(id)
		}
	})
}

// sendAnswer sends another node what became of the question to one client.
func (n *clusterNamespace) sendAnswer(r *request, answer Answer, fate answerFate, isPeer bool) {
	fields := byte(4)
	if isPeer {
		fields = 8
	}
	b := append(jsonpack.AppendText([]byte{0x80 | fields}, "type"), responseAck)
	b = jsonpack.AppendText(jsonpack.AppendText(b, "requestId"), r.RequestID)
	b = jsonpack.AppendText(jsonpack.AppendText(b, "uid"), n.cluster.uid)
	if isPeer {
		b = append(jsonpack.AppendText(b, "fate"), byte(fate))
		b = jsonpack.AppendText(jsonpack.AppendText(b, "conn"), answer.Conn)
		b = jsonpack.AppendText(jsonpack.AppendText(b, "user"), answer.User)
		b = append(jsonpack.AppendText(b, "hasMore"), packedBool(answer.HasMore))
	}
	b = jsonpack.AppendText(b, "packet")
	ok := true
	if len(answer.Args.JSON) > 0 {
		b, ok = jsonpack.Pack(b, answer.Args.JSON, answer.Args.Attachments, busDepth)
	} else {
		b = append(b, packedNil)
	}
	if ok {
		n.cluster.bus.Publish(redisbus.Message{Channel: n.answerTo(r), Payload: b})
	}
}

// packedNil is null in msgpack.
const packedNil = 0xc0

// packedBool returns a truth value in msgpack.
func packedBool(v bool) byte {
	if v {
		return 0xc3
	}
	return 0xc2
}
