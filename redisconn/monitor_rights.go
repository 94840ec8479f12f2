package redisconn

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// rightsRetry is how soon the rights are asked for again while one is missing, or after Redis has
// refused a command.
const rightsRetry = 500 * time.Millisecond

// A rightsWatch knows which rights are missing. Only the goroutine of Monitor.Run asks.
type rightsWatch struct {
	needs   Rights
	every   time.Duration
	asked   time.Time   // when Redis was asked last
	isStale atomic.Bool // a command was refused since then
	missing atomic.Pointer[MissingRights]
}

// current returns what is missing, and first asks Redis when what is known is too old, or when
// isReturn says that Redis has just come back. When Redis cannot say it, the last answer holds.
func (w *rightsWatch) current(ctx context.Context, client redis.UniversalClient, isReturn bool) MissingRights {
	if w.needs.isZero() {
		return MissingRights{}
	}
	age := time.Since(w.asked)
	isDue := age >= w.every || age >= rightsRetry && (w.isStale.Load() || !w.known().IsEmpty())
	if !isDue && !isReturn {
		return w.known()
	}
	w.isStale.Store(false)
	w.asked = time.Now()
	if missing, err := w.needs.FindMissing(ctx, client); err == nil || !missing.IsEmpty() {
		w.missing.Store(&missing)
	}
	return w.known()
}

// known returns what was missing when Redis was asked last.
func (w *rightsWatch) known() MissingRights {
	if m := w.missing.Load(); m != nil {
		return *m
	}
	return MissingRights{}
}

// noteRefusal makes the next probe ask again, when err says that a right is missing. It reports
// whether that is so.
func (w *rightsWatch) noteRefusal(err error) bool {
	if w.needs.isZero() || !redisx.IsForbidden(err) {
		return false
	}
	w.isStale.Store(true)
	return true
}

// MissingRights returns which of MonitorConfig.Rights Redis did not give us when it was asked last.
func (m *Monitor) MissingRights() MissingRights { return m.rights.known() }
