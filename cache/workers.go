package cache

import "sync/atomic"

// workers run the work of calls in the background. A few of them are kept when they have nothing to
// do, because their stacks have grown already.
type workers struct {
	work   chan func()
	closed chan struct{}
	idle   atomic.Int32
}

const maxIdleWorkers = 8

func newWorkers() workers { return workers{work: make(chan func()), closed: make(chan struct{})} }

func (w *workers) run(fn func()) {
	select {
	case w.work <- fn:
	default:
		go w.runUntilIdle(fn)
	}
}

func (w *workers) runUntilIdle(fn func()) {
	for {
		fn()
		if w.idle.Add(1) > maxIdleWorkers {
			w.idle.Add(-1)
			return
		}
		select {
		case fn = <-w.work:
			w.idle.Add(-1)
		case <-w.closed:
			return
		}
	}
}
