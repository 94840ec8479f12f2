package chat

import (
	"sync"
	"time"
)

// generationLength is how many records one generation holds; the node remembers at least so many.
const generationLength = 8192

// localClaims remembers the claims of this node and decides about new ones while Redis can not be used.
// It has two generations of records: when the younger is full, it becomes the older, and the older
// is forgotten.
type localClaims struct {
	rememberFor time.Duration
	now  func() time.Time

	mu         sync.Mutex
	young, old map[string]claimRecord // by Redis key; guarded by mu
}

// A claimRecord record has the answer to a clientId, or the end of a sender's pause in a slow channel.
type claimRecord struct {
	answer Receipt
	until  time.Time
}

func newLocalClaims(keep time.Duration, now func() time.Time) *localClaims {
	return &localClaims{rememberFor: keep, now: now, young: map[string]claimRecord{}}
}

// decideClaim decides about a message as Redis would, from what this node remembers, and records the
// message if it may be sent. named says that the message has a clientId.
func (r *localClaims) decideClaim(sentKey string, answer Receipt, hasClientID bool, slowKey string, slowInterval time.Duration) claimOutcome {
	r.mu.Lock()
	now := r.now()
	if record, ok := r.findLocked(sentKey, now); hasClientID && ok {
		r.mu.Unlock()
		return claimOutcome{first: &record.answer}
	}
	if record, ok := r.findLocked(slowKey, now); slowInterval > 0 && ok {
		r.mu.Unlock()
		return claimOutcome{wait: max(time.Millisecond, record.until.Sub(now))}
	}
	r.mu.Unlock()
	r.recordClaim(sentKey, answer, hasClientID, slowKey, slowInterval)
	return claimOutcome{}
}

// recordClaim records a message that was sent.
func (r *localClaims) recordClaim(sentKey string, answer Receipt, hasClientID bool, slowKey string, slowInterval time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if hasClientID {
		r.putLocked(sentKey, claimRecord{answer, now.Add(r.rememberFor)})
	}
	if slowInterval > 0 {
		r.putLocked(slowKey, claimRecord{until: now.Add(slowInterval)})
	}
}

// findAnswer returns the answer to the message with that key.
func (r *localClaims) findAnswer(key string) (Receipt, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, ok := r.findLocked(key, r.now())
	return record.answer, ok
}

// findLocked returns the record with that key, unless it has expired. The caller holds mu.
func (r *localClaims) findLocked(key string, now time.Time) (claimRecord, bool) {
	record, ok := r.young[key]
	if !ok {
		record, ok = r.old[key]
	}
	return record, ok && now.Before(record.until)
}

// putLocked adds a record. The caller holds mu.
func (r *localClaims) putLocked(key string, record claimRecord) {
	if len(r.young) >= generationLength {
		r.young, r.old = map[string]claimRecord{}, r.young
	}
	r.young[key] = record
}
