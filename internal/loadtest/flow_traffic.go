package loadtest

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

func appendNumber(dst []byte, n uint32) []byte { return strconv.AppendUint(dst, uint64(n), 10) }

// maxBatch is the number of bytes after which a client stops adding events to one write.
const maxBatch = 32 << 10

// sendReadyEvents sends the events that c may send now: those that are due in an open loop, and as
// many as Config.Inflight allows in a closed one.
func (c *client) sendReadyEvents(sc *scratch, now int64) {
	r := c.run
	if !r.isSending.Load() || !c.isConnected.Load() || c.isReturning.Load() || c.slots == nil {
		return
	}
	sent := 0
	c.mu.Lock()
	if !c.isConnected.Load() || c.isReturning.Load() { // the connection has just ended
		c.mu.Unlock()
		return
	}
	before := c.oldestOpen
	c.advanceOldest()
	if c.oldestOpen != before {
		c.lastProgress = now
	}
	out := sc.out[:0]
	for int(c.nextID.Load()-c.oldestOpen) < r.cfg.Inflight && len(out) < maxBatch {
		due := r.nextDueTime(c)
		if due > now || due >= r.trafficEnd {
			break
		}
		if r.cfg.Rate == 0 {
			due = now
		}
		id := c.nextID.Load()
		c.nextDue = due
		text := appendNumber(append(sc.text[:0], "42"...), id)
		text, steps, note := r.workload.appendEvent(c, id, text)
		if text == nil {
			break
		}
		if r.cfg.Reconnect {
			steps = 1 // a client that is reconnecting receives nothing
		}
		if id == c.oldestOpen {
			c.lastProgress = now
		}
		c.beginEvent(due, steps, note)
		out = appendFrame(out, opText, text)
		c.eventsSent++
		sent++
		if r.cfg.Apart {
			c.writeFrames(out)
			out = out[:0]
		}
	}
	c.writeFrames(out)
	c.mu.Unlock()
	sc.out = out[:0]
	if sent > 0 {
		c.tally.mu.Lock()
		c.tally.sent += int64(sent)
		c.tally.mu.Unlock()
	}
}

// nextDueTime returns when c's next event should be sent. In a closed loop it returns when the
// client may start.
func (r *run) nextDueTime(c *client) int64 {
	n := len(r.speakers)
	if r.cfg.Rate == 0 {
		return r.trafficStart + int64(r.cfg.Ramp)*int64(c.orderIndex)/int64(n)
	}
	return r.trafficStart + r.dueOffset(float64(c.eventsSent)*float64(n)+float64(c.orderIndex))
}

// dueOffset returns when event number j of all clients is due, in ns since the traffic began. The
// rate is even after the ramp, and rises evenly during the ramp.
func (r *run) dueOffset(j float64) int64 {
	ramp := r.cfg.Ramp.Seconds()
	at := 0.0
	if inRamp := r.cfg.Rate * ramp / 2; j < inRamp {
		at = math.Sqrt(2 * j * ramp / r.cfg.Rate)
	} else {
		at = ramp + (j-inRamp)/r.cfg.Rate
	}
	return int64(at * 1e9)
}

// paceClients calls each client when it may start and, in an open loop, each time it has an event
// due.
func (r *run) paceClients(ctx context.Context) {
	sc := getScratch()
	defer sc.release()
	n := len(r.speakers)
	for j := 0; ; j++ {
		var due int64
		switch {
		case r.cfg.Rate > 0:
			due = r.trafficStart + r.dueOffset(float64(j))
		case j < n:
			due = r.nextDueTime(r.speakers[j])
		default:
			return
		}
		if due >= r.trafficEnd {
			return
		}
		now := r.now()
		if due > now {
			if sleepContext(ctx, time.Duration(due-now)) != nil {
				return
			}
			now = r.now()
		}
		r.speakers[j%n].sendReadyEvents(sc, now)
	}
}

// runTraffic is the flow of all scenarios that send events: connect, prepare, send, and wait until
// all is settled.
func runTraffic(ctx context.Context, r *run, m *meter) error {
	if err := r.connectAllClients(ctx); err != nil {
		return err
	}
	if err := forEachClient(ctx, r.clients, pingServerOnce); err != nil {
		return err
	}
	if err := r.workload.prepareClients(ctx); err != nil {
		return err
	}
	m.startTraffic()
	r.isSending.Store(true)
	paced := make(chan struct{})
	pacing, stop := context.WithCancel(ctx)
	go func() {
		defer close(paced)
		r.paceClients(pacing)
	}()
	err := m.watchTraffic(ctx, func() { r.giveUpLostEvents() })
	r.isSending.Store(false)
	stop()
	<-paced
	r.awaitSettled()
	m.takeLateCounts()
	return err
}

// pingServerOnce asks the server for its time. Packets arrive in order, so after the answer we know
// whether the server sends `session`.
func pingServerOnce(ctx context.Context, c *client) error {
	if _, err := c.callForOK(ctx, pingEvent); err != nil {
		return fmt.Errorf("client %d: session:ping: %w", c.index+1, err)
	}
	return nil
}

// giveUpLostEvents runs about once a second. It gives up events that were lost, so that their
// clients continue, and sets the next write deadline.
func (r *run) giveUpLostEvents() {
	sc := getScratch()
	defer sc.release()
	now := r.now()
	writeDeadline := time.Now().Add(r.cfg.Timeout)
	for _, c := range r.clients {
		c.mu.Lock()
		_ = c.conn.SetWriteDeadline(writeDeadline)
		if c.slots == nil {
			c.mu.Unlock()
			continue
		}
		c.advanceOldest()
		stuck := c.oldestOpen != c.nextID.Load() && now-c.lastProgress > int64(r.cfg.Timeout)
		if stuck {
			for ; c.oldestOpen != c.nextID.Load(); c.oldestOpen++ {
				c.slotForEvent(c.oldestOpen).state.Store(uint64(c.oldestOpen) << 32)
			}
		}
		c.mu.Unlock()
		if stuck {
			c.sendReadyEvents(sc, now)
		}
	}
}

// settleQuiet is how long a run still listens after all is finished. It must receive nothing in
// that time that should not come.
const settleQuiet = 100 * time.Millisecond

// awaitSettled waits until all events are finished, or until nothing has arrived for the timeout.
// It does not stop when the run's context ends: a caller that stops a run early still wants to know
// what was lost.
func (r *run) awaitSettled() {
	const interval = 10 * time.Millisecond
	last, quiet := r.receivedCount(), time.Now()
	for end := time.Now().Add(3 * r.cfg.Timeout); time.Now().Before(end); time.Sleep(interval) {
		quietLimit := r.cfg.Timeout
		if r.allFinished() && r.allDelivered() {
			quietLimit = min(quietLimit, settleQuiet)
		}
		if sum := r.receivedCount(); sum != last {
			last, quiet = sum, time.Now()
		}
		if time.Since(quiet) > quietLimit {
			return
		}
	}
}

// allFinished reports whether no event of a client that is connected is open any more.
func (r *run) allFinished() bool {
	for _, c := range r.speakers {
		c.mu.Lock()
		c.advanceOldest()
		open := c.isReturning.Load() || c.isConnected.Load() && c.oldestOpen != c.nextID.Load()
		c.mu.Unlock()
		if open {
			return false
		}
	}
	return true
}

// allDelivered reports whether as many messages arrived as were acknowledged. Only recovery needs
// it: there an event is finished when it is answered.
func (r *run) allDelivered() bool {
	if r.scenario.name != "recovery" {
		return true
	}
	var missing int64
	for _, t := range r.tallies {
		t.mu.Lock()
		missing += t.expected - t.delivered
		t.mu.Unlock()
	}
	return missing <= 0
}

// receivedCount returns a number that grows whenever an answer or a delivery arrives.
func (r *run) receivedCount() (n int64) {
	for _, t := range r.tallies {
		t.mu.Lock()
		n += t.answered + t.delivered
		t.mu.Unlock()
	}
	return n
}

// countLosses counts the answers and deliveries that never came. All readers must have ended.
func (r *run) countLosses(into *counts) {
	if r.cfg.Rate > 0 && r.workload != nil && r.scenario.flow == nil {
		sent := 0
		ramp := min(r.trafficEnd-r.trafficStart, int64(r.cfg.Ramp))
		due := int(r.cfg.Rate * (float64(ramp)/1e9/2 + float64(r.trafficEnd-r.trafficStart-ramp)/1e9))
		for _, c := range r.speakers {
			sent += int(c.eventsSent)
		}
		into.behind = int64(max(0, due-sent))
	}
	for _, c := range r.clients {
		asked := c.nextID.Load()
		if c.isReturning.Load() {
			into.lost++ // the client never returned
			continue
		}
		if c.lostConnection {
			asked = min(asked, c.acks.next)
		}
		into.lost += int64(c.acks.countMissing(asked, nil))
	}
	for _, room := range r.rooms {
		for _, c := range room.members {
			for place, from := range room.speakers {
				h, said := &c.heardFrom[place], from.chatSent.Load()
				if c.lostConnection || c.isReturning.Load() {
					said = min(said, h.next)
				}
				except := from.refusedChat.union(from.uncertainChat)
				if room.order != nil { // what was not answered may be missing too
					except = from.acknowledged.complement(said)
				}
				lost := h.countMissing(said, except)
				if want := said - from.refusedChat.countRange(0, said); h.countArrived()+lost > want {
					into.wrong += int64(h.countArrived() + lost - want) // refused, but delivered
				}
				into.lost += int64(lost)
				if c.toldMissing != nil && lost > 0 {
					told := h.countMissing(min(said, c.toldMissing[place]), except)
					into.missedTold += int64(told)
					lost, into.lost = lost-told, into.lost-int64(told)
				}
				into.missedUntold += int64(lost)
			}
		}
	}
}
