package throttle

import (
	"hash/maphash"
	"sync"
	"time"
)

// A target is one policy and whose budget of it is meant.
type target struct {
	policy  *policy
	subject string
}

// denials remembers refusals until they end. It holds at most a fixed number: what does not
// fit is forgotten, which costs a call to Redis and nothing else.
type denials struct {
	seed   maphash.Seed
	shards [64]denialShard
	cap    int // of a shard
}

type denialShard struct {
	mu sync.Mutex
	m  map[target]denial // guarded by mu
	_  [40]byte          // keeps neighbours off one cache line
}

// A denial is in nanoseconds of the limiter's clock.
type denial struct{ until, reset int64 }

func newDenials(capacity int) *denials {
	d := &denials{seed: maphash.MakeSeed(), cap: max(1, capacity/64)}
	for i := range d.shards {
		d.shards[i].m = make(map[target]denial)
	}
	return d
}

func (d *denials) shard(t target) *denialShard {
	return &d.shards[maphash.String(d.seed, t.subject)%uint64(len(d.shards))]
}

// get tells whether t is refused at now.
func (d *denials) get(t target, now int64) (denial, bool) {
	s := d.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[t]
	if ok && v.until <= now {
		delete(s.m, t)
		return denial{}, false
	}
	return v, ok
}

func (d *denials) put(t target, v denial, now int64) {
	s := d.shard(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	sweep(s.m, d.cap, func(v denial) bool { return v.until <= now })
	s.m[t] = v
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
func sweep[V any](m map[target]V, capacity int, over func(V) bool) {
	looked, one := 0, target{}
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
	m   map[target]*window // guarded by mu
	cap int
}

// spend judges all targets and charges all or none. It fills left (one a target) and
// returns the index of the first that refuses, or -1. Times are since the limiter's start.
func (l *locals) spend(ts []target, now time.Duration, left []int) (refused int, one, all time.Duration) {
	us := now.Microseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, t := range ts {
		w := l.m[t]
		if w == nil {
			left[i] = t.policy.Limit
			continue
		}
		n, next, full := w.judge(us, t.policy.Limit)
		if n <= 0 {
			return i, time.Duration(next) * time.Microsecond, time.Duration(full) * time.Microsecond
		}
		left[i] = n
	}
	for i, t := range ts {
		left[i]--
		w := l.m[t]
		if w == nil {
			sweep(l.m, l.cap, func(w *window) bool { return w.stale(us) })
			w = &window{us: t.policy.Window.Microseconds()}
			l.m[t] = w
		}
		w.admit(us)
	}
	return -1, 0, 0
}
