package cache

import (
	"context"
	"sync"
	"time"
)

// stages is the context of a load: it has the values of the first caller's context, but not its
// end. The steps of a load come one after the other, each with a time limit of its own. A context
// for each step would cost more than most steps do.
type stages struct {
	context.Context //nolint:containedctx // of the first caller; only its values count

	done chan struct{} // closed when err is set

	mu       sync.Mutex
	deadline time.Time            // of the present step; guarded by mu
	timer    *time.Timer          // ends the present step; guarded by mu
	err      error                // guarded by mu
	onEnd    map[*func()]struct{} // what runs when err is set; guarded by mu
	onExpire func(error)          // runs if the present step takes too long; guarded by mu
	next     *stages              // has the further steps, after one that took too long; guarded by mu
}

func (s *stages) init(values context.Context) { s.Context, s.done = values, make(chan struct{}) }

// beginStep begins a step and returns its context. If a step before it took too long, the context
// of that one stays ended, and this step has another one.
func (s *stages) beginStep(limit time.Duration) *stages { return s.beginStepWith(limit, nil) }

// beginLastStep is beginStep for what must be tried also after cancel: other nodes wait for it.
func (s *stages) beginLastStep(limit time.Duration) *stages {
	s.mu.Lock()
	isCanceled := s.err == context.Canceled //nolint:errorlint // cancel has set it
	s.mu.Unlock()
	if !isCanceled {
		return s.beginStep(limit)
	}
	last := &stages{}
	last.init(s.Context)
	return last.beginStep(limit)
}

// beginStepWith is beginStep with what to do, in a goroutine of its own, if the step ends before
// the next one begins.
func (s *stages) beginStepWith(limit time.Duration, onExpire func(error)) *stages {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.next != nil:
		return s.next.beginStepWith(limit, onExpire)
	case s.err == context.DeadlineExceeded: //nolint:errorlint // expire has set it
		s.next = &stages{}
		s.next.init(s.Context)
		return s.next.beginStepWith(limit, onExpire)
	case s.err != nil:
		if onExpire != nil {
			go onExpire(s.err)
		}
		return s
	}
	s.onExpire = onExpire
	s.deadline = time.Now().Add(limit)
	switch {
	case limit <= 0:
		s.endLocked(context.DeadlineExceeded)
	case s.timer == nil:
		s.timer = time.AfterFunc(limit, s.expire)
	default:
		s.timer.Reset(limit)
	}
	return s
}

func (s *stages) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.deadline) { // else another step has begun meanwhile
		s.endLocked(context.DeadlineExceeded)
	}
}

// cancel ends the present step, and all that would follow.
func (s *stages) cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(context.Canceled)
	if s.next != nil {
		s.next.cancel()
	}
}

func (s *stages) endLocked(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	if s.timer != nil {
		s.timer.Stop()
	}
	close(s.done)
	if s.onExpire != nil {
		go s.onExpire(err)
		s.onExpire = nil
	}
	for fn := range s.onEnd {
		go (*fn)()
	}
	s.onEnd = nil
}

// Deadline implements context.Context.
func (s *stages) Deadline() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline, true
}

// Done implements context.Context.
func (s *stages) Done() <-chan struct{} { return s.done }

// Err implements context.Context.
func (s *stages) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// AfterFunc lets package context derive contexts from this one without a goroutine for each.
func (s *stages) AfterFunc(fn func()) (stop func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		go fn()
		return func() bool { return false }
	}
	if s.onEnd == nil {
		s.onEnd = make(map[*func()]struct{})
	}
	s.onEnd[&fn] = struct{}{}
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, waits := s.onEnd[&fn]
		delete(s.onEnd, &fn)
		return waits
	}
}
