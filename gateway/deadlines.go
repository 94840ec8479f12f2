package gateway

import (
	"context"
	"sync"
	"time"
)

// eventDeadlines makes the contexts of events. Events that begin within a short time share one
// context, which ends no later than the timeout after the first of them began. A context for each
// event would cost six allocations, and an entry in the children map of base. The context does not
// end with the event.
type eventDeadlines struct {
	baseCtx context.Context
	timeout time.Duration

	mu          sync.Mutex
	shared      context.Context    // guarded by mu
	sharedUntil time.Time          // events that begin later get a new context; guarded by mu
	cancel      context.CancelFunc // never called; guarded by mu
}

// contextsPerTimeout is how many contexts are made within one timeout. An event has at least the
// timeout less one such part.
const contextsPerTimeout = 64

// contextFor returns the context of an event that begins now.
func (d *eventDeadlines) contextFor(now time.Time) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.After(d.sharedUntil) {
		d.shared, d.cancel = context.WithDeadline(d.baseCtx, now.Add(d.timeout)) //nolint:gosec // events share it, so only its deadline may end it
		d.sharedUntil = now.Add(d.timeout / contextsPerTimeout)
	}
	return d.shared
}
