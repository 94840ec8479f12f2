package throttle

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	errBudget = errors.New("throttle: Redis did not answer in time")
	errBusy   = errors.New("throttle: too many calls wait for Redis")
)

const (
	maxBatch   = 256   // events in one batch
	maxWaiting = 16384 // events that wait for one
	maxWorkers = 2     // batches at once
)

// A call is an event that waits for Redis. Two hold it: who asked, and the worker. Who asked
// may leave at any time; the last of the two puts the call back.
type call struct {
	requests []request
	verdict  verdict
	err      error
	done     chan struct{} // one token when verdict or err is there
	timer    *time.Timer
	holders  atomic.Int32
	left     atomic.Bool // nobody waits any more
}

var calls = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{done: make(chan struct{}, 1), timer: t}
}}

func newCall() *call {
	c := calls.Get().(*call)
	c.requests, c.verdict, c.err = c.requests[:0], verdict{}, nil
	c.left.Store(false)
	c.holders.Store(2)
	return c
}

func (c *call) release() {
	if c.holders.Add(-1) > 0 {
		return
	}
	select {
	case <-c.done:
	default:
	}
	clear(c.requests)
	calls.Put(c)
}

// wait returns what the worker found, errBudget after budget, or the context's error.
func (c *call) wait(ctx context.Context, budget time.Duration) (verdict, error) {
	c.timer.Reset(budget)
	defer c.release()
	select {
	case <-c.done:
		c.timer.Stop()
		return c.verdict, c.err
	case <-c.timer.C:
		c.left.Store(true)
		return verdict{}, errBudget
	case <-ctx.Done():
		c.timer.Stop()
		c.left.Store(true)
		return verdict{}, ctx.Err()
	}
}

// A batcher sends what waits as one call, or on a Cluster as one pipeline. Its workers exist only while something waits,
// so that it needs no client with a particular way of batching, and a client that does not
// keep to deadlines delays no caller.
type batcher struct {
	rdb     redis.UniversalClient
	budget  time.Duration
	cluster bool // windows lie on several servers: each request is a call of its own

	mu      sync.Mutex
	waiting []*call // guarded by mu
	workers int     // guarded by mu
	closed  bool    // guarded by mu
	wg      sync.WaitGroup
}

// submit takes the call over; its answer comes through c.wait.
func (b *batcher) submit(c *call) {
	b.mu.Lock()
	if b.closed || len(b.waiting) >= maxWaiting {
		b.mu.Unlock()
		c.finish(errBusy)
		return
	}
	b.waiting = append(b.waiting, c)
	start := b.workers < maxWorkers
	if start {
		b.workers++
		b.wg.Add(1)
	}
	b.mu.Unlock()
	if start {
		go b.work()
	}
}

func (c *call) finish(err error) {
	c.err = err
	c.done <- struct{}{}
	c.release()
}

func (b *batcher) work() {
	defer b.wg.Done()
	var batch []*call
	for {
		b.mu.Lock()
		n := min(len(b.waiting), maxBatch)
		if n == 0 {
			b.workers--
			b.mu.Unlock()
			return
		}
		batch = append(batch[:0], b.waiting[:n]...)
		rest := copy(b.waiting, b.waiting[n:])
		clear(b.waiting[rest:])
		b.waiting = b.waiting[:rest]
		b.mu.Unlock()
		b.send(batch)
		clear(batch)
	}
}

// send asks Redis once and answers the calls. A call that nobody waits for any more is
// not sent: it would be charged for an event that was judged locally.
func (b *batcher) send(batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), b.budget)
	defer cancel()
	var rs []*request
	for _, c := range batch {
		if c.left.Load() {
			continue
		}
		for i := range c.requests {
			rs = append(rs, &c.requests[i])
		}
	}
	b.run(ctx, rs)
	for _, c := range batch {
		if r := &c.requests[0]; r.reply == nil && r.err == nil { // not sent
			c.finish(errBudget)
			continue
		}
		err := c.verdict.read(c.requests)
		if len(c.requests) > 1 && (err != nil || c.verdict.refused >= 0) {
			b.giveBack(ctx, c.requests)
		}
		c.finish(err)
	}
}

// run fills in the replies of requests.
func (b *batcher) run(ctx context.Context, rs []*request) {
	var all []*bundle
	for _, r := range rs {
		if b.cluster || len(all) == 0 || !all[len(all)-1].add(r) {
			all = append(all, newBundle(r))
		}
	}
	b.call(ctx, all, false)
	var unknown []*bundle
	for _, u := range all {
		if unknownScript(u.cmd.Err()) {
			unknown = append(unknown, u)
		}
	}
	b.call(ctx, unknown, true)
	for _, u := range all {
		u.distribute()
	}
}

func (b *batcher) call(ctx context.Context, all []*bundle, load bool) {
	for _, u := range all {
		u.cmd = u.command(ctx, load)
	}
	switch len(all) {
	case 0:
	case 1:
		_ = b.rdb.Process(ctx, all[0].cmd) // the command holds the error
	default:
		pipe := b.rdb.Pipeline()
		for _, u := range all {
			_ = pipe.Process(ctx, u.cmd)
		}
		_, _ = pipe.Exec(ctx)
	}
}

// giveBack undoes, on a Cluster, what an event spent before one of its policies refused.
// Where that fails the charge stays: it is over-strict for a window, and never the opposite.
func (b *batcher) giveBack(ctx context.Context, rs []request) {
	spent(rs, func(key string, stamp int64, cost int) {
		_ = giveBackScript.run(ctx, b.rdb, key, stamp, cost).Err()
	})
}

// close refuses new calls and waits for the workers.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wg.Wait()
}
