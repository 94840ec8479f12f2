package throttle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// MaxBlock is how long Block refuses at most.
const MaxBlock = 90 * 24 * time.Hour

// ErrBadBlock is what Block returns for a block longer than MaxBlock.
var ErrBadBlock = fmt.Errorf("throttle: a block lasts at most %s", MaxBlock)

// ErrOff is what Peek, Penalize, Reward, Block and Dump return for a policy that limits nobody: it
// has no window.
var ErrOff = errors.New("throttle: the policy is off")

// Check is Spend for one policy.
func (l *Limiter) Check(ctx context.Context, policy string, sub Subject) (Decision, error) {
	return l.Spend(ctx, []string{policy}, sub)
}

// Peek returns what Check would decide now, and spends nothing; Remaining is what is left before
// the event. It always asks Redis. Errors of Peek, Penalize, Reward and Block: ErrUnknownPolicy,
// ErrNoSubject, ErrOff, and those of Redis.
func (l *Limiter) Peek(ctx context.Context, policy string, sub Subject) (Decision, error) {
	return l.adjustSubject(ctx, policy, sub, 0, "")
}

// Penalize takes n from what remains, as if so many events had been admitted, and returns what Peek
// would. What remains may go below zero; the decision shows zero then.
func (l *Limiter) Penalize(ctx context.Context, policy string, sub Subject, n int) (Decision, error) {
	return l.adjustSubject(ctx, policy, sub, min(max(n, 0), MaxLimit), "")
}

// Reward takes the n newest admissions back, and returns what Peek would.
func (l *Limiter) Reward(ctx context.Context, policy string, sub Subject, n int) (Decision, error) {
	return l.adjustSubject(ctx, policy, sub, -min(max(n, 0), MaxLimit), "")
}

// Block refuses every event of a subject for a time, on all nodes, whatever remains; 0 lifts the
// block. A block is in Redis alone: while Redis is gone, a node knows only the blocks that have
// refused an event on it. Errors: those of Peek, and ErrBadBlock.
func (l *Limiter) Block(ctx context.Context, policy string, sub Subject, d time.Duration) (Decision, error) {
	if d > MaxBlock {
		return Decision{}, ErrBadBlock
	}
	block := "0"
	if d > 0 {
		block = fmt.Sprint(ceilMilliseconds(d).Milliseconds())
	}
	return l.adjustSubject(ctx, policy, sub, 0, block)
}

// Reset forgets what a subject has spent, and lifts a block. Errors: ErrUnknownPolicy,
// ErrNoSubject, and those of Redis.
func (l *Limiter) Reset(ctx context.Context, policy string, sub Subject) error {
	p := (*l.table.Load())[policy]
	if p == nil {
		return fmt.Errorf("%w %q", ErrUnknownPolicy, policy)
	}
	subject, err := sub.identifierFor(&p.active.Load().Policy)
	if err != nil {
		return err
	}
	if err := l.rdb.Del(ctx, keys.RateLimit(subject, policy)).Err(); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	l.locals.forgetWindow(windowID{p, subject})
	return l.invalidateWindow(ctx, windowID{p, subject})
}

// adjustSubject is adjustWindow for the window that a subject spends from.
func (l *Limiter) adjustSubject(ctx context.Context, policy string, sub Subject, add int, block string) (Decision, error) {
	t, err := l.findTarget(policy, &sub)
	switch {
	case err != nil:
		return Decision{}, err
	case t.rule == nil:
		return Decision{}, fmt.Errorf("%w: %s", ErrOff, policy)
	}
	return l.adjustWindow(ctx, t, add, block)
}

// adjustWindow adds admissions to a window, or takes some back, and sets a block: "" leaves it, "0"
// lifts it, else it lasts so many ms. It returns the window as it is then.
func (l *Limiter) adjustWindow(ctx context.Context, t target, add int, block string) (Decision, error) {
	r := t.rule
	args := []any{r.limit, r.window.Milliseconds(), r.keep.Milliseconds(), r.cost, add, block, 2 * t.policy.active.Load().highestLimit}
	if l.stamp != nil {
		args = append(args, l.stamp())
	}
	reply, err := adjustScript.Do(ctx, l.rdb, []string{keys.RateLimit(t.subject, t.policy.name)}, args...).Int64Slice()
	if err != nil {
		return Decision{}, fmt.Errorf("adjust: %w", err)
	}
	if len(reply) != 4 {
		return Decision{}, errUnexpectedReply
	}
	if add != 0 || block != "" {
		err = l.invalidateWindow(ctx, t.windowID())
	}
	now := l.clock()
	d := Decision{
		Allowed: reply[1] == 0, Policy: t.policy.name, Scope: r.scope, Limit: r.limit, Remaining: max(0, int(reply[0])), Window: r.window,
		RetryAfter: time.Duration(reply[1]) * time.Millisecond, ResetAt: l.started.Add(now + time.Duration(reply[2])*time.Millisecond), Source: SourceRedis,
	}
	if reply[3] > 0 {
		d.BlockedUntil = l.started.Add(now + time.Duration(reply[3])*time.Millisecond)
	}
	return d, err
}

// A Window is what Dump returns for one subject.
type Window struct {
	Subject string
	Decision
}

// Dump lists the subjects that have spent from a policy, or are blocked: as many as most, in no
// particular choice. Each entry is what Peek would return by the policy's base rule. It scans all
// keys of Redis, so it is for operators only. Errors: ErrUnknownPolicy, ErrOff, and those of Redis.
func (l *Limiter) Dump(ctx context.Context, policy string, most int) ([]Window, error) {
	p := (*l.table.Load())[policy]
	if p == nil {
		return nil, fmt.Errorf("%w %q", ErrUnknownPolicy, policy)
	}
	f := p.active.Load()
	if f.base == nil {
		return nil, fmt.Errorf("%w: %s", ErrOff, policy)
	}
	subjects, err := l.scanSubjects(ctx, policy, most)
	if err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	var out []Window
	for _, subject := range subjects {
		d, err := l.adjustWindow(ctx, target{p, f.base, subject}, 0, "")
		if isOnlyThisKey(err) {
			continue
		}
		if err != nil {
			return out, err
		}
		out = append(out, Window{subject, d})
	}
	return out, nil
}

// scanSubjects lists the subjects that have a window of the policy, at most so many.
func (l *Limiter) scanSubjects(ctx context.Context, policy string, most int) ([]string, error) {
	var mu sync.Mutex
	seen := map[string]bool{} // guarded by mu
	scan := func(ctx context.Context, c redis.UniversalClient) error {
		i := c.Scan(ctx, 0, keys.RateLimit("*", policy), 1000).Iterator()
		for i.Next(ctx) {
			mu.Lock()
			full := len(seen) >= most
			if !full {
				seen[keys.RateLimitSubject(i.Val(), policy)] = true
			}
			mu.Unlock()
			if full {
				return nil
			}
		}
		return i.Err()
	}
	err := redisx.ForEachMaster(ctx, l.rdb, scan)
	return slices.Sorted(maps.Keys(seen)), err
}
