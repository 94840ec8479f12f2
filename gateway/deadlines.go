package gateway

import (
	"context"
	"sync"
	"time"
)

// deadlines gives events their context. Those that begin within a moment share one, which ends no later than the
// timeout after the first of them began: one for each would be six allocations, and a place in a map that all share.
// It does not end with the event.
type deadlines struct {
	base    context.Context
	timeout time.Duration

	mu     sync.Mutex
	shared context.Context    // guarded by mu
	until  time.Time          // newer events get another; guarded by mu
	cancel context.CancelFunc // never called; guarded by mu
}

// moments is how many contexts there are within one timeout: an event is given at least all of it but one part.
const moments = 64

// next is the context of an event that begins now.
func (d *deadlines) next(now time.Time) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.After(d.until) {
		d.shared, d.cancel = context.WithDeadline(d.base, now.Add(d.timeout)) //nolint:gosec // events share it, so none may end it; its deadline does
		d.until = now.Add(d.timeout / moments)
	}
	return d.shared
}
