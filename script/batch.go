package script

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrBusy is what a Batcher answers when too many calls wait for Redis already: nothing was sent.
var ErrBusy = errors.New("script: too many calls wait for Redis")

const (
	batchMost    = mergeMost       // calls of one pipeline: Redis goes on with them while the next are made
	waitingMost  = 16384           // calls that wait for one
	workersMost  = 2               // pipelines under way,
	manyWait     = 32              // the second only when so many wait behind the first
	batchTimeout = 5 * time.Second // the client's own timeouts end it sooner
)

// A Batcher runs the scripts of many goroutines in few round trips: what is asked for while its pipelines are
// under way goes with the next, merged where their script allows it. While nobody waits it has no goroutine, and it needs no closing.
type Batcher struct {
	rdb    redis.UniversalClient
	single bool // one server has all keys, so that calls of one script may be merged

	mu      sync.Mutex
	waiting []*waiter // guarded by mu
	workers int       // guarded by mu
	asked   int64     // calls so far; guarded by mu
}

// A waiter is a call, and who waits for it.
type waiter struct {
	Call
	done chan struct{} // closed when the reply is there
	left atomic.Bool   // nobody waits any more
}

// NewBatcher makes a batcher.
func NewBatcher(rdb redis.UniversalClient) *Batcher {
	_, single := rdb.(*redis.Client)
	return &Batcher{rdb: rdb, single: single}
}

// Do runs one script and gives its reply. When ctx ends before, its error is the reply's: the script may run all
// the same, unless it was still waiting. ErrBusy when too many wait.
func (b *Batcher) Do(ctx context.Context, s *Script, keys []string, args ...any) *redis.Cmd {
	w := &waiter{Call: Call{Script: s, Keys: keys, Args: args}, done: make(chan struct{})}
	b.mu.Lock()
	if len(b.waiting) >= waitingMost {
		b.mu.Unlock()
		return failed(ctx, ErrBusy)
	}
	b.waiting = append(b.waiting, w)
	b.asked++
	start := b.workers == 0 || b.workers < workersMost && len(b.waiting) >= manyWait
	if start {
		b.workers++
	}
	b.mu.Unlock()
	if start {
		go b.work() // it ends when nothing waits
	}
	select {
	case <-w.done:
		return w.Cmd
	case <-ctx.Done():
		w.left.Store(true)
		return failed(ctx, ctx.Err())
	}
}

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

func (b *Batcher) work() {
	for {
		runtime.Gosched() // who is about to ask goes along
		b.mu.Lock()
		n := min(len(b.waiting), batchMost)
		if n == 0 {
			b.workers--
			b.mu.Unlock()
			return
		}
		batch := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		b.send(batch)
	}
}

// send runs one pipeline, without those whom nobody waits for any more.
func (b *Batcher) send(batch []*waiter) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	calls := make([]*Call, 0, len(batch))
	for _, w := range batch {
		if !w.left.Load() {
			calls = append(calls, &w.Call)
		}
	}
	switch {
	case len(calls) == 0:
	case b.single:
		run(ctx, b.rdb, merge(calls))
	default:
		Run(ctx, b.rdb, calls...)
	}
	for _, w := range batch {
		close(w.done)
	}
}
