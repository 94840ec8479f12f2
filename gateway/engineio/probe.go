package engineio

import "time"

// probePoll is how often Probe looks for an answer.
const probePoll = 5 * time.Millisecond

// Probe sends the client a ping, and reports whether anything came from it within patience. A
// client answers a ping at any time. While the handler keeps the reader waiting, Probe reports
// true.
func (c *Conn) Probe(patience time.Duration) bool {
	begun := time.Now()
	c.mu.Lock()
	if c.state.Load() != stateOpen {
		c.mu.Unlock()
		return false
	}
	c.appendFrames(pingFrame)
	c.flushLocked()
	c.mu.Unlock()
	for {
		switch {
		case c.isBlocked.Load() || c.lastHeard.Load() > begun.UnixNano():
			return true
		case !c.Open() || time.Since(begun) > patience:
			return false
		}
		time.Sleep(probePoll)
	}
}
