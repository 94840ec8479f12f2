package loadtest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// runConnects is the flow in which every client repeatedly connects, joins, and says goodbye.
func runConnects(ctx context.Context, r *run, m *meter) error {
	r.speakers = r.clients
	for i, c := range r.speakers {
		c.orderIndex = i
	}
	m.startTraffic()
	var all sync.WaitGroup
	for _, c := range r.clients {
		all.Go(func() { c.connectRepeatedly(ctx) })
	}
	err := m.watchTraffic(ctx, nil)
	all.Wait()
	m.takeLateCounts()
	return err
}

// connectRepeatedly connects and disconnects one client until the traffic ends. After a refusal or
// a failure it waits before it tries again: 10 ms, then twice as long each time, at most 1 s.
func (c *client) connectRepeatedly(ctx context.Context) {
	r, t := c.run, c.tally
	pause := time.Duration(0)
	for ctx.Err() == nil {
		due, now := r.nextDueTime(c), r.now()
		if due >= r.trafficEnd || now >= r.trafficEnd {
			return
		}
		if sleepContext(ctx, time.Duration(due-now)) != nil || sleepContext(ctx, pause) != nil {
			return
		}
		if r.cfg.Rate == 0 {
			due = r.now()
		}
		c.eventsSent++
		err := c.connectAndJoin(ctx)
		done := r.now()
		if err == nil {
			err = c.disconnectAndWait()
		}
		t.mu.Lock()
		t.sent++
		if err == nil {
			t.answered++
			recordLatency(t.answers, done-due)
			pause = 0
		} else if ctx.Err() == nil {
			r.countConnectError(t, err)
			pause = min(max(2*pause, 10*time.Millisecond), time.Second)
		}
		t.mu.Unlock()
	}
}

// countConnectError counts a connection that failed. A refusal by the server is not a fault; every
// other error is. The caller holds t.mu.
func (r *run) countConnectError(t *tally, err error) {
	t.countErrorCode(errorCode(err))
	var no refusal
	if errors.As(err, &no) {
		t.refused++
		return
	}
	t.lost++
}

// disconnectAndWait says goodbye as a browser does, and waits until the server has closed the
// connection.
func (c *client) disconnectAndWait() error {
	c.isLeaving.Store(true)
	c.isConnected.Store(false)
	_ = c.conn.SetDeadline(time.Now().Add(c.run.cfg.Timeout))
	c.mu.Lock()
	c.writeFrames(appendFrame(appendFrame(nil, opText, []byte("41")), opClose, []byte{3, 0xe8}))
	c.mu.Unlock()
	sc := getScratch()
	defer sc.release()
	defer c.conn.Close()
	for {
		n, err := c.conn.Read(sc.in)
		if err != nil {
			if errors.Is(err, io.EOF) || !isTimeoutError(err) {
				return nil // EOF and a reset both mean that the server closed
			}
			return errNoAnswer
		}
		if c.endErr == nil {
			c.handleBytes(sc, sc.in[:n], c.run.now())
		}
	}
}
