package throttle

import (
	"time"

	"github.com/aeturnis/realtime/fault"
)

// The sources of a decision.
const (
	SourceRedis  = "redis"
	SourceMemory = "memory"
	SourceLocal  = "local"
)

// A Decision is the answer for one event. Where several policies were spent, its other fields are
// about the one that refused, or the one with the least left. Without any policy in force it is
// {Allowed: true} and nothing else.
type Decision struct {
	Allowed bool
	Policy  string
	Scope   Scope
	// Limit is how many events are admitted in a Window, by the rule of the subject's roles.
	// Remaining is how many more would be admitted now.
	Limit, Remaining int
	Window           time.Duration
	// RetryAfter is set on a refusal: whole milliseconds, at least one. An event after that time is
	// admitted.
	RetryAfter time.Duration
	// Message is set on a refusal by a policy that has one.
	Message string
	// ResetAt is when the whole Limit is available again, if nothing more is spent.
	ResetAt time.Time
	// BlockedUntil is when a block ends. Only Peek, Penalize, Reward, Block and Dump set it.
	BlockedUntil time.Time
	// Source is SourceRedis, SourceMemory or SourceLocal.
	Source string
}

// Refusal returns the details of the decision that a refused client gets.
func (d Decision) Refusal() fault.Limit {
	return fault.Limit{
		Policy: d.Policy, Scope: string(d.Scope), Limit: d.Limit, Remaining: d.Remaining,
		Window: d.Window, RetryAfter: d.RetryAfter, Message: d.Message,
	}
}

// Fault returns the refusal as an error: RATE_LIMITED with policy, scope, limit, remaining,
// windowMs and retryAfterMs. It returns nil when the event is allowed.
func (d Decision) Fault() *fault.Fault {
	if d.Allowed {
		return nil
	}
	return d.Refusal().Fault()
}

// ceilSeconds rounds up to whole seconds, for headers.
func ceilSeconds(d time.Duration) int64 { return int64((max(d, 0) + time.Second - 1) / time.Second) }

// ceilMilliseconds rounds up to whole milliseconds, at least one.
func ceilMilliseconds(d time.Duration) time.Duration {
	return max(time.Millisecond, (d + time.Millisecond - 1).Truncate(time.Millisecond))
}
