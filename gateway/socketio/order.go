package socketio

import (
	"slices"
	"sync"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// Casts of several nodes reach a room in the order in which Redis takes them, and a node's
// own casts at once: two nodes' casts may cross. Where their order matters, each carries its
// place in a stream, and every node delivers a stream by places: one that comes too early
// waits for those before it, a short while; one that comes too late is left out.

const (
	// gapTimeout is how long a cast waits for those before it: they come from another node, or
	// not at all.
	gapTimeout = 2 * time.Second
	// joinGapTimeout is the same for the first that a room hears of a stream that is not new:
	// most likely nothing before it is on its way.
	joinGapTimeout = 150 * time.Millisecond
	// maxStreams is how many streams of one room are kept apart; beyond, the one that was
	// quiet for longest is forgotten.
	maxStreams = 128
	// maxWaitingCasts is how many casts of one stream may wait.
	maxWaitingCasts = 256
	// maxStreamName is how long the name of a stream may be, in bytes.
	maxStreamName = 128
)

// A streamPosition is where in a stream a cast belongs; the first is 1. Zero is a cast without order.
type streamPosition struct {
	stream string
	number      int64
}

// streams are those of one room on this node. The zero value is ready.
type streams struct {
	mu  sync.Mutex
	all map[string]*stream // guarded by mu
}

type stream struct {
	next    int64            // the place that is due
	hasDelivered   bool             // something was delivered
	lastUsed    time.Time        // when the last one came
	waiting map[int64]func() // early ones by place: each delivers itself
	gapTimer   *time.Timer      // runs while anything waits
}

// CastInOrder is Cast to those members who are not in the room except, which may be "", in
// the order of a stream: n is the cast's place in it, from 1, whatever node it comes from.
func (n *Namespace) CastInOrder(room, except, name, stream string, at int64, build func(dst []byte) []byte) {
	m := engineio.NewText()
	b := appendHeader(m.Buffer(), typeEvent, 0, n.name, 0, false)
	list := len(b)
	b = append(appendJSONString(append(b, '['), name), ',')
	m.SetBuffer(append(build(b), ']'))
	t := target{rooms: []socket.Room{socket.Room(room)}, position: streamPosition{stream, at}}
	if except != "" {
		t.except = []socket.Room{socket.Room(except)}
	}
	if n.cluster != nil {
		n.cluster.publishEvent(m.Buffer()[list:], nil, t)
	}
	n.rooms.castInOrder(t, packetFrames{text: m}.sealFrames(false))
}

// castInOrder delivers frames to one room when their turn has come, and frees them.
func (a *rooms) castInOrder(t target, f packetFrames) {
	a.mu.RLock()
	r := a.rooms[t.rooms[0]]
	a.mu.RUnlock()
	if r == nil { // nobody hears it; who joins later begins anew
		f.releaseFrames()
		return
	}
	taken := r.streams.deliverInOrder(t.position, func() {
		if len(t.except) == 0 {
			a.castToRoom(t.rooms[0], f)
		} else {
			a.deliverFrames(f, t.broadcastOptions(), nil)
		}
		f.releaseFrames()
	})
	if !taken {
		f.releaseFrames()
	}
}

// deliverInOrder calls send in its turn. It reports false when that is over: then send is not
// called. send must not wait.
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

// findStream is the stream, which may be new. mu is held.
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

// giveUpGap delivers what waits without what is missing.
func (s *streams) giveUpGap(x *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.deliverWaiting()
}

// deliverDue delivers what is due. The streams' mu is held.
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

// deliverWaiting delivers all that waits, by place. The streams' mu is held.
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
