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

// ErrBadBlock is returned for a block longer than MaxBlock.
var ErrBadBlock = fmt.Errorf("throttle: a block lasts at most %s", MaxBlock)

// ErrOff is returned where a policy limits nobody: there is no window to look into.
var ErrOff = errors.New("throttle: the policy is off")

// Check is Spend for one policy.
func (l *Limiter) Check(ctx context.Context, policy string, sub Subject) (Decision, error) {
	return l.Spend(ctx, []string{policy}, sub)
}

// Peek tells what Check would say now, and spends nothing; Remaining is what is left before
// it. It always asks Redis. Errors of Peek, Penalize, Reward and Block: ErrUnknownPolicy,
// ErrNoSubject, ErrOff, and those of Redis.
func (l *Limiter) Peek(ctx context.Context, policy string, sub Subject) (Decision, error) {
	return l.adjustSubject(ctx, policy, sub, 0, "")
}

// Penalize takes n from what remains, as if so many had been admitted, and says what Peek
// would. What remains may go below zero, and is told as zero.
func (l *Limiter) Penalize(ctx context.Context, policy string, sub Subject, n int) (Decision, error) {
	return l.adjustSubject(ctx, policy, sub, min(max(n, 0), MaxLimit), "")
}

// Reward takes the n newest admissions back, and says what Peek would.
func (l *Limiter) Reward(ctx context.Context, policy string, sub Subject, n int) (Decision, error) {
	return l.adjustSubject(ctx, policy, sub, -min(max(n, 0), MaxLimit), "")
}

// Block refuses everything for a time, on all nodes, whatever remains; 0 lifts it. A block
// is in Redis alone: a node whose Redis is gone knows only of those that it has met. Errors:
// those of Peek, and ErrBadBlock.
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

// Reset forgets what was spent, and lifts a block. Errors: ErrUnknownPolicy, ErrNoSubject, and
// those of Redis.
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

// A Window is what Dump tells of one subject.
type Window struct {
	Subject string
	Decision
}

// Dump tells of at most so many subjects that have spent of a policy, or are blocked; each is what Peek says, by the base rule. It reads through all keys of Redis: it is
// for operators. Errors: ErrUnknownPolicy, ErrOff, and those of Redis.
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

// scanSubjects are those that have a window, at most so many.
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
