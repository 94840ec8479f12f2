package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// With Config.Reconnect, a client whose connection the server ends reconnects as socket.io-client
// does, joins its rooms again, and continues. What the client could not receive meanwhile is
// excused, and so are events that were never answered. Every event that was answered must still
// have happened.

// returnState is what the clients that are reconnecting share.
type returnState struct {
	ctx       context.Context // of all reconnects; stopReturns cancels it
	cancel    context.CancelFunc
	dialSlots chan struct{}
}

// keepsState reports whether the clients return with the state of their connection (pid and
// offset), so that the server can recover it.
func (r *run) keepsState() bool { return r.cfg.Reconnect && r.scenario.name == "recovery" }

// beginReturn marks a client as reconnecting. It returns false when the run is ending, or was
// started without Config.Reconnect.
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

// stopReturns cancels all reconnects and waits until they have ended.
func (r *run) stopReturns() {
	r.mu.Lock()
	r.returnsClosed = true
	r.mu.Unlock()
	r.returnState.cancel()
	r.returning.Wait()
}

// resumeTraffic reconnects a client whose connection the server ended, and lets it send again. It
// runs on the goroutine that read the old connection. began is when that connection ended, on the
// run's clock.
func (c *client) resumeTraffic(began int64) {
	r := c.run
	defer r.returning.Done()
	c.abandonOpenEvents()
	ctx := r.returnState.ctx
	if !c.closeAnnounced { // gateway:closing says how long to wait; without it a client waits about a second
		c.reconnectIn = time.Duration((0.5 + rand.Float64()) * float64(time.Second))
	}
	if sleepContext(ctx, c.reconnectIn) != nil || !c.reconnectWithBackoff(ctx, r.returnState.dialSlots) {
		return
	}
	if c.isRecovered.Load() { // it is in its rooms, and excuses nothing
		c.tally.mu.Lock()
		c.tally.recovered++
		c.tally.mu.Unlock()
	} else if err := r.workload.rejoinRooms(ctx, c); errors.Is(err, errClosed) {
		return // the new connection has ended too, and its reader handles that
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

// abandonOpenEvents gives up the events that were open when the connection ended.
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
