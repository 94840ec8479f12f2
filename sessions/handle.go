package sessions

import (
	"slices"
	"sync/atomic"
	"time"
)

// A Handle is one socket's use of its session.
type Handle struct {
	tracker *Tracker
	live    *live
	on      Listener
	state   atomic.Int32
}

const (
	open int32 = iota
	ended
	closed
)

// Touch says that the client did something. It never waits for Redis, allocates nothing, and takes
// no lock unless a touch is due.
func (h *Handle) Touch() {
	l := h.live
	due := l.due.Load()
	now := int64(h.tracker.clock())
	if now < due || !h.Alive() {
		return
	}
	if l.due.CompareAndSwap(due, now+l.interval.Load()) {
		until := now + l.ttl.Load()
		if l.absolute != 0 {
			until = min(until, int64(l.absolute))
		}
		l.promised.Store(until)
		h.tracker.enqueue(l)
	}
}

// TTL is how long the session lives without further activity, as far as this process knows. It
// counts from the last touch, so it is too short by at most the touch interval. A touch that is on
// its way counts already.
func (h *Handle) TTL() time.Duration {
	return max(0, time.Duration(max(h.live.deadline.Load(), h.live.promised.Load()))-h.tracker.clock())
}

// Alive reports whether the handle is open and its session is not known to have ended.
func (h *Handle) Alive() bool { return h.state.Load() == open && h.live.alive.Load() }

// Close ends the use of the session. The listener is not called any more, unless a call is under
// way. A pending touch is still sent.
func (h *Handle) Close() {
	if !h.state.CompareAndSwap(open, closed) {
		return
	}
	t, l := h.tracker, h.live
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(l.handles, h)
	if i < 0 { // the session ended at this moment, and removed its handles
		return
	}
	l.handles = slices.Delete(l.handles, i, i+1)
	t.handles--
	if len(l.handles) == 0 {
		t.forget(l)
	}
}

func (h *Handle) end(rev Revocation) {
	if h.state.CompareAndSwap(open, ended) && h.on.Ended != nil {
		h.on.Ended(rev)
	}
}

func (h *Handle) expiring(left time.Duration) {
	if h.on.Expiring != nil && h.Alive() {
		h.on.Expiring(left)
	}
}
