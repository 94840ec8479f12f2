package chat

import (
	"sync"
	"time"
)

// generation is how many things of a kind a node remembers at least.
const generation = 8192

// recent is what this node remembers of claims, for while Redis is away: two generations,
// of which the older is forgotten when the younger is full.
type recent struct {
	keep time.Duration
	now  func() time.Time

	mu         sync.Mutex
	young, old map[string]remembered // by key; guarded by mu
}

type remembered struct {
	answer Receipt
	until  time.Time
}

func newRecent(keep time.Duration, now func() time.Time) *recent {
	return &recent{keep: keep, now: now, young: map[string]remembered{}}
}

// judge is what Redis would say, and notes the claim when it may be said.
func (r *recent) judge(sent string, mine Receipt, named bool, paced string, slow time.Duration) verdict {
	r.mu.Lock()
	now := r.now()
	if x, ok := r.find(sent, now); named && ok {
		r.mu.Unlock()
		return verdict{first: &x.answer}
	}
	if x, ok := r.find(paced, now); slow > 0 && ok {
		r.mu.Unlock()
		return verdict{wait: max(time.Millisecond, x.until.Sub(now))}
	}
	r.mu.Unlock()
	r.note(sent, mine, named, paced, slow)
	return verdict{}
}

// note remembers what was said.
func (r *recent) note(sent string, mine Receipt, named bool, paced string, slow time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if named {
		r.put(sent, remembered{mine, now.Add(r.keep)})
	}
	if slow > 0 {
		r.put(paced, remembered{until: now.Add(slow)})
	}
}

// said is the answer to what was said under a key.
func (r *recent) said(key string) (Receipt, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.find(key, r.now())
	return x.answer, ok
}

// find needs mu.
func (r *recent) find(key string, now time.Time) (remembered, bool) {
	x, ok := r.young[key]
	if !ok {
		x, ok = r.old[key]
	}
	return x, ok && now.Before(x.until)
}

// put needs mu.
func (r *recent) put(key string, x remembered) {
	if len(r.young) >= generation {
		r.young, r.old = map[string]remembered{}, r.young
	}
	r.young[key] = x
}
