package engineio

import (
	"runtime"
	"sync"
)

// A flusher writes for connections that have something in their queues. Before it writes, it lets
// all other goroutines run that can: under load, many messages for one connection become one write;
// without load there is nothing to wait for.
//
// Writing one message to many connections takes long. Without a pause, messages that arrive in that
// time would wait in the network, and would then be as many writes again. So during such a pass the
// flusher lets other goroutines run now and then: what they send joins what the remaining
// connections are about to be sent. Where many send to few, this would only split the work into
// small writes.
type flusher struct {
	wake chan struct{}

	mu             sync.Mutex
	dirty          []*Conn // guarded by mu
	hasWideMessage bool    // one message went to many of them; guarded by mu
}

const (
	// wideMessage is the number of connections from which on a message makes a pass long.
	wideMessage = 64
	// writesPerYield is the number of writes in a long pass after which others may run.
	writesPerYield = 32
	// largeWrite is the mean size of a write in bytes above which larger writes do not pay off.
	largeWrite = 1024
)

// scheduleFlush adds c to the connections to be flushed. m is the message for which it is, or nil.
func (f *flusher) scheduleFlush(c *Conn, m *Message) {
	f.mu.Lock()
	f.dirty = append(f.dirty, c)
	first := len(f.dirty) == 1
	if m != nil && m.dirtiedConns.Add(1) >= wideMessage {
		f.hasWideMessage = true
	}
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// flushUntil flushes scheduled connections until done is closed.
func (f *flusher) flushUntil(done <-chan struct{}) {
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
		isLong := f.hasWideMessage
		f.hasWideMessage = false
		f.mu.Unlock()
		written := 0
		for i, c := range batch {
			written += c.flushAndCount()
			batch[i] = nil
			if i%writesPerYield == writesPerYield-1 {
				if isLong && written < largeWrite*writesPerYield {
					others.yieldToAll()
				}
				written = 0
			}
		}
		if cap(batch) > 4096 {
			batch = nil
		}
	}
}
