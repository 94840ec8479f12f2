package engineio

import (
	"runtime"
	"sync"
)

// A flusher writes for connections that were sent something. It lets everything that can
// run do so first: under load, many messages for one connection become one write; when it
// is quiet there is nothing to wait for.
//
// A message that many connections were sent takes long to write. Meanwhile what is said next
// would wait in the network, and then be as many writes again. So in the midst of such a pass
// others run now and then, and what they say joins what the rest of the connections are about
// to be sent. Where many speak to few, this would only tear their work into small pieces.
type flusher struct {
	wake chan struct{}

	mu    sync.Mutex
	dirty []*Conn // guarded by mu
	wide  bool    // one message is for many of them; guarded by mu
}

const (
	// wide is how many connections one message makes dirty for the pass to be a long one.
	wide = 64
	// stride is after how many writes of such a pass others may run.
	stride = 32
	// thick is how many bytes a write has when more of them would make it dearer.
	thick = 1024
)

// add lists c, which m made dirty; nil is no message.
func (f *flusher) add(c *Conn, m *Message) {
	f.mu.Lock()
	f.dirty = append(f.dirty, c)
	first := len(f.dirty) == 1
	if m != nil && m.dirtied.Add(1) >= wide {
		f.wide = true
	}
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (f *flusher) run(done <-chan struct{}) {
	others := newYielder()
	defer others.close()
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
		long := f.wide
		f.wide = false
		f.mu.Unlock()
		written := 0
		for i, c := range batch {
			written += c.flushed()
			batch[i] = nil
			if i%stride == stride-1 {
				if long && written < thick*stride {
					others.yield()
				}
				written = 0
			}
		}
		if cap(batch) > 4096 {
			batch = nil
		}
	}
}
