package sessions

import (
	"sync/atomic"
	"time"
)

// A trackedSession is a session that at least one socket of this process uses.
type trackedSession struct {
	id, userID       string
	absoluteDeadline time.Duration // end of the absolute lifetime, since base; 0: there is none

	touchDue        atomic.Int64 // ns since base: from then on, activity is worth a touch
	touchInterval   atomic.Int64 // ns between touches
	ttl             atomic.Int64 // ns
	deadline        atomic.Int64 // ns since base: when it expires, as far as we know
	pendingDeadline atomic.Int64 // ns since base: the deadline after the touch under way; 0: none
	isAlive         atomic.Bool

	// These are guarded by Tracker.mu.
	verifiedAt    time.Duration // since base: when Redis was last known to have it
	isWarned      bool
	character     string // that the next touch stores as the user's last one
	handles       []*Handle
	revocation    *Revocation   // why it ended; nil while it lives
	isReasonKnown bool          // revocation came from a message or the log
	hasRunOut     bool          // Redis said that the key ran out by its own TTL
	isAccused     bool          // a message or the log says that it ended; Redis was not asked yet
	mustAskRedis  bool          // the next check asks Redis, whatever the deadline
	checkAt       time.Duration // since base: the next check
	queueIndex    int           // in the checkQueue; -1: the session is no longer followed
}

func (s *trackedSession) setTTL(ttl time.Duration) {
	s.ttl.Store(int64(ttl))
	s.touchInterval.Store(int64(TouchInterval(ttl)))
}

// nextCheck is when to look at the session again: when its handles may have to be warned, or when
// Redis must be asked whether another program has deleted it. The caller holds Tracker.mu.
func (s *trackedSession) nextCheck() time.Duration {
	return min(s.nextWarning(), s.verifiedAt+verifyInterval(time.Duration(s.touchInterval.Load())))
}

// verifyInterval is how long after one answer of Redis to ask again, so that the handles of a
// session that was deleted are told within its touch interval.
func verifyInterval(touchInterval time.Duration) time.Duration {
	return max(touchInterval*9/10-reasonGrace, minVerifyInterval)
}

// nextWarning is when the handles of the session must be warned, or, if they were warned, its
// deadline. The caller holds Tracker.mu.
func (s *trackedSession) nextWarning() time.Duration {
	deadline := time.Duration(s.deadline.Load())
	if s.isWarned {
		return deadline
	}
	return min(deadline, max(deadline, time.Duration(s.pendingDeadline.Load()))-time.Duration(s.ttl.Load()/10))
}
