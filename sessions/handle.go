package sessions

import (
	"slices"
	"sync/atomic"
	"time"
)

// A Handle is one socket's use of its session.
type Handle struct {
	tracker  *Tracker
	session  *trackedSession
	listener Listener
	state    atomic.Int32
}

const (
	handleOpen int32 = iota
	handleEnded
	handleClosed
)

// Touch says that the client did something. It never waits for Redis, allocates nothing, and takes
// no lock unless a touch is due.
func (h *Handle) Touch() {
	tracked := h.session
	due := tracked.touchDue.Load()
	now := int64(h.tracker.sinceBase())
	if now < due || !h.Alive() {
		return
	}
	if tracked.touchDue.CompareAndSwap(due, now+tracked.touchInterval.Load()) {
		until := now + tracked.ttl.Load()
		if tracked.absoluteDeadline != 0 {
			until = min(until, int64(tracked.absoluteDeadline))
		}
		tracked.pendingDeadline.Store(until)
		h.tracker.enqueueTouch(tracked)
	}
}

// TTL is how long the session lives without further activity, as far as this process knows. It
// counts from the last touch, so it is too short by at most the touch interval. A touch that is on
// its way counts already.
func (h *Handle) TTL() time.Duration {
	return max(0, time.Duration(max(h.session.deadline.Load(), h.session.pendingDeadline.Load()))-h.tracker.sinceBase())
}

// Alive reports whether the handle is open and its session is not known to have ended.
func (h *Handle) Alive() bool { return h.state.Load() == handleOpen && h.session.isAlive.Load() }

// Close ends the use of the session. The listener is not called any more, unless a call is under
// way. A pending touch is still sent.
func (h *Handle) Close() {
	if !h.state.CompareAndSwap(handleOpen, handleClosed) {
		return
	}
	t, tracked := h.tracker, h.session
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(tracked.handles, h)
	if i < 0 { // the session ended at this moment, and removed its handles
		return
	}
	tracked.handles = slices.Delete(tracked.handles, i, i+1)
	t.handles--
	if len(tracked.handles) == 0 {
		t.untrackSession(tracked)
	}
}

func (h *Handle) notifyEnded(rev Revocation) {
	if h.state.CompareAndSwap(handleOpen, handleEnded) && h.listener.Ended != nil {
		h.listener.Ended(rev)
	}
}

func (h *Handle) notifyExpiring(left time.Duration) {
	if h.listener.Expiring != nil && h.Alive() {
		h.listener.Expiring(left)
	}
}
