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
	name   string
	opt    Options
	fence  int64
	begun  time.Time
	ctx    context.Context //nolint:containedctx // a lease is a scope
	cancel context.CancelCauseFunc
	leave  func()
	done   chan struct{} // closed when the watchdog has ended
	stop   context.CancelFunc

	mu       sync.Mutex
	mutex    *redsync.Mutex // guarded by mu
	until    time.Time      // guarded by mu
	released bool           // guarded by mu
	gone     bool           // lost, or run out after MaxHold; guarded by mu
}

func (m *Manager) lease(ctx context.Context, a *attempt, mutex *redsync.Mutex, opt Options, leave func()) *Lease {
	l := &Lease{
		m: m, name: a.name, opt: opt, fence: a.agreed, begun: time.Now(), leave: leave,
		mutex: mutex, until: mutex.Until(), done: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	var watch context.Context
	watch, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.counts.held.Add(1)
	go l.watch(watch) // Release waits for it
	return l
}

// Context ends when the lease is lost, when its MaxHold is over, and when it is released. Its
// cause is then ErrLost, ErrMaxHold or context.Canceled.
func (l *Lease) Context() context.Context { return l.ctx }

// Fence is higher than that of every earlier lease of the name.
func (l *Lease) Fence() int64 { return l.fence }

// Until is when the lease ends if it is not extended any more. It is a promise about Redis's
// key only as long as the context has not ended.
func (l *Lease) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Extend gives the lease its whole TTL again, now. The watchdog does so by itself. Errors:
// ErrLost, ErrMaxHold, ErrUnavailable (the lease may still be good until Until).
func (l *Lease) Extend(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.released:
		return fmt.Errorf("lock %s: extend: released", l.name)
	case l.gone:
		return fmt.Errorf("lock %s: extend: %w", l.name, ErrLost)
	case time.Since(l.begun) >= l.opt.MaxHold:
		return fmt.Errorf("lock %s: extend: %w", l.name, ErrMaxHold)
	}
	try, cancel := context.WithTimeout(ctx, min(l.m.cfg.Try, l.opt.TTL/3))
	defer cancel()
	ok, err := l.mutex.ExtendContext(try)
	var taken *redsync.ErrTaken
	switch {
	case ok:
		l.until = l.mutex.Until()
		return nil
	case errors.As(err, &taken): // a majority says that it is not ours
		l.lose()
		return fmt.Errorf("lock %s: extend: %w", l.name, ErrLost)
	}
	return fmt.Errorf("lock %s: extend: %w: %w", l.name, ErrUnavailable, err)
}

// lose is called with mu held.
func (l *Lease) lose() {
	if l.released || l.gone {
		return
	}
	l.gone = true
	l.m.counts.lost.Add(1)
	l.cancel(ErrLost)
	l.leave()
}

// watch extends at a third of the TTL, sooner again when Redis did not answer, until MaxHold
// is over; and ends the context when the lease has run out.
func (l *Lease) watch(ctx context.Context) {
	defer close(l.done)
	spent := time.NewTimer(l.opt.MaxHold)
	defer spent.Stop()
	next := time.NewTimer(l.opt.TTL / 3)
	defer next.Stop()
	over := time.NewTimer(time.Until(l.Until()))
	defer over.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-spent.C:
			l.cancel(ErrMaxHold)
			next.Stop()
		case <-over.C:
			l.mu.Lock()
			left := time.Until(l.until)
			if left <= 0 {
				l.lose()
			}
			l.mu.Unlock()
			if left <= 0 {
				return
			}
			over.Reset(left)
		case <-next.C:
			err := l.Extend(ctx)
			switch {
			case err == nil:
				next.Reset(l.opt.TTL / 3)
			case errors.Is(err, ErrUnavailable):
				next.Reset(l.opt.TTL / 20)
			case errors.Is(err, ErrLost):
				return
			}
		}
	}
}

// Release gives the lock back; a second call does nothing. It takes at most a try, whatever
// ctx says, and frees nobody else's lock. It returns ErrLost when the lease had ended before,
// and ErrUnavailable when Redis did not answer: then the lease runs out by itself. Who has
// done their work may ignore both.
func (l *Lease) Release(ctx context.Context) error {
	l.stop()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil
	}
	l.released = true
	l.cancel(nil)
	defer l.leave() // after Redis knows: the next one here finds it free
	l.m.counts.held.Add(-1)
	l.m.counts.holding.Add(int64(time.Since(l.begun)))
	l.m.counts.took(l.m.counts.holds, time.Since(l.begun))
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.m.cfg.Try)
	defer cancel()
	ok, err := l.mutex.UnlockContext(try)
	switch {
	case l.gone:
		return fmt.Errorf("lock %s: release: %w", l.name, ErrLost)
	case ok:
		return nil
	case errors.Is(err, redsync.ErrLockAlreadyExpired), errors.As(err, new(*redsync.ErrTaken)):
		l.m.counts.lost.Add(1)
		return fmt.Errorf("lock %s: release: %w", l.name, ErrLost)
	}
	l.m.counts.forgotten.Add(1)
	return fmt.Errorf("lock %s: release: %w: %w", l.name, ErrUnavailable, err)
}
