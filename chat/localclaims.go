package chat

import (
	"sync"
	"time"
)

// generation is how many records one generation holds; the node remembers at least so many.
const generation = 8192

// recent remembers the claims of this node and decides about new ones while Redis can not be used.
// It has two generations of records: when the younger is full, it becomes the older, and the older
// is forgotten.
type recent struct {
	keep time.Duration
	now  func() time.Time

	mu         sync.Mutex
	young, old map[string]remembered // by Redis key; guarded by mu
}

// A remembered record has the answer to a clientId, or the end of a sender's pause in a slow channel.
type remembered struct {
	answer Receipt
	until  time.Time
}

func newRecent(keep time.Duration, now func() time.Time) *recent {
	return &recent{keep: keep, now: now, young: map[string]remembered{}}
}

// judge decides about a message as Redis would, from what this node remembers, and records the
// message if it may be sent. named says that the message has a clientId.
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

// note records a message that was sent.
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

// said returns the answer to the message with that key.
func (r *recent) said(key string) (Receipt, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.find(key, r.now())
	return x.answer, ok
}

// find returns the record with that key, unless it has expired. The caller holds mu.
func (r *recent) find(key string, now time.Time) (remembered, bool) {
	x, ok := r.young[key]
	if !ok {
		x, ok = r.old[key]
	}
	return x, ok && now.Before(x.until)
}

// put adds a record. The caller holds mu.
func (r *recent) put(key string, x remembered) {
	if len(r.young) >= generation {
		r.young, r.old = map[string]remembered{}, r.young
	}
	r.young[key] = x
}
