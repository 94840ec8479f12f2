package throttle

import (
	"context"
	"fmt"
	"time"
)

// keyedPolicy stands for the name of a policy in the keys of SpendKey, and in its decisions. No
// policy can have this name, so no window of a policy has such a key.
const keyedPolicy = "=key"

// SpendKey charges one event to a key, with a limit that is given on the spot: it admits at most
// limit events of the key in any span of window, on all nodes together. It is for limits that are
// no policy of players, such as "one mail for each address in an hour"; they are not in Policies,
// and no override changes them. A key has one window in Redis, so all calls with it should pass the
// same window: events count for the window that was passed when the last one was admitted. The key
// shares nothing with a policy, whatever its text is. Redis that fails is treated as in Spend.
// Errors: ErrBadLimit, ErrBadWindow, ErrNoSubject, and those of Spend.
func (l *Limiter) SpendKey(ctx context.Context, key string, limit int, window time.Duration) (Decision, error) {
	return l.SpendKeyTimes(ctx, key, 1, limit, window)
}

// SpendKeyTimes is SpendKey for several events at once: all of them, or none. There are at least
// one, and at most limit.
func (l *Limiter) SpendKeyTimes(ctx context.Context, key string, times, limit int, window time.Duration) (Decision, error) {
	switch {
	case limit < 1 || limit > MaxLimit || times < 1 || times > limit:
		return Decision{}, ErrBadLimit
	case !isValidWindow(window):
		return Decision{}, ErrBadWindow
	case key == "" || len(key) > maxSubject:
		return Decision{}, fmt.Errorf("%w: a key has 1 to %d bytes", ErrNoSubject, maxSubject)
	}
	if err := ctx.Err(); err != nil {
		return Decision{}, err
	}
	r := &rule{scope: ByKey, limit: limit, window: window, cost: times, keep: window, args: []any{limit, window.Milliseconds()}}
	if r.isSpecial() {
		r.args = append(r.args, "", "", r.cost, r.keep.Milliseconds())
	}
	return l.spendTargets(ctx, []target{{l.keyed, r, key}})
}
