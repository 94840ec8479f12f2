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

// maxReturnTime is the longest time that a storm waits for the last client to return.
const maxReturnTime = time.Minute

// runStorms is the flow in which all connections drop at the same instant and return, as after a
// failure of the network. It repeats this until the traffic's time is over.
func runStorms(ctx context.Context, r *run, m *meter) error {
	if err := r.connectAllClients(ctx); err != nil {
		return err
	}
	m.startTraffic()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for first := true; first || r.now() < r.trafficEnd && ctx.Err() == nil; first = false {
			m.returnTimes = append(m.returnTimes, r.dropAllAndReturn(ctx))
		}
	}()
	err := m.watchTraffic(ctx, nil)
	<-done
	m.takeLateCounts()
	return err
}

// dropAllAndReturn closes all connections without a goodbye, reconnects them, and sends each a
// ping. It returns the time until 99 % were back, at most maxReturnTime.
func (r *run) dropAllAndReturn(ctx context.Context) time.Duration {
	for _, c := range r.clients {
		c.isLeaving.Store(true)
		c.conn.Close()
	}
	r.readers.Wait()
	start := r.now()
	ctx, cancel := context.WithTimeout(ctx, maxReturnTime)
	defer cancel()
	var mu sync.Mutex
	var back []time.Duration // guarded by mu
	turns := make(chan struct{}, 4*maxDials)
	var all sync.WaitGroup
	for _, c := range r.clients {
		all.Go(func() {
			if !c.reconnectWithBackoff(ctx, turns) {
				return
			}
			took := r.now() - start
			mu.Lock()
			back = append(back, time.Duration(took))
			mu.Unlock()
			c.tally.mu.Lock()
			c.tally.answered++
			recordLatency(c.tally.answers, took)
			c.tally.mu.Unlock()
		})
	}
	all.Wait()
	_ = forEachClient(ctx, r.clients, func(ctx context.Context, c *client) error {
		if c.isConnected.Load() {
			if _, err := c.callForOK(ctx, pingEvent); err != nil {
				c.countLostAnswer(fmt.Errorf("after the return: %w", err))
			}
		}
		return nil
	})
	slices.Sort(back)
	if want := (len(r.clients)*99 + 99) / 100; len(back) >= want {
		return back[want-1]
	}
	return maxReturnTime
}

// reconnectWithBackoff connects, and after a refusal or a failure tries again as socket.io-client
// does: after 1 s, 2 s, 4 s and then every 5 s, each time between half and one and a half of that.
// turns limits how many clients connect at once. It returns false, and counts a lost answer, when
// ctx ends or the server refuses for good.
func (c *client) reconnectWithBackoff(ctx context.Context, turns chan struct{}) bool {
	for pause := time.Second; ; pause = min(2*pause, 5*time.Second) {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			c.countLostAnswer(ctx.Err())
			return false
		}
		if c.run.scenario.flow != nil { // in a flow without a workload the connects are the events
			c.tally.mu.Lock()
			c.tally.sent++
			c.tally.mu.Unlock()
		}
		start := c.run.now()
		c.returnAttempts++
		err := c.connectAndJoin(ctx)
		<-turns
		if err == nil {
			c.run.recordConnect(c, start)
			c.run.readers.Go(c.readUntilClosed)
			return true
		}
		var no refusal
		if errors.As(err, &no) && !no.isTemporary() {
			c.countLostAnswer(fmt.Errorf("%w, which is for good", errClosed))
			return false
		}
		c.tally.mu.Lock()
		c.tally.countErrorCode(errorCode(err))
		if no != "" {
			c.tally.refused++
		}
		c.tally.mu.Unlock()
		if sleepContext(ctx, time.Duration((0.5+rand.Float64())*float64(pause))) != nil {
			c.countLostAnswer(ctx.Err())
			return false
		}
	}
}

// isTemporary reports whether a browser would try again by itself after this refusal. It would
// after overload and while the server drains, but not when its session is invalid.
func (r refusal) isTemporary() bool { return len(r) > 5 && r[:5] == "HTTP " }

// countLostAnswer counts something that never arrived, unless the caller stopped the run.
func (c *client) countLostAnswer(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	c.tally.mu.Lock()
	c.tally.lost++
	c.tally.countErrorCode(errorCode(err))
	c.tally.mu.Unlock()
}
