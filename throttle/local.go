package throttle

import (
	"hash/maphash"
	"sync"
	"time"
)

// denials remembers refusals until they end. It holds at most a fixed number: a refusal that does
// not fit is forgotten, which costs one more call to Redis.
type denials struct {
	seed          maphash.Seed
	shards        [64]denialShard
	shardCapacity int // of a shard
}

type denialShard struct {
	mu      sync.Mutex
	denials map[windowID]denial // guarded by mu
	_       [40]byte            // keeps neighbours off one cache line
}

// A denial is a refusal, in nanoseconds of the limiter's clock. It holds for the rule that refused.
type denial struct {
	rule         *rule
	until, reset int64
	remaining    int
}

func newDenials(capacity int) *denials {
	d := &denials{seed: maphash.MakeSeed(), shardCapacity: max(1, capacity/64)}
	for i := range d.shards {
		d.shards[i].denials = make(map[windowID]denial)
	}
	return d
}

func (d *denials) shardFor(t windowID) *denialShard {
	return &d.shards[maphash.String(d.seed, t.subject)%uint64(len(d.shards))]
}

// findDenial tells whether t is refused at now, without asking Redis.
func (d *denials) findDenial(t target, now int64) (denial, bool) {
	at := t.windowID()
	s := d.shardFor(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.denials[at]
	if ok && v.until <= now {
		delete(s.denials, at)
		return denial{}, false
	}
	return v, ok && v.rule == t.rule
}

func (d *denials) rememberDenial(t target, v denial, now int64) {
	at := t.windowID()
	s := d.shardFor(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	makeRoom(s.denials, d.shardCapacity, func(v denial) bool { return v.until <= now })
	v.rule = t.rule
	s.denials[at] = v
}

// forgetWindow makes the next event ask Redis.
func (d *denials) forgetWindow(at windowID) {
	s := d.shardFor(at)
	s.mu.Lock()
	delete(s.denials, at)
	s.mu.Unlock()
}

func (d *denials) countDenials() (n int) {
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		n += len(s.denials)
		s.mu.Unlock()
	}
	return n
}

// makeRoom makes room for one more entry: it looks at a few, in the map's random order, drops those
// that are over, and when the map is full one that is not.
func makeRoom[V any](m map[windowID]V, capacity int, over func(V) bool) {
	looked, one := 0, windowID{}
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

// localWindows are the windows of this process, for when Redis does not answer. Their number is
// bounded too: with more subjects than that, some windows start anew.
type localWindows struct {
	mu       sync.Mutex
	windows  map[windowID]*window // guarded by mu
	capacity int
}

// spendTargets charges an event to all targets or none, each limited to its share among so many
// nodes. It fills left (one a target) and returns the index of the first that refuses, or -1. Times
// are since the limiter's start.
func (l *localWindows) spendTargets(ts []target, nodes int, now time.Duration, left []int) (refused int, one, all time.Duration) {
	us := now.Microseconds()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, t := range ts {
		w := l.windows[t.windowID()]
		left[i] = t.rule.limitPerNode(nodes)
		if w == nil {
			continue
		}
		n, next, full := w.judgeEvent(us, t.rule.window.Microseconds(), left[i], t.rule.cost)
		left[i] = n
		if n < t.rule.cost {
			return i, time.Duration(next) * time.Microsecond, time.Duration(full) * time.Microsecond
		}
	}
	for i, t := range ts {
		left[i] -= t.rule.cost
		w := l.windows[t.windowID()]
		if w == nil {
			makeRoom(l.windows, l.capacity, func(w *window) bool { return w.isStale(us) })
			w = &window{}
			l.windows[t.windowID()] = w
		}
		w.keep = t.rule.keep.Microseconds()
		w.addAdmissions(us, t.rule.cost)
	}
	return -1, 0, 0
}

func (l *localWindows) forgetWindow(at windowID) {
	l.mu.Lock()
	delete(l.windows, at)
	l.mu.Unlock()
}
