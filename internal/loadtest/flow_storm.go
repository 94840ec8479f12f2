package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// patience is how long a storm may take until the last is back.
const patience = time.Minute

// storm is the course in which all connections drop in the same instant and return, as after a network's failure, over
// and over until the time is up.
func storm(ctx context.Context, r *run, m *meter) error {
	if err := r.connectAll(ctx); err != nil {
		return err
	}
	m.start()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for first := true; first || r.now() < r.until && ctx.Err() == nil; first = false {
			m.storms = append(m.storms, r.dropAll(ctx))
		}
	}()
	err := m.watch(ctx, nil)
	<-done
	m.settled()
	return err
}

// dropAll closes all connections without a word, lets them return, asks each something, and gives the time
// until 99 % were back.
func (r *run) dropAll(ctx context.Context) time.Duration {
	for _, c := range r.clients {
		c.leaving.Store(true)
		c.conn.Close()
	}
	r.readers.Wait()
	start := r.now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var mu sync.Mutex
	var back []time.Duration // guarded by mu
	turns := make(chan struct{}, 4*dials)
	var all sync.WaitGroup
	for _, c := range r.clients {
		all.Go(func() {
			if !c.comeBack(ctx, turns) {
				return
			}
			took := r.now() - start
			mu.Lock()
			back = append(back, time.Duration(took))
			mu.Unlock()
			c.tally.mu.Lock()
			c.tally.answered++
			record(c.tally.answers, took)
			c.tally.mu.Unlock()
		})
	}
	all.Wait()
	_ = each(ctx, r.clients, func(ctx context.Context, c *client) error {
		if c.alive.Load() {
			if _, err := c.request(ctx, pingEvent); err != nil {
				c.count(fmt.Errorf("after the return: %w", err))
			}
		}
		return nil
	})
	slices.Sort(back)
	if want := (len(r.clients)*99 + 99) / 100; len(back) >= want {
		return back[want-1]
	}
	return patience
}

// comeBack connects, and after a refusal or failure tries again as socket.io-client does: after 1 s, 2 s, 4 s, 5 s, each
// within half of that. Beyond that it counts as lost.
func (c *client) comeBack(ctx context.Context, turns chan struct{}) bool {
	for pause := time.Second; ; pause = min(2*pause, 5*time.Second) {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			c.count(ctx.Err())
			return false
		}
		if c.run.scenario.course != nil { // connects are what it sends
			c.tally.mu.Lock()
			c.tally.sent++
			c.tally.mu.Unlock()
		}
		start := c.run.now()
		err := c.connect(ctx)
		<-turns
		if err == nil {
			c.run.connected(c, start)
			c.run.readers.Go(c.listen)
			return true
		}
		var no refusal
		if errors.As(err, &no) && !no.passes() {
			c.count(fmt.Errorf("%w, which is for good", errGone))
			return false
		}
		c.tally.mu.Lock()
		c.tally.fail(codeOf(err))
		if no != "" {
			c.tally.refused++
		}
		c.tally.mu.Unlock()
		if sleep(ctx, time.Duration((0.5+rand.Float64())*float64(pause))) != nil {
			c.count(ctx.Err())
			return false
		}
	}
}

// passes is whether a browser tries again by itself after this: overload and drain, but not a session that is not valid.
func (r refusal) passes() bool { return len(r) > 5 && r[:5] == "HTTP " }

// count counts something that never came, unless because the run was stopped.
func (c *client) count(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	c.tally.mu.Lock()
	c.tally.lost++
	c.tally.fail(codeOf(err))
	c.tally.mu.Unlock()
}
