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

// returnState is what a run knows about those who are away.
type returnState struct {
	ctx       context.Context // of those who come back; ended by leave
	cancel    context.CancelFunc
	dialSlots chan struct{}
}

// beginReturn begins a client's return: false when the run is ending, or wants no returns.
func (r *run) beginReturn(c *client) bool {
	if !r.cfg.Reconnect {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.returnsClosed {
		return false
	}
	r.returning.Add(1)
	c.isReturning.Store(true)
	return true
}

// stopReturns waits until nobody is on the way back.
func (r *run) stopReturns() {
	r.mu.Lock()
	r.returnsClosed = true
	r.mu.Unlock()
	r.returnState.cancel()
	r.returning.Wait()
}

// resumeTraffic brings a client back whose connection the server ended. It runs on the
// goroutine that has read the old connection.
func (c *client) resumeTraffic(began int64) {
	r := c.run
	defer r.returning.Done()
	c.abandonOpenEvents()
	ctx := r.returnState.ctx
	if !c.closeAnnounced { // a goodbye says when to come; without one the client waits about a second
		c.reconnectIn = time.Second
	}
	if sleepContext(ctx, c.reconnectIn) != nil || !c.reconnectWithBackoff(ctx, r.returnState.dialSlots) {
		return
	}
	if err := r.workload.rejoinRooms(ctx, c); errors.Is(err, errClosed) {
		return // it has ended again, and its reader is at it
	} else if err != nil {
		c.countLostAnswer(fmt.Errorf("after the return: %w", err))
	}
	now := r.now()
	c.tally.mu.Lock()
	c.tally.returned++
	recordLatency(c.tally.returnTimes, now-began)
	c.tally.mu.Unlock()
	c.isReturning.Store(false)
	sc := getScratch()
	defer sc.release()
	c.sendReadyEvents(sc, now)
}

// abandonOpenEvents gives up what was on its way when the connection ended.
func (c *client) abandonOpenEvents() {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.nextID.Load()
	c.acks.excuseRange(c.acks.next, next)
	c.heardAtEnd = c.heardAtEnd[:0]
	for i := range c.heardFrom {
		c.heardAtEnd = append(c.heardAtEnd, c.heardFrom[i].next)
	}
	for ; c.oldestOpen != next; c.oldestOpen++ {
		s := c.slotForEvent(c.oldestOpen)
		if v := s.state.Load(); uint32(v>>32) == c.oldestOpen && uint32(v) != 0 {
			c.run.workload.recordDropped(c, s.note.Load())
		}
		s.state.Store(uint64(c.oldestOpen) << 32)
	}
	c.lastProgress = c.run.now()
}
