package gateway

import (
	"context"
	"sync"
	"time"
)

// deadlines makes the contexts of events. Events that begin within a short time share one context,
// which ends no later than the timeout after the first of them began. A context for each event
// would cost six allocations, and an entry in the children map of base. The context does not end
// with the event.
type deadlines struct {
	base    context.Context
	timeout time.Duration

	mu     sync.Mutex
	shared context.Context    // guarded by mu
	until  time.Time          // events that begin later get a new context; guarded by mu
	cancel context.CancelFunc // never called; guarded by mu
}

// moments is how many contexts are made within one timeout. An event has at least the timeout less
// one such part.
const moments = 64

// next returns the context of an event that begins now.
func (d *deadlines) next(now time.Time) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.After(d.until) {
		d.shared, d.cancel = context.WithDeadline(d.base, now.Add(d.timeout)) //nolint:gosec // events share it, so only its deadline may end it
		d.until = now.Add(d.timeout / moments)
	}
	return d.shared
}
