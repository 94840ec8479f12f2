package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
)

// A Lease is a lock that is held, for a time. Its methods may be called from any goroutine.
type Lease struct {
	m      *Manager
	opt    Options
	begun  time.Time
	try    *attempt
	turn   *turn
	ctx    context.Context //nolint:containedctx // a lease is a scope
	cancel context.CancelCauseFunc

	watching context.Context //nolint:containedctx // ends with the extending: when it is lost, after MaxHold, at Release
	stop     context.CancelFunc
	watched  chan struct{} // closed when the watchdog has ended
	asking   chan struct{} // full while somebody extends: try.mutex is theirs

	// Nothing waits while it has mu: the lease ends at its time, whatever Redis does.
	mu       sync.Mutex
	until    time.Time   // guarded by mu
	released bool        // guarded by mu
	gone     bool        // lost, or run out after MaxHold; guarded by mu
	over     *time.Timer // at until; guarded by mu
	spent    *time.Timer // at the end of MaxHold; guarded by mu
	next     *time.Timer // starts the watchdog; guarded by mu
}

func (m *Manager) lease(ctx context.Context, a *attempt, opt Options, t *turn) *Lease {
	l := &Lease{
		m: m, opt: opt, begun: time.Now(), try: a, turn: t, until: a.mutex.Until(),
		watched: make(chan struct{}), asking: make(chan struct{}, 1),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.watching, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.counts.held.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = time.AfterFunc(time.Until(l.until), l.runOut)
	l.spent = time.AfterFunc(opt.MaxHold, func() {
		l.stop()
		l.cancel(ErrMaxHold)
	})
	l.next = time.AfterFunc(opt.TTL/3, l.watch)
	return l
}

// Context ends when the lease is lost, when its MaxHold is over, and when it is released. Its
// cause is then ErrLost, ErrMaxHold or context.Canceled.
func (l *Lease) Context() context.Context { return l.ctx }

// Fence is higher than that of every earlier lease of the name.
func (l *Lease) Fence() int64 { return l.try.agreed }

// Until is when the lease ends if it is not extended any more. It is a promise about Redis's
// key only as long as the context has not ended.
func (l *Lease) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Extend gives the lease its whole TTL again, now. The watchdog does so by itself. It takes at most a try. Errors:
// ErrLost, ErrMaxHold, ErrUnavailable (the lease may still be good until Until).
func (l *Lease) Extend(ctx context.Context) error {
	if err := l.extend(ctx); err != nil {
		return fmt.Errorf("lock %s: extend: %w", l.try.name, err)
	}
	return nil
}

func (l *Lease) extend(ctx context.Context) error {
	try, cancel := context.WithTimeout(ctx, l.m.tryFor(l.opt))
	defer cancel()
	defer context.AfterFunc(l.watching, cancel)()
	select {
	case l.asking <- struct{}{}:
		defer func() { <-l.asking }()
	case <-try.Done():
	}
	l.mu.Lock()
	err := l.ended()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := try.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	ok, err := l.try.mutex.ExtendContext(try)

	l.mu.Lock()
	defer l.mu.Unlock()
	var taken *redsync.ErrTaken
	switch late := l.ended(); {
	case late != nil: // what Redis said came too late to count
		return late
	case ok:
		l.until = l.try.mutex.Until()
		l.over.Reset(time.Until(l.until))
		return nil
	case errors.As(err, &taken): // a majority says that it is not ours
		l.lose()
		return ErrLost
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// ended says why the lease can not be extended any more. It is called with mu held.
func (l *Lease) ended() error {
	switch {
	case l.released:
		return errReleased
	case l.gone:
		return ErrLost
	case time.Since(l.begun) >= l.opt.MaxHold:
		return ErrMaxHold
	case !time.Now().Before(l.until):
		l.lose()
		return ErrLost
	}
	return nil
}

var errReleased = errors.New("released")

// runOut ends the lease, unless it was extended meanwhile.
func (l *Lease) runOut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := time.Until(l.until); left <= 0 {
		l.lose()
	} else if !l.released && !l.gone {
		l.over.Reset(left)
	}
}

// lose is called with mu held.
func (l *Lease) lose() {
	if l.released || l.gone {
		return
	}
	l.gone = true
	l.m.counts.lost.Add(1)
	l.cancel(ErrLost)
	l.rest()
	l.try.end(l.ctx) // what an extension may have saved, too late
	l.turn.leave()
}

// rest stops all that goes on by itself. It is called with mu held.
func (l *Lease) rest() {
	l.stop()
	l.over.Stop()
	l.spent.Stop()
}

// watch extends from a third of the TTL on, sooner again when Redis did not answer.
func (l *Lease) watch() {
	defer close(l.watched)
	for {
		pause := l.opt.TTL / 3
		switch err := l.extend(l.watching); {
		case errors.Is(err, ErrUnavailable):
			pause = l.opt.TTL / 20
		case err != nil:
			return
		}
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case <-l.watching.Done():
			next.Stop()
			return
		}
	}
}

// Release gives the lock back; a second call does nothing. It takes at most a try, whatever
// ctx says, and frees nobody else's lock. It returns ErrLost when the lease had ended before,
// and ErrUnavailable when Redis did not answer: then the lease runs out by itself. Who has
// done their work may ignore both.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	if l.released {
		l.mu.Unlock()
		return nil
	}
	l.released = true
	gone := l.gone
	l.rest()
	unwatched := l.next.Stop()
	l.mu.Unlock()
	if !unwatched {
		<-l.watched // it waits for nothing any more
	}
	l.cancel(nil)
	defer l.turn.leave() // after Redis knows: the next one here finds it free
	l.m.counts.held.Add(-1)
	l.m.counts.holding.Add(int64(time.Since(l.begun)))
	l.m.counts.took(l.m.counts.holds, time.Since(l.begun))
	if gone {
		return fmt.Errorf("lock %s: release: %w", l.try.name, ErrLost)
	}
	l.try.ended.Store(true)
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.m.cfg.Try)
	defer cancel()
	ok, err := l.try.mutex.UnlockContext(try)
	switch {
	case ok:
		return nil
	case errors.Is(err, redsync.ErrLockAlreadyExpired), errors.As(err, new(*redsync.ErrTaken)):
		l.m.counts.lost.Add(1)
		return fmt.Errorf("lock %s: release: %w", l.try.name, ErrLost)
	}
	l.m.counts.forgotten.Add(1)
	return fmt.Errorf("lock %s: release: %w: %w", l.try.name, ErrUnavailable, err)
}
