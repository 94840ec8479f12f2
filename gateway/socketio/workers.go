package socketio

import (
	"sync"
	"sync/atomic"
)

// workers run links that have something to do. Up to maxParked goroutines that are done wait for
// the next link, because a goroutine whose stack has grown need not grow it again.
type workers struct {
	idle   chan *link // unbuffered: only a worker that waits receives
	done   chan struct{}
	once   sync.Once
	parked atomic.Int32
}

// maxParked is how many idle workers are kept.
const maxParked = 128

func newWorkers() *workers { return &workers{idle: make(chan *link), done: make(chan struct{})} }

// runLink has a worker run the link. It never waits.
func (w *workers) runLink(l *link) {
	select {
	case w.idle <- l:
	default:
		go w.serveLinks(l)
	}
}

func (w *workers) serveLinks(l *link) {
	for {
		l.serveQueue()
		l = nil // the garbage collector may take it before the next one comes
		if w.parked.Add(1) > maxParked {
			w.parked.Add(-1)
			return
		}
		select {
		case l = <-w.idle:
			w.parked.Add(-1)
		case <-w.done:
			return
		}
	}
}

func (w *workers) close() { w.once.Do(func() { close(w.done) }) }
