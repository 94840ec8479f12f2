package sessions

import (
	"sync/atomic"
	"time"
)

// A live session is one that sockets of this process belong to.
type live struct {
	id, userID string
	absolute   time.Duration // since base; 0: no absolute lifetime

	due      atomic.Int64 // ns since base: from then on activity is worth a touch
	interval atomic.Int64 // ns between touches
	ttl      atomic.Int64 // ns
	deadline atomic.Int64 // ns since base: when it expires, as far as we know
	promised atomic.Int64 // ns since base: when it will expire once the touch under way is stored; 0: none is
	alive    atomic.Bool

	// guarded by Tracker.mu
	warned    bool
	character string // to be remembered by the next touch
	handles   []*Handle
	ending    *Revocation   // it is gone, and this is why
	heard     bool          // somebody told why
	ask       bool          // at the next check ask Redis, whatever the deadline
	at        time.Duration // since base: the next check
	place     int           // in checks; -1: not followed any more
}

func (l *live) setTTL(ttl time.Duration) {
	l.ttl.Store(int64(ttl))
	l.interval.Store(int64(TouchInterval(ttl)))
}

// next is when to look at a session again: when it is to be warned, else at its deadline.
// Tracker.mu is held.
func (l *live) next() time.Duration {
	deadline := time.Duration(l.deadline.Load())
	if l.warned {
		return deadline
	}
	return min(deadline, max(deadline, time.Duration(l.promised.Load()))-time.Duration(l.ttl.Load()/10))
}
