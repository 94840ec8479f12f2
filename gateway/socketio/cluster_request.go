package socketio

import (
	"bytes"
	"sync"
	"time"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// A pendingRequest is a request of this node that all other nodes answer. It is done when all have
// answered, when those that have not are gone, or when its time is up.
type pendingRequest struct {
	namespace *clusterNamespace
	id        string

	// Callbacks, set before the request is opened. The first three are called with mu held.
	onAnswer   func(r *response)
	onAck      func(r *response) // for the answer of a client; nil for a request that asks none
	onNodeGone func(uid string)  // for a node that is gone after it answered; may be nil
	onDone     func(missing int) // called once, on a goroutine of its own
	// learnsLate says that it may be known only after the time is up which nodes to wait for: then the
	// request is done when that is known, with the answers that came in time.
	learnsLate bool

	mu             sync.Mutex
	isSent         bool            // it is known which nodes to wait for; guarded by mu
	awaitedNodes   map[string]bool // our nodes to wait for, by name, or nil; guarded by mu
	answeredNodes  map[string]bool // our nodes that answered; guarded by mu
	awaitedUnnamed int             // how many other nodes to wait for; guarded by mu
	unnamedAnswers int             // answers of nodes without a name; guarded by mu
	goneNodes      int             // nodes that are gone before they answered; guarded by mu
	answerBytes    int             // of all answers; guarded by mu
	isDone         bool            // onDone was called; guarded by mu
	isTimeUp       bool            // no more answers are waited for; guarded by mu
	timer          *time.Timer
}

// Bounds of what the answers of other nodes can make this node keep.
const (
	maxOpenRequests = 4096
	maxResponse     = 16 << 20 // bytes of one answer
	maxAnswerBytes  = 64 << 20 // bytes of all answers to one request
)

// sendToAllNodes sends a request to all other nodes. build packs it with its id, or reports false.
// It does not wait.
func (n *clusterNamespace) sendToAllNodes(timeout time.Duration, q *pendingRequest, build func(id string) ([]byte, bool)) {
	q.id = newID()
	payload, ok := build(q.id)
	if !ok || len(payload) > n.cluster.cfg.MaxMessage || !n.openRequest(timeout, q) {
		n.cluster.discarded.Add(1)
		n.cluster.partial.Add(1)
		go q.onDone(int(n.nodeCount.Load()) - 1)
		return
	}
	n.cluster.bus.Publish(redisbus.Message{
		Channel: n.requestChannel, Payload: payload, CountAlso: n.heartbeatChannel, OnPublished: q.setReceivers,
	})
}

// openRequest passes answers to the request from now on. It reports false when too many requests
// are open.
func (n *clusterNamespace) openRequest(timeout time.Duration, q *pendingRequest) bool {
	q.namespace, q.answeredNodes = n, map[string]bool{}
	n.mu.Lock()
	isFull := len(n.openRequests) >= maxOpenRequests
	if !isFull {
		n.openRequests[q.id] = q
	}
	n.mu.Unlock()
	if isFull {
		return false
	}
	q.mu.Lock()
	q.timer = time.AfterFunc(timeout, q.endTime)
	q.mu.Unlock()
	return true
}

// setReceivers takes from Redis's reply how many nodes received the request, and how many of our
// nodes there are. Our nodes are waited for by name, the others by number.
func (q *pendingRequest) setReceivers(receivers, ourNodes int64, err error) {
	n := q.namespace
	others := int(max(0, receivers-ourNodes))
	if n.cluster.bus.IsCluster() { // then receivers are those of one node of Redis
		others = int(n.classicNodeCount.Load())
	}
	n.mu.Lock()
	awaited := make(map[string]bool, len(n.peers))
	for uid := range n.peers {
		awaited[uid] = true
	}
	n.mu.Unlock()
	if time.Since(time.Unix(0, n.subscribedSince.Load())) < 2*n.cluster.cfg.Heartbeat { // not all may have greeted yet
		others += max(0, int(ourNodes)-1-len(awaited))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.awaitedNodes, q.awaitedUnnamed, q.isSent = awaited, others, true
	if err != nil {
		q.finishRequest(len(awaited) + int(n.classicNodeCount.Load()))
		return
	}
	q.finishIfAnswered()
}

// finishIfAnswered finishes the request when no node is waited for any more. mu is held.
func (q *pendingRequest) finishIfAnswered() {
	if !q.isSent || q.isDone {
		return
	}
	if missing := q.countUnanswered(); missing == 0 || q.isTimeUp {
		q.finishRequest(missing)
	}
}

// countUnanswered counts the answers that are waited for. mu is held.
func (q *pendingRequest) countUnanswered() int {
	unnamed := q.unnamedAnswers
	for uid := range q.answeredNodes {
		if !q.awaitedNodes[uid] {
			unnamed++ // the node has come since the request was sent
		}
	}
	missing := max(0, q.awaitedUnnamed-unnamed)
	for uid := range q.awaitedNodes {
		if !q.answeredNodes[uid] {
			missing++
		}
	}
	return missing
}

// finishRequest calls onDone, unless it was called. Answers of clients may come until the request
// expires. mu is held.
func (q *pendingRequest) finishRequest(missing int) {
	if q.isDone {
		return
	}
	q.isDone = true
	if missing += q.goneNodes; missing > 0 {
		q.namespace.cluster.partial.Add(1)
	}
	if q.onAck == nil {
		q.closeRequest()
	}
	go q.onDone(missing)
}

// closeRequest passes no more answers to the request.
func (q *pendingRequest) closeRequest() {
	q.timer.Stop()
	q.namespace.mu.Lock()
	delete(q.namespace.openRequests, q.id)
	q.namespace.mu.Unlock()
}

// endTime ends the request, because its time is up.
func (q *pendingRequest) endTime() {
	q.mu.Lock()
	q.isTimeUp = true
	isEarly := q.learnsLate && !q.isSent
	if isEarly {
		q.closeRequest()
	}
	q.mu.Unlock()
	if !isEarly {
		q.expireRequest()
	}
}

// expireRequest finishes and closes the request: its time is up, or the node closes.
func (q *pendingRequest) expireRequest() {
	q.mu.Lock()
	defer q.mu.Unlock()
	missing := q.countUnanswered()
	if !q.isSent {
		missing = int(q.namespace.nodeCount.Load()) - 1
	}
	q.finishRequest(missing)
	q.closeRequest()
}

// onResponse handles an answer of another node, which may be to a request of a third one.
func (n *clusterNamespace) onResponse(b []byte) bool {
	n.mu.Lock()
	isExpected := len(n.openRequests) > 0
	n.mu.Unlock()
	if !isExpected {
		return true
	}
	var r response
	var ok bool
	if r.attachments, ok = readControl(bytes.Clone(b), maxResponse, &r); !ok {
		return false
	}
	n.mu.Lock()
	q := n.openRequests[r.RequestID]
	n.mu.Unlock()
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.answerBytes += len(b); q.answerBytes > maxAnswerBytes {
		return false
	}
	if r.Type == responseAck {
		if q.onAck != nil {
			q.onAck(&r)
		}
		return true
	}
	if q.isDone || r.UID != "" && q.answeredNodes[r.UID] || len(q.answeredNodes)+q.unnamedAnswers > 2*maxPeers {
		return true
	}
	if r.UID != "" {
		q.answeredNodes[r.UID] = true
	} else {
		q.unnamedAnswers++
	}
	q.onAnswer(&r)
	q.finishIfAnswered()
	return true
}

// handleNodeGone tells every open request that a node will not answer any more.
func (n *clusterNamespace) handleNodeGone(uid string) {
	for _, q := range n.listOpenRequests() {
		q.mu.Lock()
		if q.awaitedNodes[uid] && !q.answeredNodes[uid] {
			delete(q.awaitedNodes, uid)
			q.goneNodes++
			q.finishIfAnswered()
		} else if q.answeredNodes[uid] && q.onNodeGone != nil {
			q.onNodeGone(uid)
		}
		q.mu.Unlock()
	}
}

// expireAllRequests ends all open requests, because this node closes.
func (n *clusterNamespace) expireAllRequests() {
	for _, q := range n.listOpenRequests() {
		q.expireRequest()
	}
}

func (n *clusterNamespace) listOpenRequests() []*pendingRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*pendingRequest, 0, len(n.openRequests))
	for _, q := range n.openRequests {
		all = append(all, q)
	}
	return all
}
