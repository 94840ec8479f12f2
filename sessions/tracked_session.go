package sessions

import (
	"sync/atomic"
	"time"
)

// A trackedSession is a session that at least one socket of this process uses.
type live struct {
	id, userID string
	absolute   time.Duration // end of the absolute lifetime, since base; 0: there is none

	due      atomic.Int64 // ns since base: from then on, activity is worth a touch
	interval atomic.Int64 // ns between touches
	ttl      atomic.Int64 // ns
	deadline atomic.Int64 // ns since base: when it expires, as far as we know
	promised atomic.Int64 // ns since base: when it expires once the touch under way is stored; 0: no touch is
	alive    atomic.Bool

	// These are guarded by Tracker.mu.
	warned    bool
	character string // that the next touch stores as the user's last one
	handles   []*Handle
	ending    *Revocation   // why it ended; nil while it lives
	heard     bool          // ending came from a message or the log
	ask       bool          // the next check asks Redis, whatever the deadline
	at        time.Duration // since base: the next check
	place     int           // in the checkQueue; -1: the session is no longer followed
}

func (l *live) setTTL(ttl time.Duration) {
	l.ttl.Store(int64(ttl))
	l.interval.Store(int64(TouchInterval(ttl)))
}

// nextCheck is when to look at the session again: when its handles must be warned, or else at its
// deadline. The caller holds Tracker.mu.
func (l *live) next() time.Duration {
	deadline := time.Duration(l.deadline.Load())
	if l.warned {
		return deadline
	}
	return min(deadline, max(deadline, time.Duration(l.promised.Load()))-time.Duration(l.ttl.Load()/10))
}
