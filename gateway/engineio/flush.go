package engineio

import (
	"runtime"
	"sync"
)

// A flusher writes for connections that were sent something. It lets everything that can
// run do so first: under load, many messages for one connection become one write; when it
// is quiet there is nothing to wait for.
type flusher struct {
	wake chan struct{}

	mu    sync.Mutex
	dirty []*Conn // guarded by mu
}

func (f *flusher) add(c *Conn) {
	f.mu.Lock()
	f.dirty = append(f.dirty, c)
	first := len(f.dirty) == 1
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (f *flusher) run(done <-chan struct{}) {
	var batch []*Conn
	for {
		select {
		case <-f.wake:
		case <-done:
			return
		}
		runtime.Gosched()
		f.mu.Lock()
		batch, f.dirty = f.dirty, batch[:0]
		f.mu.Unlock()
		for i, c := range batch {
			c.Flush()
			batch[i] = nil
		}
		if cap(batch) > 4096 {
			batch = nil
		}
	}
}
