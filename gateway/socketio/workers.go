package socketio

import (
	"sync"
	"sync/atomic"
)

// workers run links that have something to do. A worker that is done waits for the next
// link, up to a number of them: a goroutine whose stack has grown once need not grow again.
type workers struct {
	idle   chan *link // unbuffered: whoever receives was waiting
	done   chan struct{}
	once   sync.Once
	parked atomic.Int32
}

const maxParked = 128

func newWorkers() *workers { return &workers{idle: make(chan *link), done: make(chan struct{})} }

// runLink has somebody run the link. It never waits.
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
		l = nil // it may be gone long before the next comes
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
