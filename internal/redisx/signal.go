package redisx

// A Signal wakes the goroutine that receives from C. Notifications that come while one is pending
// are merged with it, so the goroutine must check everything when it wakes. Copies of a Signal are
// the same signal. The zero Signal is never received, and notifying it does nothing.
type Signal struct{ pending chan struct{} }

// NewSignal makes a signal that has not been notified yet.
func NewSignal() Signal { return Signal{pending: make(chan struct{}, 1)} }

// Notify makes the next receive from C succeed. It never blocks.
func (s Signal) Notify() {
	select {
	case s.pending <- struct{}{}:
	default: // a notification is pending already
	}
}

// C returns the channel to receive from. It gives one value for all notifications since the last
// receive.
func (s Signal) C() <-chan struct{} { return s.pending }
