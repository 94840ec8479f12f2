package throttle

import (
	"time"

	"github.com/aeturnis/realtime/fault"
)

// Where a decision came from.
const (
	SourceRedis  = "redis"
	SourceMemory = "memory"
	SourceLocal  = "local"
)

// A Decision is the answer for one event. Where several policies were spent it tells of the
// one that refused, or of the one with the least left. Without any policy in force it is
// {Allowed: true} and nothing else.
type Decision struct {
	Allowed bool
	Policy  string
	Scope   Scope
	// Limit is how many are admitted in a Window, by the rule of the subject's roles; Remaining
	// how many would be right now.
	Limit, Remaining int
	Window           time.Duration
	// RetryAfter is set on a refusal: whole milliseconds, at least one. Whoever waits so
	// long is admitted.
	RetryAfter time.Duration
	// ResetAt is when all of Limit is there again, if nothing more is spent.
	ResetAt time.Time
	// BlockedUntil is when a block ends. Only Peek and its like tell it.
	BlockedUntil time.Time
	// Source is redis, memory or local.
	Source string
}

// Refusal is what a client is told of a refusal.
func (d Decision) Refusal() fault.Limit {
	return fault.Limit{
		Policy: d.Policy, Scope: string(d.Scope), Limit: d.Limit, Remaining: d.Remaining,
		Window: d.Window, RetryAfter: d.RetryAfter,
	}
}

// Fault is the refusal as an error: RATE_LIMITED with policy, scope, limit, remaining,
// windowMs and retryAfterMs. It is nil when the decision allows.
func (d Decision) Fault() *fault.Fault {
	if d.Allowed {
		return nil
	}
	return d.Refusal().Fault()
}

// ceilSeconds rounds up, for headers.
func ceilSeconds(d time.Duration) int64 { return int64((max(d, 0) + time.Second - 1) / time.Second) }

// ceilMilliseconds rounds up to whole milliseconds, at least one.
func ceilMilliseconds(d time.Duration) time.Duration {
	return max(time.Millisecond, (d + time.Millisecond - 1).Truncate(time.Millisecond))
}
