package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
)

// A Lease is a lock that this process holds, for a limited time. Its methods may be called from
// any goroutine.
type Lease struct {
	manager  *Manager
	opt      Options
	acquired time.Time
	attempt  *attempt
	ticket   *ticket
	ctx      context.Context //nolint:containedctx // a lease is a scope
	cancel   context.CancelCauseFunc

	watchdogDone sync.WaitGroup // the watchdog, if it runs at all
	extending    chan struct{}  // full while a goroutine extends the lease and uses attempt.mutex

	// Nothing waits for Redis while it holds mu: the lease ends on time, whatever Redis does.
	mu           sync.Mutex
	until        time.Time          // guarded by mu
	isReleased   bool               // guarded by mu
	isLost       bool               // also after it expired at the end of MaxHold; guarded by mu
	watchdog     *time.Timer        // starts runWatchdog, which starts the other timers; guarded by mu
	expiryTimer  *time.Timer        // fires at until; nil before the watchdog runs; guarded by mu
	maxHoldTimer *time.Timer        // fires at the end of MaxHold; nil before the watchdog runs; guarded by mu
	extendCtx    context.Context    //nolint:containedctx // ends with the extending: at a loss, after MaxHold, at Release; nil before it is needed; guarded by mu
	endExtending context.CancelFunc // nil before extendCtx is needed; guarded by mu
	mayNotExtend bool               // extendCtx ends, or ends as soon as it is made; guarded by mu
}

func (m *Manager) newLease(ctx context.Context, a *attempt, opt Options, t *ticket) *Lease {
	l := &Lease{
		manager: m, opt: opt, acquired: time.Now(), attempt: a, ticket: t, until: a.mutex.Until(),
		extending: make(chan struct{}, 1),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	m.counters.held.Add(1)
	l.watchdogDone.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	// Most leases are released before this timer fires, and need no other.
	l.watchdog = time.AfterFunc(min(opt.TTL/3, opt.MaxHold, time.Until(l.until)), l.runWatchdog)
	return l
}

// startTimers starts what ends the lease on time.
func (l *Lease) startTimers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isReleased || l.isLost {
		return
	}
	l.expiryTimer = time.AfterFunc(time.Until(l.until), l.endIfExpired)
	l.maxHoldTimer = time.AfterFunc(l.opt.MaxHold-time.Since(l.acquired), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stopExtending()
		l.cancel(ErrMaxHold)
	})
}

// extendContext returns the context that ends with the extending.
func (l *Lease) extendContext() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.extendCtx == nil {
		l.extendCtx, l.endExtending = context.WithCancel(context.WithoutCancel(l.ctx))
		if l.mayNotExtend {
			l.endExtending()
		}
	}
	return l.extendCtx
}

// stopExtending is called with mu held.
func (l *Lease) stopExtending() {
	l.mayNotExtend = true
	if l.endExtending != nil {
		l.endExtending()
	}
}

// Context returns a context that ends when the lease is lost, when MaxHold is over, and when the
// lease is released. Its cause is then ErrLost, ErrMaxHold or context.Canceled.
func (l *Lease) Context() context.Context { return l.ctx }

// Fence returns the fencing token: a number that is higher than that of every earlier lease of
// the name. A store that refuses lower fences is safe from holders that do not know that their
// lease has ended.
func (l *Lease) Fence() int64 { return l.attempt.fence }

// Until returns when the lease ends if it is not extended again. The key in Redis lives at least
// that long, unless the context has ended.
func (l *Lease) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Extend gives the lease its whole TTL again, from now. A watchdog does so automatically. Extend
// takes at most Config.Timeout.
//
// Errors: ErrLost, ErrMaxHold, and ErrUnavailable, after which the lease may still be good until
// the time of Until.
func (l *Lease) Extend(ctx context.Context) error {
	if err := l.extendLease(ctx); err != nil {
		return fmt.Errorf("extend %s: %w", l.attempt.name, err)
	}
	return nil
}

func (l *Lease) extendLease(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, l.manager.answerTimeout(l.opt))
	defer cancel()
	defer context.AfterFunc(l.extendContext(), cancel)()
	select {
	case l.extending <- struct{}{}:
		defer func() { <-l.extending }()
	case <-bounded.Done():
	}
	l.mu.Lock()
	err := l.reasonForEnd()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := bounded.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	ok, err := l.attempt.mutex.ExtendContext(bounded)

	l.mu.Lock()
	defer l.mu.Unlock()
	var taken *redsync.ErrTaken
	switch ended := l.reasonForEnd(); {
	case ended != nil: // the answer of Redis came too late to count
		return ended
	case ok:
		l.until = l.attempt.mutex.Until()
		if l.expiryTimer != nil {
			l.expiryTimer.Reset(time.Until(l.until))
		}
		return nil
	case errors.As(err, &taken): // a majority says that the lock is not ours
		l.markAsLost()
		return ErrLost
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// reasonForEnd says why the lease cannot be extended any more; nil if it can. It is called with mu
// held.
func (l *Lease) reasonForEnd() error {
	switch {
	case l.isReleased:
		return errReleased
	case l.isLost:
		return ErrLost
	case time.Since(l.acquired) >= l.opt.MaxHold:
		return ErrMaxHold
	case !time.Now().Before(l.until):
		l.markAsLost()
		return ErrLost
	}
	return nil
}

// endIfExpired ends the lease, unless it was extended meanwhile.
func (l *Lease) endIfExpired() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := time.Until(l.until); left <= 0 {
		l.markAsLost()
	} else if !l.isReleased && !l.isLost {
		l.expiryTimer.Reset(left)
	}
}

// markAsLost is called with mu held.
func (l *Lease) markAsLost() {
	if l.isReleased || l.isLost {
		return
	}
	l.isLost = true
	l.manager.counters.lost.Add(1)
	l.cancel(ErrLost)
	l.stopTimers()
	l.attempt.endAndFreeLocks(l.ctx) // an extension may have saved the key, too late
	l.ticket.done()
}

// stopTimers stops everything that goes on by itself. It is called with mu held.
func (l *Lease) stopTimers() {
	l.stopExtending()
	if l.expiryTimer != nil {
		l.expiryTimer.Stop()
		l.maxHoldTimer.Stop()
	}
}

// runWatchdog extends the lease every third of the TTL, and sooner if Redis did not answer.
func (l *Lease) runWatchdog() {
	defer l.watchdogDone.Done()
	l.startTimers()
	ctx := l.extendContext()
	if early := l.opt.TTL/3 - time.Since(l.acquired); early > 0 { // for the sake of MaxHold
		pause := time.NewTimer(early)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
	for {
		pause := l.opt.TTL / 3
		switch err := l.extendLease(ctx); {
		case errors.Is(err, ErrUnavailable):
			pause = l.opt.TTL / 20
		case err != nil:
			return
		}
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// Release frees the lock; a second call does nothing. It frees no lock of another holder, and
// takes at most Config.Timeout, also when ctx has ended.
//
// Errors: ErrLost if the lease had ended before, and ErrUnavailable if Redis did not answer; then
// the lock expires by itself. A caller whose work is done may ignore both.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	if l.isReleased {
		l.mu.Unlock()
		return nil
	}
	l.isReleased = true
	wasLost := l.isLost
	l.stopTimers()
	watchdogNeverRan := l.watchdog.Stop()
	l.mu.Unlock()
	if !watchdogNeverRan {
		l.watchdogDone.Wait() // soon: extendCtx has ended
	}
	l.cancel(nil)
	isTicketPassedOn := false
	passTicketOn := func() {
		isTicketPassedOn = true
		l.ticket.markTaken(false)
		l.ticket.done()
	}
	defer func() { // after Redis knows, so that the next caller here finds the lock free
		if !isTicketPassedOn {
			passTicketOn()
		}
	}()
	counters := &l.manager.counters
	counters.held.Add(-1)
	counters.holding.Add(int64(time.Since(l.acquired)))
	counters.recordHold(l.attempt.name, time.Since(l.acquired))
	if wasLost {
		return fmt.Errorf("release %s: %w", l.attempt.name, ErrLost)
	}
	l.attempt.ended.Store(true)
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.manager.cfg.Timeout)
	defer cancel()
	if !l.ticket.isWantedElsewhere() { // else the other process would have no chance against those who wait here
		l.attempt.releaseQueued = passTicketOn // Redis gets what they ask after this release
	}
	ok, err := l.attempt.mutex.UnlockContext(bounded)
	l.ticket.setWantedElsewhere(l.attempt.isWanted.Load())
	switch {
	case ok:
		return nil
	case errors.Is(err, redsync.ErrLockAlreadyExpired), errors.As(err, new(*redsync.ErrTaken)):
		counters.lost.Add(1)
		return fmt.Errorf("release %s: %w", l.attempt.name, ErrLost)
	}
	counters.unreleased.Add(1)
	l.attempt.endAndFreeLocks(ctx) // the release may never have been sent
	return fmt.Errorf("release %s: %w: %w", l.attempt.name, ErrUnavailable, err)
}
