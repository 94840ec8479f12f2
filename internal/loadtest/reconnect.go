package loadtest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A run with Config.Reconnect outlives its connections: a client whose connection the server
// ends comes back as socket.io-client does, is put where it was, and goes on. What it could
// not hear meanwhile is excused, and so is what it asked and was never answered; all that was
// answered must be so still.

// absence is what a run knows about those who are away.
type absence struct {
	ctx    context.Context // of those who come back; ended by leave
	cancel context.CancelFunc
	turns  chan struct{}
}

// away begins a client's return: false when the run is ending, or wants no returns.
func (r *run) away(c *client) bool {
	if !r.cfg.Reconnect {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.absent.Add(1)
	c.away.Store(true)
	return true
}

// endReturns waits until nobody is on the way back.
func (r *run) endReturns() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.returns.cancel()
	r.absent.Wait()
}

// comeBackFrom brings a client back whose connection the server ended. It runs on the
// goroutine that has read the old connection.
func (c *client) comeBackFrom(began int64) {
	r := c.run
	defer r.absent.Done()
	c.forget()
	ctx := r.returns.ctx
	if !c.told { // a goodbye says when to come; without one the client waits about a second
		c.reconnectIn = time.Second
	}
	if sleep(ctx, c.reconnectIn) != nil || !c.comeBack(ctx, r.returns.turns) {
		return
	}
	if err := r.talk.rejoin(ctx, c); errors.Is(err, errGone) {
		return // it has ended again, and its reader is at it
	} else if err != nil {
		c.count(fmt.Errorf("after the return: %w", err))
	}
	now := r.now()
	c.tally.mu.Lock()
	c.tally.returned++
	record(c.tally.backs, now-began)
	c.tally.mu.Unlock()
	c.away.Store(false)
	sc := getScratch()
	defer sc.put()
	c.pump(sc, now)
}

// forget gives up what was on its way when the connection ended.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.next.Load()
	c.acks.excuse(c.acks.next, next)
	c.parted = c.parted[:0]
	for i := range c.heard {
		c.parted = append(c.parted, c.heard[i].next)
	}
	for ; c.oldest != next; c.oldest++ {
		s := c.slot(c.oldest)
		if v := s.state.Load(); uint32(v>>32) == c.oldest && uint32(v) != 0 {
			c.run.talk.dropped(c, s.note.Load())
		}
		s.state.Store(uint64(c.oldest) << 32)
	}
	c.moved = c.run.now()
}
