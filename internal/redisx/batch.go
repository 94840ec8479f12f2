package redisx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// ErrBusy is what Do answers when too many ask already: nothing was handed on.
var ErrBusy = errors.New("redisx: too many wait")

// BatchLimits of a Batcher; each is at least 1.
type BatchLimits struct {
	Most    int           // requests of one batch
	Waiting int           // requests that may wait for one
	Workers int           // batches under way at once,
	Behind  int           // another only when so many requests wait
	Timeout time.Duration // for one batch
}

// A Batcher gathers requests; it may be used by any number of goroutines. While nobody waits it has no goroutine, and it
// needs no closing.
type Batcher[T any] struct {
	serve  func(context.Context, []*T)
	limits BatchLimits

	mu      sync.Mutex
	waiting []*waiter[T] // guarded by mu
	workers int          // guarded by mu
}

// A waiter is a request, and who waits for it.
type waiter[T any] struct {
	request T
	done    chan struct{} // closed when it is served
	err     error         // it could not be
	left    atomic.Bool   // nobody waits any more
}

// NewBatcher makes a batcher. serve writes what came of each request into it; several calls of it may run at once where the limits
// allow several workers. Its context ends with the batch's time.
func NewBatcher[T any](limits BatchLimits, serve func(context.Context, []*T)) *Batcher[T] {
	return &Batcher[T]{serve: serve, limits: limits}
}

// Do has a request served, and returns it with what came of it. The error is ErrBusy when too many wait, ctx's when that
// ends before (then the request may be served all the same, unless it was still waiting), or one that tells of a panic of serve.
func (b *Batcher[T]) Do(ctx context.Context, request T) (served T, err error) {
	w := &waiter[T]{request: request, done: make(chan struct{})}
	b.mu.Lock()
	if len(b.waiting) >= b.limits.Waiting {
		b.mu.Unlock()
		return request, ErrBusy
	}
	b.waiting = append(b.waiting, w)
	start := b.workers == 0 || b.workers < b.limits.Workers && len(b.waiting) >= b.limits.Behind
	if start {
		b.workers++
	}
	b.mu.Unlock()
	if start {
		go b.work() // it ends when nothing waits
	}
	select {
	case <-w.done:
		return w.request, w.err
	case <-ctx.Done():
		w.left.Store(true)
		return request, ctx.Err()
	}
}

// Waiting is how many requests no batch has taken yet.
func (b *Batcher[T]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

func (b *Batcher[T]) work() {
	for {
		runtime.Gosched() // who is about to ask goes along
		b.mu.Lock()
		n := min(len(b.waiting), b.limits.Most)
		if n == 0 {
			b.workers--
			b.mu.Unlock()
			return
		}
		taken := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		b.send(taken)
	}
}

// send serves a batch, without those whom nobody waits for any more.
func (b *Batcher[T]) send(taken []*waiter[T]) {
	ctx, cancel := context.WithTimeout(context.Background(), b.limits.Timeout)
	defer cancel()
	requests := make([]*T, 0, len(taken))
	for _, w := range taken {
		if !w.left.Load() {
			requests = append(requests, &w.request)
		}
	}
	defer func() {
		p := recover() // it would end the process
		for _, w := range taken {
			if p != nil {
				w.err = fmt.Errorf("redisx: panic: %v\n%s", p, debug.Stack())
			}
			close(w.done)
		}
	}()
	if len(requests) > 0 {
		b.serve(ctx, requests)
	}
}
