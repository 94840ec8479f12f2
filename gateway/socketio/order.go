package socketio

import (
	"slices"
	"sync"
	"time"

	"github.com/zishang520/socket.io/v2/socket"
)

// Where casts are not logged (cluster_log.go), a node delivers its own casts at once, and those of
// other nodes in the order in which Redis takes them. So the casts of two nodes may arrive in
// different orders. Where the order matters, each cast carries its position in a stream, and every
// node delivers the casts of a stream by position: one that comes too early waits a short while for
// those before it, and one that comes too late is dropped.

const (
	// gapTimeout is how long a cast waits for those before it, which come from another node or are
	// lost.
	gapTimeout = 2 * time.Second
	// joinGapTimeout is the same for the first cast of a stream that a room receives on this node.
	// Most likely the casts before it were sent before the room had members here, and will not come.
	joinGapTimeout = 150 * time.Millisecond
	// maxStreams is how many streams one room keeps apart. Beyond that, it forgets the one that was
	// silent for longest.
	maxStreams = 128
	// maxWaitingCasts is how many casts of one stream may wait.
	maxWaitingCasts = 256
	// maxStreamName is how long the name of a stream may be, in bytes.
	maxStreamName = 128
)

// A streamPosition is the position of a cast in a stream, from 1. The zero value is for a cast
// without order.
type streamPosition struct {
	stream string
	number int64
}

// streams are the streams of one room on this node. The zero value is ready to use.
type streams struct {
	mu  sync.Mutex
	all map[string]*stream // guarded by mu
}

type stream struct {
	next         int64            // the position to deliver next
	hasDelivered bool             // a cast of the stream was delivered
	lastUsed     time.Time        // when the last cast came
	waiting      map[int64]func() // casts that came early, by position: each delivers itself
	gapTimer     *time.Timer      // runs while a cast waits
}

// CastInOrder is Cast to the members who are not in the room except, which may be "", in the order
// of a stream. position is the cast's position in that stream, from 1, whichever node it comes
// from.
func (n *Namespace) CastInOrder(room, except, name, stream string, position int64, build func(dst []byte) []byte) {
	f, list := n.frameCast(name, build, nil)
	t := target{rooms: []socket.Room{socket.Room(room)}, position: streamPosition{stream, position}}
	if except != "" {
		t.except = []socket.Room{socket.Room(except)}
	}
	if n.cluster != nil {
		n.cluster.publishEvent(list, nil, t)
	}
	n.rooms.castInOrder(t, f.sealFrames(false))
}

// castInOrder delivers frames to one room in their turn, and frees them.
func (a *rooms) castInOrder(t target, f packetFrames) {
	a.mu.RLock()
	r := a.rooms[t.rooms[0]]
	a.mu.RUnlock()
	if r == nil { // the room has no members here; with the next one its streams begin anew
		f.releaseFrames()
		return
	}
	isTaken := r.streams.deliverInOrder(t.position, func() {
		if len(t.except) == 0 {
			a.castToRoom(t.rooms[0], f)
		} else {
			a.deliverFrames(f, t.broadcastOptions(), nil)
		}
		f.releaseFrames()
	})
	if !isTaken {
		f.releaseFrames()
	}
}

// deliverInOrder calls send in its turn. It reports false when that turn is over; then it does not
// call send. send must not wait.
func (s *streams) deliverInOrder(at streamPosition, send func()) (taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.findStream(at.stream)
	x.lastUsed = time.Now()
	if at.number < x.next || x.waiting[at.number] != nil || len(x.waiting) >= maxWaitingCasts && at.number > x.next {
		return false
	}
	x.waiting[at.number] = send
	x.deliverDue()
	if len(x.waiting) == 0 {
		return true
	}
	wait := gapTimeout
	if !x.hasDelivered {
		wait = joinGapTimeout
	}
	if x.gapTimer == nil {
		x.gapTimer = time.AfterFunc(wait, func() { s.giveUpGap(x) })
	}
	return true
}

// findStream returns the stream of a name, which may be new. mu is held.
func (s *streams) findStream(name string) *stream {
	if x := s.all[name]; x != nil {
		return x
	}
	if s.all == nil {
		s.all = map[string]*stream{}
	}
	if len(s.all) >= maxStreams {
		oldest, first := "", true
		for name, x := range s.all {
			if first || x.lastUsed.Before(s.all[oldest].lastUsed) {
				oldest, first = name, false
			}
		}
		s.all[oldest].deliverWaiting()
		delete(s.all, oldest)
	}
	x := &stream{next: 1, waiting: map[int64]func(){}}
	s.all[name] = x
	return x
}

// giveUpGap delivers the casts that wait, without those that are missing.
func (s *streams) giveUpGap(x *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.deliverWaiting()
}

// deliverDue delivers the casts whose turn it is. The streams' mu is held.
func (x *stream) deliverDue() {
	for send := x.waiting[x.next]; send != nil; send = x.waiting[x.next] {
		delete(x.waiting, x.next)
		send()
		x.next++
		x.hasDelivered = true
	}
	if len(x.waiting) == 0 && x.gapTimer != nil {
		x.gapTimer.Stop()
		x.gapTimer = nil
	}
}

// deliverWaiting delivers all casts that wait, by position. The streams' mu is held.
func (x *stream) deliverWaiting() {
	early := make([]int64, 0, len(x.waiting))
	for n := range x.waiting {
		early = append(early, n)
	}
	slices.Sort(early)
	for _, n := range early {
		x.waiting[n]()
		delete(x.waiting, n)
		x.next, x.hasDelivered = n+1, true
	}
	if x.gapTimer != nil {
		x.gapTimer.Stop()
		x.gapTimer = nil
	}
}
