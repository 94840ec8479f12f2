package loadtest

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"
)

func appendNumber(dst []byte, n uint32) []byte { return strconv.AppendUint(dst, uint64(n), 10) }

// maxBatch is how many bytes one client writes at once.
const maxBatch = 32 << 10

// pump sends what c has to say now: in an open loop what is due, in a closed one what its window takes.
func (c *client) pump(sc *scratch, now int64) {
	r := c.run
	if !r.talking.Load() || !c.alive.Load() || c.away.Load() || c.slots == nil {
		return
	}
	sent := 0
	c.mu.Lock()
	if !c.alive.Load() || c.away.Load() { // its connection has just ended
		c.mu.Unlock()
		return
	}
	before := c.oldest
	c.finished()
	if c.oldest != before {
		c.moved = now
	}
	out := sc.out[:0]
	for int(c.next.Load()-c.oldest) < r.cfg.Inflight && len(out) < maxBatch {
		due := r.due(c)
		if due > now || due >= r.until {
			break
		}
		if r.cfg.Rate == 0 {
			due = now
		}
		id := c.next.Load()
		text := appendNumber(append(sc.text[:0], "42"...), id)
		text, things, note := r.talk.say(c, id, text)
		if text == nil {
			break
		}
		if r.cfg.Reconnect {
			things = 1 // those who are away hear nothing
		}
		if id == c.oldest {
			c.moved = now
		}
		c.begin(due, things, note)
		out = appendFrame(out, opText, text)
		c.turn++
		sent++
	}
	c.write(out)
	c.mu.Unlock()
	sc.out = out[:0]
	if sent > 0 {
		c.tally.mu.Lock()
		c.tally.sent += int64(sent)
		c.tally.mu.Unlock()
	}
}

// due is when c's next event should be sent. In a closed loop it is when the client may begin.
func (r *run) due(c *client) int64 {
	n := len(r.speakers)
	if r.cfg.Rate == 0 {
		return r.begin + int64(r.cfg.Ramp)*int64(c.turn0)/int64(n)
	}
	return r.begin + r.dueOf(float64(c.turn)*float64(n)+float64(c.turn0))
}

// dueOf is when event number j of all is due, in ns since the traffic began: at an even rate, after a ramp in which
// the rate rises evenly.
func (r *run) dueOf(j float64) int64 {
	ramp := r.cfg.Ramp.Seconds()
	at := 0.0
	if inRamp := r.cfg.Rate * ramp / 2; j < inRamp {
		at = math.Sqrt(2 * j * ramp / r.cfg.Rate)
	} else {
		at = ramp + (j-inRamp)/r.cfg.Rate
	}
	return int64(at * 1e9)
}

// pace wakes each client when it may begin and, in an open loop, whenever it has something due.
func (r *run) pace(ctx context.Context) {
	sc := getScratch()
	defer sc.put()
	n := len(r.speakers)
	for j := 0; ; j++ {
		var due int64
		switch {
		case r.cfg.Rate > 0:
			due = r.begin + r.dueOf(float64(j))
		case j < n:
			due = r.due(r.speakers[j])
		default:
			return
		}
		if due >= r.until {
			return
		}
		now := r.now()
		if due > now {
			if sleep(ctx, time.Duration(due-now)) != nil {
				return
			}
			now = r.now()
		}
		r.speakers[j%n].pump(sc, now)
	}
}

// converse is the course of all scenarios in which clients talk: connect, prepare, traffic, settle.
func converse(ctx context.Context, r *run, m *meter) error {
	if err := r.connectAll(ctx); err != nil {
		return err
	}
	if err := each(ctx, r.clients, greet); err != nil {
		return err
	}
	if err := r.talk.prepare(ctx); err != nil {
		return err
	}
	m.start()
	r.talking.Store(true)
	paced := make(chan struct{})
	pacing, stop := context.WithCancel(ctx)
	go func() {
		defer close(paced)
		r.pace(pacing)
	}()
	err := m.watch(ctx, func() { r.keepUp() })
	r.talking.Store(false)
	stop()
	<-paced
	r.settle()
	m.settled()
	return err
}

// greet asks for the time. Since all comes in order, after it we know whether the server sends `session`.
func greet(ctx context.Context, c *client) error {
	if _, err := c.request(ctx, pingEvent); err != nil {
		return fmt.Errorf("client %d: session:ping: %w", c.index+1, err)
	}
	return nil
}

// keepUp runs about once a second: it gives lost events up so that their clients go on, and gives writes time.
func (r *run) keepUp() {
	sc := getScratch()
	defer sc.put()
	now := r.now()
	patience := time.Now().Add(r.cfg.Timeout)
	for _, c := range r.clients {
		c.mu.Lock()
		_ = c.conn.SetWriteDeadline(patience)
		if c.slots == nil {
			c.mu.Unlock()
			continue
		}
		c.finished()
		stuck := c.oldest != c.next.Load() && now-c.moved > int64(r.cfg.Timeout)
		if stuck {
			for ; c.oldest != c.next.Load(); c.oldest++ {
				c.slot(c.oldest).state.Store(uint64(c.oldest) << 32)
			}
		}
		c.mu.Unlock()
		if stuck {
			c.pump(sc, now)
		}
	}
}

// linger is how long nothing may come after all is done, before the run ends: it listens for what should not come.
const linger = 100 * time.Millisecond

// settle waits until all that was sent is finished, or nothing has moved for the timeout. It does not end with the
// run's context: who stops a run early still wants to know what was lost.
func (r *run) settle() {
	const look = 10 * time.Millisecond
	last, quiet := r.seen(), time.Now()
	for end := time.Now().Add(3 * r.cfg.Timeout); time.Now().Before(end); time.Sleep(look) {
		patience := r.cfg.Timeout
		if r.finished() {
			patience = min(patience, linger)
		}
		if sum := r.seen(); sum != last {
			last, quiet = sum, time.Now()
		}
		if time.Since(quiet) > patience {
			return
		}
	}
}

// finished is whether nothing is on its way any more, of those who are still connected.
func (r *run) finished() bool {
	for _, c := range r.speakers {
		c.mu.Lock()
		c.finished()
		open := c.away.Load() || c.alive.Load() && c.oldest != c.next.Load()
		c.mu.Unlock()
		if open {
			return false
		}
	}
	return true
}

// seen grows whenever anything comes in.
func (r *run) seen() (n int64) {
	for _, t := range r.tallies {
		t.mu.Lock()
		n += t.answered + t.delivered
		t.mu.Unlock()
	}
	return n
}

// truth counts what never came. All readers have ended.
func (r *run) truth(into *counts) {
	if r.cfg.Rate > 0 && r.talk != nil && r.scenario.course == nil {
		sent := 0
		ramp := min(r.until-r.begin, int64(r.cfg.Ramp))
		due := int(r.cfg.Rate * (float64(ramp)/1e9/2 + float64(r.until-r.begin-ramp)/1e9))
		for _, c := range r.speakers {
			sent += int(c.turn)
		}
		into.behind = int64(max(0, due-sent))
	}
	for _, c := range r.clients {
		asked := c.next.Load()
		if c.away.Load() {
			into.lost++ // it never came back
			continue
		}
		if c.died {
			asked = min(asked, c.acks.next)
		}
		into.lost += int64(c.acks.missing(asked, nil))
	}
	for _, room := range r.rooms {
		for _, c := range room.members {
			for place, from := range room.speakers {
				h, said := &c.heard[place], from.said.Load()
				if c.died || c.away.Load() {
					said = min(said, h.next)
				}
				lost := h.missing(said, from.silenced.with(from.unsure))
				into.lost += int64(lost)
				if want := said - from.silenced.count(0, said); h.came()+lost > want {
					into.wrong += int64(h.came() + lost - want) // refused, and told all the same
				}
			}
		}
	}
}
