package socketio

import (
	"bytes"
	"sync"
	"time"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// An inquiry is a request of this node that all others answer. It is over when all have,
// or those who have not are gone, or the time is up.
type inquiry struct {
	nsp *clusterNamespace
	id  string

	// static; heard, acked and fell are called with mu held, done once, on a goroutine of its own
	heard func(r *response)
	acked func(r *response)
	fell  func(uid string)
	done  func(missing int)

	mu       sync.Mutex
	sent     bool            // whom to wait for is known; guarded by mu
	due      map[string]bool // our nodes that are waited for by name, or nil; guarded by mu
	answered map[string]bool // our nodes that answered; guarded by mu
	others   int             // nodes without a name that are waited for; guarded by mu
	unnamed  int             // answers of such; guarded by mu
	missing  int             // who was waited for and is gone; guarded by mu
	bytes    int             // of answers; guarded by mu
	over     bool            // done was called; guarded by mu
	timer    *time.Timer
}

// Bounds of what answers may make us keep.
const (
	maxInquiries     = 4096
	maxResponse      = 16 << 20
	maxInquiryAnswer = 64 << 20
)

// inquire sends a request to all other nodes: build makes it with its id. It does not wait.
func (n *clusterNamespace) inquire(timeout time.Duration, q *inquiry, build func(id string) ([]byte, bool)) {
	q.id = newID()
	payload, ok := build(q.id)
	if !ok || len(payload) > n.hub.cfg.MaxMessage || !n.open(timeout, q) {
		n.hub.discarded.Add(1)
		n.hub.partial.Add(1)
		go q.done(int(n.nodes.Load()) - 1)
		return
	}
	n.hub.bus.Publish(redisbus.Message{Channel: n.request, Payload: payload, CountAlso: n.heartbeat, OnPublished: q.told})
}

// open lets answers come to the inquiry until it is over. It reports false when too many
// are open.
func (n *clusterNamespace) open(timeout time.Duration, q *inquiry) bool {
	q.nsp, q.answered = n, map[string]bool{}
	n.mu.Lock()
	full := len(n.requests) >= maxInquiries
	if !full {
		n.requests[q.id] = q
	}
	n.mu.Unlock()
	if full {
		return false
	}
	q.mu.Lock()
	q.timer = time.AfterFunc(timeout, q.expire)
	q.mu.Unlock()
	return true
}

// told learns how many heard the request: our nodes are waited for by name, the rest by
// number.
func (q *inquiry) told(receivers, marked int64, err error) {
	n := q.nsp
	others := int(max(0, receivers-marked))
	if n.hub.bus.IsCluster() { // Redis told of one of its nodes only
		others = int(n.classic.Load())
	}
	n.mu.Lock()
	due := make(map[string]bool, len(n.peers))
	for uid := range n.peers {
		due[uid] = true
	}
	n.mu.Unlock()
	if time.Since(time.Unix(0, n.young.Load())) < 2*n.hub.cfg.Heartbeat { // they may not have greeted yet
		others += max(0, int(marked)-1-len(due))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due, q.others, q.sent = due, others, true
	if err != nil {
		q.finish(len(due) + int(n.classic.Load()))
		return
	}
	q.check()
}

// check ends the inquiry when nobody is waited for any more. mu is held.
func (q *inquiry) check() {
	if !q.sent || q.over {
		return
	}
	if q.unanswered() == 0 {
		q.finish(0)
	}
}

// unanswered is how many answers are waited for. mu is held.
func (q *inquiry) unanswered() int {
	unnamed := q.unnamed
	for uid := range q.answered {
		if !q.due[uid] {
			unnamed++ // it has come since
		}
	}
	missing := max(0, q.others-unnamed)
	for uid := range q.due {
		if !q.answered[uid] {
			missing++
		}
	}
	return missing
}

// finish ends the wait. mu is held.
func (q *inquiry) finish(missing int) {
	if q.over {
		return
	}
	q.over = true
	if missing += q.missing; missing > 0 {
		q.nsp.hub.partial.Add(1)
	}
	if q.acked == nil {
		q.forget()
	}
	go q.done(missing)
}

// forget makes the inquiry deaf.
func (q *inquiry) forget() {
	q.timer.Stop()
	q.nsp.mu.Lock()
	delete(q.nsp.requests, q.id)
	q.nsp.mu.Unlock()
}

// expire is called when the time is up.
func (q *inquiry) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	missing := q.unanswered()
	if !q.sent {
		missing = int(q.nsp.nodes.Load()) - 1
	}
	q.finish(missing)
	q.forget()
}

// onResponse is an answer of another node.
func (n *clusterNamespace) onResponse(b []byte) bool {
	n.mu.Lock()
	nobody := len(n.requests) == 0
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
	q := n.requests[r.RequestID]
	n.mu.Unlock()
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes += len(b); q.bytes > maxInquiryAnswer {
		return false
	}
	if r.Type == responseAck {
		if q.acked != nil {
			q.acked(&r)
		}
		return true
	}
	if q.over || r.UID != "" && q.answered[r.UID] || len(q.answered)+q.unnamed > 2*maxPeers {
		return true
	}
	if r.UID != "" {
		q.answered[r.UID] = true
	} else {
		q.unnamed++
	}
	q.heard(&r)
	q.check()
	return true
}

// gone tells every inquiry that a node will not answer any more.
func (n *clusterNamespace) gone(uid string) {
	n.mu.Lock()
	all := make([]*inquiry, 0, len(n.requests))
	for _, q := range n.requests {
		all = append(all, q)
	}
	n.mu.Unlock()
	for _, q := range all {
		q.mu.Lock()
		if q.due[uid] && !q.answered[uid] {
			delete(q.due, uid)
			q.missing++
			q.check()
		} else if q.answered[uid] && q.fell != nil {
			q.fell(uid)
		}
		q.mu.Unlock()
	}
}

// abandon ends all inquiries: this node closes.
func (n *clusterNamespace) abandon() {
	n.mu.Lock()
	all := make([]*inquiry, 0, len(n.requests))
	for _, q := range n.requests {
		all = append(all, q)
	}
	n.mu.Unlock()
	for _, q := range all {
		q.expire()
	}
}
