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
	// lostAfter is how long a cast waits for those before it: they come from another node, or
	// not at all.
	lostAfter = 2 * time.Second
	// joinedAfter is the same for the first that a room hears of a stream that is not new:
	// most likely nothing before it is on its way.
	joinedAfter = 150 * time.Millisecond
	// maxStreams is how many streams of one room are kept apart; beyond, the one that was
	// quiet for longest is forgotten.
	maxStreams = 128
	// maxWaiting is how many casts of one stream may wait.
	maxWaiting = 256
	// maxStream is how long the name of a stream may be, in bytes.
	maxStream = 128
)

// A place is where in a stream a cast belongs; the first is 1. Zero is a cast without order.
type place struct {
	stream string
	n      int64
}

// streams are those of one room on this node. The zero value is ready.
type streams struct {
	mu  sync.Mutex
	all map[string]*stream // guarded by mu
}

type stream struct {
	next    int64            // the place that is due
	known   bool             // something was delivered
	used    time.Time        // when the last one came
	waiting map[int64]func() // early ones by place: each delivers itself
	timer   *time.Timer      // runs while anything waits
}

// CastInOrder is Cast to those members who are not in the room except, which may be "", in
// the order of a stream: n is the cast's place in it, from 1, whatever node it comes from.
func (n *Namespace) CastInOrder(room, except, name, stream string, at int64, build func(dst []byte) []byte) {
	m := engineio.NewText()
	b := appendHeader(m.Buffer(), typeEvent, 0, n.name, 0, false)
	list := len(b)
	b = append(appendString(append(b, '['), name), ',')
	m.SetBuffer(append(build(b), ']'))
	t := target{rooms: []socket.Room{socket.Room(room)}, place: place{stream, at}}
	if except != "" {
		t.except = []socket.Room{socket.Room(except)}
	}
	if n.cluster != nil {
		n.cluster.tell(m.Buffer()[list:], nil, t)
	}
	n.rooms.inOrder(t, frames{text: m}.seal(false))
}

// inOrder delivers frames to one room when their turn has come, and frees them.
func (a *rooms) inOrder(t target, f frames) {
	a.mu.RLock()
	r := a.rooms[t.rooms[0]]
	a.mu.RUnlock()
	if r == nil { // nobody hears it; who joins later begins anew
		f.free()
		return
	}
	taken := r.streams.deliver(t.place, func() {
		if len(t.except) == 0 {
			a.cast(t.rooms[0], f)
		} else {
			a.deliver(f, t.options(), nil)
		}
		f.free()
	})
	if !taken {
		f.free()
	}
}

// deliver calls send in its turn. It reports false when that is over: then send is not
// called. send must not wait.
func (s *streams) deliver(at place, send func()) (taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(at.stream)
	x.used = time.Now()
	if at.n < x.next || x.waiting[at.n] != nil || len(x.waiting) >= maxWaiting && at.n > x.next {
		return false
	}
	x.waiting[at.n] = send
	x.flush()
	if len(x.waiting) == 0 {
		return true
	}
	wait := lostAfter
	if !x.known {
		wait = joinedAfter
	}
	if x.timer == nil {
		x.timer = time.AfterFunc(wait, func() { s.giveUp(x) })
	}
	return true
}

// find is the stream, which may be new. mu is held.
func (s *streams) find(name string) *stream {
	if x := s.all[name]; x != nil {
		return x
	}
	if s.all == nil {
		s.all = map[string]*stream{}
	}
	if len(s.all) >= maxStreams {
		oldest, first := "", true
		for name, x := range s.all {
			if first || x.used.Before(s.all[oldest].used) {
				oldest, first = name, false
			}
		}
		s.all[oldest].skip()
		delete(s.all, oldest)
	}
	x := &stream{next: 1, waiting: map[int64]func(){}}
	s.all[name] = x
	return x
}

// giveUp delivers what waits without what is missing.
func (s *streams) giveUp(x *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.skip()
}

// flush delivers what is due. The streams' mu is held.
func (x *stream) flush() {
	for send := x.waiting[x.next]; send != nil; send = x.waiting[x.next] {
		delete(x.waiting, x.next)
		send()
		x.next++
		x.known = true
	}
	if len(x.waiting) == 0 && x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
}

// skip delivers all that waits, by place. The streams' mu is held.
func (x *stream) skip() {
	early := make([]int64, 0, len(x.waiting))
	for n := range x.waiting {
		early = append(early, n)
	}
	slices.Sort(early)
	for _, n := range early {
		x.waiting[n]()
		delete(x.waiting, n)
		x.next, x.known = n+1, true
	}
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
}
