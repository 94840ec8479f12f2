package chat

import (
	"sync"
	"time"
)

// generationLength is how many records one generation holds; the node remembers at least so many.
const generationLength = 8192

// localClaims remembers the claims of this node and decides about new ones while Redis can not be
// used. It has two generations of records: when the younger is full, it becomes the older, and the
// older is forgotten.
type localClaims struct {
	rememberFor time.Duration
	now         func() time.Time

	mu         sync.Mutex
	young, old map[string]claimRecord // by Redis key; guarded by mu
}

// A claimRecord has the answer to a clientId, or the end of a sender's pause in a slow channel.
type claimRecord struct {
	answer Receipt
	until  time.Time
}

func newLocalClaims(rememberFor time.Duration, now func() time.Time) *localClaims {
	return &localClaims{rememberFor: rememberFor, now: now, young: map[string]claimRecord{}}
}

// decideClaim decides about a message as Redis would, from what this node remembers, and records
// the message if it may be sent.
func (c *localClaims) decideClaim(sentKey string, answer Receipt, hasClientID bool, slowKey string, slowInterval time.Duration) claimOutcome {
	c.mu.Lock()
	now := c.now()
	if record, ok := c.findRecordLocked(sentKey, now); hasClientID && ok {
		c.mu.Unlock()
		return claimOutcome{first: &record.answer}
	}
	if record, ok := c.findRecordLocked(slowKey, now); slowInterval > 0 && ok {
		c.mu.Unlock()
		return claimOutcome{wait: max(time.Millisecond, record.until.Sub(now))}
	}
	c.mu.Unlock()
	c.recordClaim(sentKey, answer, hasClientID, slowKey, slowInterval)
	return claimOutcome{}
}

// recordClaim records a message that was sent.
func (c *localClaims) recordClaim(sentKey string, answer Receipt, hasClientID bool, slowKey string, slowInterval time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if hasClientID {
		c.addRecordLocked(sentKey, claimRecord{answer, now.Add(c.rememberFor)})
	}
	if slowInterval > 0 {
		c.addRecordLocked(slowKey, claimRecord{until: now.Add(slowInterval)})
	}
}

// findAnswer returns the answer to the message with that key.
func (c *localClaims) findAnswer(key string) (Receipt, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	record, ok := c.findRecordLocked(key, c.now())
	return record.answer, ok
}

// findRecordLocked returns the record with that key, unless it has expired. The caller holds mu.
func (c *localClaims) findRecordLocked(key string, now time.Time) (claimRecord, bool) {
	record, ok := c.young[key]
	if !ok {
		record, ok = c.old[key]
	}
	return record, ok && now.Before(record.until)
}

// addRecordLocked adds a record. The caller holds mu.
func (c *localClaims) addRecordLocked(key string, record claimRecord) {
	if len(c.young) >= generationLength {
		c.young, c.old = map[string]claimRecord{}, c.young
	}
	c.young[key] = record
}
