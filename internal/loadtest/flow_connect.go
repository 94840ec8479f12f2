package loadtest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// connects is the course in which every client connects, joins, says goodbye, and begins again.
func connects(ctx context.Context, r *run, m *meter) error {
	r.speakers = r.clients
	for i, c := range r.speakers {
		c.turn0 = i
	}
	m.start()
	var all sync.WaitGroup
	for _, c := range r.clients {
		all.Go(func() { c.comeAndGo(ctx) })
	}
	err := m.watch(ctx, nil)
	all.Wait()
	m.settled()
	return err
}

// comeAndGo is the life of one client in connects. A refusal or failure is counted, and followed by a pause that grows.
func (c *client) comeAndGo(ctx context.Context) {
	r, t := c.run, c.tally
	pause := time.Duration(0)
	for ctx.Err() == nil {
		due, now := r.due(c), r.now()
		if due >= r.until || now >= r.until {
			return
		}
		if sleep(ctx, time.Duration(due-now)) != nil || sleep(ctx, pause) != nil {
			return
		}
		if r.cfg.Rate == 0 {
			due = r.now()
		}
		c.turn++
		err := c.connect(ctx)
		done := r.now()
		if err == nil {
			err = c.goodbye()
		}
		t.mu.Lock()
		t.sent++
		if err == nil {
			t.answered++
			record(t.answers, done-due)
			pause = 0
		} else if ctx.Err() == nil {
			r.countRefusal(t, err)
			pause = min(max(2*pause, 10*time.Millisecond), time.Second)
		}
		t.mu.Unlock()
	}
}

// countRefusal counts a connect that failed. Only a refusal of the contract is no fault. The caller holds t.
func (r *run) countRefusal(t *tally, err error) {
	t.fail(codeOf(err))
	var no refusal
	if errors.As(err, &no) {
		t.refused++
		return
	}
	t.lost++
}

// goodbye leaves as a browser does and waits until the server has closed.
func (c *client) goodbye() error {
	c.leaving.Store(true)
	c.alive.Store(false)
	_ = c.conn.SetDeadline(time.Now().Add(c.run.cfg.Timeout))
	c.mu.Lock()
	c.write(appendFrame(appendFrame(nil, opText, []byte("41")), opClose, []byte{3, 0xe8}))
	c.mu.Unlock()
	sc := getScratch()
	defer sc.put()
	defer c.conn.Close()
	for {
		n, err := c.conn.Read(sc.in)
		if err != nil {
			if errors.Is(err, io.EOF) || !isTimeout(err) {
				return nil // closed, in whichever way
			}
			return errSilence
		}
		if c.ended == nil {
			c.feed(sc, sc.in[:n], c.run.now())
		}
	}
}
