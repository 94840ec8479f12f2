package throttle

import (
	"hash/maphash"
	"sync"
	"time"
)

// denials remembers refusals until they end. It holds at most a fixed number: what does not
// fit is forgotten, which costs a call to Redis and nothing else.
type denials struct {
	seed   maphash.Seed
	shards [64]denialShard
	cap    int // of a shard
}

type denialShard struct {
	mu sync.Mutex
	m  map[place]denial // guarded by mu
	_  [40]byte         // keeps neighbours off one cache line
}

// A denial is in nanoseconds of the limiter's clock. It holds for the rule that refused.
type denial struct {
	rule         *rule
	until, reset int64
	left         int
}

func newDenials(capacity int) *denials {
	d := &denials{seed: maphash.MakeSeed(), cap: max(1, capacity/64)}
	for i := range d.shards {
		d.shards[i].m = make(map[place]denial)
	}
	return d
}

func (d *denials) shard(t place) *denialShard {
	return &d.shards[maphash.String(d.seed, t.subject)%uint64(len(d.shards))]
}

// get tells whether t is refused at now.
func (d *denials) get(t target, now int64) (denial, bool) {
	at := t.place()
	s := d.shard(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[at]
	if ok && v.until <= now {
		delete(s.m, at)
		return denial{}, false
	}
	return v, ok && v.rule == t.rule
}

func (d *denials) put(t target, v denial, now int64) {
	at := t.place()
	s := d.shard(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	sweep(s.m, d.cap, func(v denial) bool { return v.until <= now })
	v.rule = t.rule
	s.m[at] = v
}

// forget makes the next event ask Redis.
func (d *denials) forget(at place) {
	s := d.shard(at)
	s.mu.Lock()
	delete(s.m, at)
	s.mu.Unlock()
}

func (d *denials) len() (n int) {
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		n += len(s.m)
		s.mu.Unlock()
	}
	return n
}

// sweep makes room for one more: it looks at a few entries, in the map's random order, drops
// those that are over, and one that is not when the map is full.
func sweep[V any](m map[place]V, capacity int, over func(V) bool) {
	looked, one := 0, place{}
	for t, v := range m {
		if over(v) {
			delete(m, t)
		} else {
			one = t
		}
		if looked++; looked == 4 {
			break
		}
	}
	if len(m) >= capacity {
		delete(m, one)
	}
}

// locals are the windows of this process, for when Redis does not answer. Their number is
// bounded too: among more subjects than that, some start anew.
type locals struct {
	mu  sync.Mutex
	m   map[place]*window // guarded by mu
	cap int
}

// spend judges all targets, each by its share among so many nodes, and charges all or none.
// It fills left (one a target) and returns the index of the first that refuses, or -1. Times
// are since the limiter's start.
func (l *locals) spend(ts []target, nodes int, now time.Duration, left []int) (refused int, one, all time.Duration) {
	us := now.Microseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, t := range ts {
		w := l.m[t.place()]
		left[i] = t.rule.share(nodes)
		if w == nil {
			continue
		}
		n, next, full := w.judge(us, t.rule.window.Microseconds(), left[i], t.rule.cost)
		left[i] = n
		if n < t.rule.cost {
			return i, time.Duration(next) * time.Microsecond, time.Duration(full) * time.Microsecond
		}
	}
	for i, t := range ts {
		left[i] -= t.rule.cost
		w := l.m[t.place()]
		if w == nil {
			sweep(l.m, l.cap, func(w *window) bool { return w.stale(us) })
			w = &window{}
			l.m[t.place()] = w
		}
		w.keep = t.rule.keep.Microseconds()
		w.admit(us, t.rule.cost)
	}
	return -1, 0, 0
}

func (l *locals) forget(at place) {
	l.mu.Lock()
	delete(l.m, at)
	l.mu.Unlock()
}
