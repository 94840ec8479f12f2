package socketio

import (
	"bytes"
	"sync"
	"time"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// An pendingRequest is a request of this node that all others answer. It is over when all have,
// or those who have not are gone, or the time is up.
type pendingRequest struct {
	namespace *clusterNamespace
	id  string

	// static; heard, acked and fell are called with mu held, done once, on a goroutine of its own
	onAnswer func(r *response)
	onAck func(r *response)
	onNodeGone  func(uid string)
	onDone  func(missing int)

	mu       sync.Mutex
	isSent     bool            // whom to wait for is known; guarded by mu
	awaitedNodes      map[string]bool // our nodes that are waited for by name, or nil; guarded by mu
	answeredNodes map[string]bool // our nodes that answered; guarded by mu
	awaitedUnnamed   int             // nodes without a name that are waited for; guarded by mu
	unnamedAnswers  int             // answers of such; guarded by mu
	goneNodes  int             // who was waited for and is gone; guarded by mu
	answerBytes    int             // of answers; guarded by mu
	isDone     bool            // done was called; guarded by mu
	timer    *time.Timer
}

// Bounds of what answers may make us keep.
const (
	maxOpenRequests     = 4096
	maxResponse      = 16 << 20
	maxAnswerBytes = 64 << 20
)

// sendToAllNodes sends a request to all other nodes: build makes it with its id. It does not wait.
func (n *clusterNamespace) sendToAllNodes(timeout time.Duration, q *pendingRequest, build func(id string) ([]byte, bool)) {
	q.id = newID()
	payload, ok := build(q.id)
	if !ok || len(payload) > n.cluster.cfg.MaxMessage || !n.openRequest(timeout, q) {
		n.cluster.discarded.Add(1)
		n.cluster.partial.Add(1)
		go q.onDone(int(n.nodeCount.Load()) - 1)
		return
	}
	n.cluster.bus.Publish(redisbus.Message{Channel: n.requestChannel, Payload: payload, CountAlso: n.heartbeatChannel, OnPublished: q.setReceivers})
}

// openRequest lets answers come to the inquiry until it is over. It reports false when too many
// are open.
func (n *clusterNamespace) openRequest(timeout time.Duration, q *pendingRequest) bool {
	q.namespace, q.answeredNodes = n, map[string]bool{}
	n.mu.Lock()
	full := len(n.openRequests) >= maxOpenRequests
	if !full {
		n.openRequests[q.id] = q
	}
	n.mu.Unlock()
	if full {
		return false
	}
	q.mu.Lock()
	q.timer = time.AfterFunc(timeout, q.expireRequest)
	q.mu.Unlock()
	return true
}

// setReceivers learns how many heard the request: our nodes are waited for by name, the rest by
// number.
func (q *pendingRequest) setReceivers(receivers, marked int64, err error) {
	n := q.namespace
	others := int(max(0, receivers-marked))
	if n.cluster.bus.IsCluster() { // Redis told of one of its nodes only
		others = int(n.classicNodeCount.Load())
	}
	n.mu.Lock()
	due := make(map[string]bool, len(n.peers))
	for uid := range n.peers {
		due[uid] = true
	}
	n.mu.Unlock()
	if time.Since(time.Unix(0, n.subscribedSince.Load())) < 2*n.cluster.cfg.Heartbeat { // they may not have greeted yet
		others += max(0, int(marked)-1-len(due))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.awaitedNodes, q.awaitedUnnamed, q.isSent = due, others, true
	if err != nil {
		q.finishRequest(len(due) + int(n.classicNodeCount.Load()))
		return
	}
	q.finishIfAnswered()
}

// finishIfAnswered ends the inquiry when nobody is waited for any more. mu is held.
func (q *pendingRequest) finishIfAnswered() {
	if !q.isSent || q.isDone {
		return
	}
	if q.countUnanswered() == 0 {
		q.finishRequest(0)
	}
}

// countUnanswered is how many answers are waited for. mu is held.
func (q *pendingRequest) countUnanswered() int {
	unnamed := q.unnamedAnswers
	for uid := range q.answeredNodes {
		if !q.awaitedNodes[uid] {
			unnamed++ // it has come since
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

// finishRequest ends the wait. mu is held.
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

// closeRequest makes the inquiry deaf.
func (q *pendingRequest) closeRequest() {
	q.timer.Stop()
	q.namespace.mu.Lock()
	delete(q.namespace.openRequests, q.id)
	q.namespace.mu.Unlock()
}

// expireRequest is called when the time is up.
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

// onResponse is an answer of another node.
func (n *clusterNamespace) onResponse(b []byte) bool {
	n.mu.Lock()
	nobody := len(n.openRequests) == 0
	n.mu.Unlock()
	if nobody {
		return true // to somebody else
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

// handleNodeGone tells every inquiry that a node will not answer any more.
func (n *clusterNamespace) handleNodeGone(uid string) {
	n.mu.Lock()
	all := make([]*pendingRequest, 0, len(n.openRequests))
	for _, q := range n.openRequests {
		all = append(all, q)
	}
	n.mu.Unlock()
	for _, q := range all {
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

// expireAllRequests ends all inquiries: this node closes.
func (n *clusterNamespace) expireAllRequests() {
	n.mu.Lock()
	all := make([]*pendingRequest, 0, len(n.openRequests))
	for _, q := range n.openRequests {
		all = append(all, q)
	}
	n.mu.Unlock()
	for _, q := range all {
		q.expireRequest()
	}
}
