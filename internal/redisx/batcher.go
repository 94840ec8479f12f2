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

	"github.com/aeturnis/realtime/internal/tracing"
)

var (
	// ErrBusy is what Do returns when too many requests wait, or after Close. The request was not
	// served.
	ErrBusy = errors.New("redisx: too many requests wait")
	// ErrTooSlow is what Do returns when BatchLimits.Patience is over. A request that was already in a
	// batch may still be served.
	ErrTooSlow = errors.New("redisx: no answer in time")
)

// BatchLimits of a Batcher. All but Patience are at least 1.
type BatchLimits struct {
	MaxBatch   int // requests in one batch
	MaxWaiting int // requests that wait for a batch; more are refused with ErrBusy
	MaxWorkers int // batches under way at once
	// NextWorkerAt is how many requests must wait before another worker starts beside those at work.
	NextWorkerAt int
	// Timeout is how long a batch may take. Then the context of serve ends.
	Timeout time.Duration
	// Patience is how long a caller waits before it gets ErrTooSlow; 0 means until its context ends.
	// It costs less than a context with a timeout.
	Patience time.Duration
}

// A Batcher gathers the requests of many goroutines into batches. While nobody waits it has no
// goroutine, and it needs no closing.
type Batcher[T any] struct {
	serve  func(context.Context, []*T)
	limits BatchLimits
	pool   sync.Pool // of *pendingRequest[T]
	ended  sync.WaitGroup

	mu       sync.Mutex
	waiting  []*pendingRequest[T] // guarded by mu
	workers  int                  // guarded by mu
	isClosed bool                 // guarded by mu
}

// A pendingRequest is a request that waits or is being served. Its caller and a worker hold it. The
// caller may leave at any time; the last of the two puts it back into the pool.
type pendingRequest[T any] struct {
	request  T
	err      error         // why it could not be served
	served   chan struct{} // capacity 1: gets one value when request or err is there
	patience *time.Timer   // nil without BatchLimits.Patience
	holders  atomic.Int32
	isLeft   atomic.Bool // the caller waits no more
}

// NewBatcher makes a batcher. serve must write the result of each request into the request, and
// keep no pointer to it. With several workers, several calls of serve run at the same time.
func NewBatcher[T any](limits BatchLimits, serve func(ctx context.Context, batch []*T)) *Batcher[T] {
	return &Batcher[T]{serve: serve, limits: limits}
}

// Do waits until the request was served, and returns it with its result. The error is ErrBusy,
// ErrTooSlow, the error of ctx if it ends first, or an error with the panic of serve. After
// ErrTooSlow or an error of ctx, a request that was already in a batch may still be served.
func (b *Batcher[T]) Do(ctx context.Context, request T) (T, error) {
	return b.DoQueued(ctx, request, nil)
}

// DoQueued is Do that calls queued, if it is not nil, once the request waits: later requests are in
// the same batch or in later ones. queued is not called after ErrBusy, and must not block.
func (b *Batcher[T]) DoQueued(ctx context.Context, request T, queued func()) (T, error) {
	defer tracing.FromContext(ctx).Call("redis batch").End()
	p := b.newPending(request)
	if !b.enqueueRequest(p) {
		p.holders.Add(-1)
		b.releaseRequest(p)
		return request, ErrBusy
	}
	defer b.releaseRequest(p)
	if queued != nil {
		queued()
	}
	var tooSlow <-chan time.Time
	if p.patience != nil {
		p.patience.Reset(b.limits.Patience)
		defer p.patience.Stop()
		tooSlow = p.patience.C
	}
	select {
	case <-p.served:
		return p.request, p.err
	case <-tooSlow:
		p.isLeft.Store(true)
		return request, ErrTooSlow
	case <-ctx.Done():
		p.isLeft.Store(true)
		return request, ctx.Err()
	}
}

// Waiting returns how many requests wait for a batch.
func (b *Batcher[T]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// Close refuses new requests with ErrBusy, and waits until the earlier ones were served.
func (b *Batcher[T]) Close() {
	b.mu.Lock()
	b.isClosed = true
	b.mu.Unlock()
	b.ended.Wait()
}

func (b *Batcher[T]) newPending(request T) *pendingRequest[T] {
	p, _ := b.pool.Get().(*pendingRequest[T])
	if p == nil {
		p = &pendingRequest[T]{served: make(chan struct{}, 1)}
		if b.limits.Patience > 0 {
			p.patience = time.NewTimer(b.limits.Patience)
			p.patience.Stop()
		}
	}
	p.request = request
	p.holders.Store(2)
	return p
}

// releaseRequest is called by each of the two holders once.
func (b *Batcher[T]) releaseRequest(p *pendingRequest[T]) {
	if p.holders.Add(-1) > 0 {
		return
	}
	select {
	case <-p.served: // the caller had left
	default:
	}
	var none T
	p.request, p.err = none, nil
	p.isLeft.Store(false)
	b.pool.Put(p)
}

// enqueueRequest makes a request wait for a worker, and starts one when needed. It tells whether
// there was room.
func (b *Batcher[T]) enqueueRequest(p *pendingRequest[T]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed || len(b.waiting) >= b.limits.MaxWaiting {
		return false
	}
	b.waiting = append(b.waiting, p)
	if b.workers == 0 || b.workers < b.limits.MaxWorkers && len(b.waiting) >= b.limits.NextWorkerAt {
		b.workers++
		b.ended.Add(1)
		go b.serveWaiting()
	}
	return true
}

// serveWaiting serves batches until nothing waits.
func (b *Batcher[T]) serveWaiting() {
	defer b.ended.Done()
	var batch []*pendingRequest[T]
	var requests []*T
	for {
		runtime.Gosched() // goroutines that are about to ask join this batch
		if batch = b.takeBatch(batch[:0]); len(batch) == 0 {
			return
		}
		requests = b.serveBatch(batch, requests[:0])
		clear(batch)
		clear(requests)
	}
}

// takeBatch appends the requests of the next batch; with none, the worker ends.
func (b *Batcher[T]) takeBatch(batch []*pendingRequest[T]) []*pendingRequest[T] {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), b.limits.MaxBatch)
	if n == 0 {
		b.workers--
		return nil
	}
	batch = append(batch, b.waiting[:n]...)
	rest := copy(b.waiting, b.waiting[n:])
	clear(b.waiting[rest:])
	b.waiting = b.waiting[:rest]
	return batch
}

// serveBatch serves the requests whose callers still wait. It returns requests, for the next batch.
func (b *Batcher[T]) serveBatch(batch []*pendingRequest[T], requests []*T) []*T {
	ctx, cancel := context.WithTimeout(context.Background(), b.limits.Timeout)
	defer cancel()
	for _, p := range batch {
		if !p.isLeft.Load() {
			requests = append(requests, &p.request)
		}
	}
	defer func() {
		failure := recover() // it would end the process
		for _, p := range batch {
			if failure != nil {
				p.err = fmt.Errorf("redisx: panic: %v\n%s", failure, debug.Stack())
			}
			p.served <- struct{}{}
			b.releaseRequest(p)
		}
	}()
	if len(requests) > 0 {
		b.serve(ctx, requests)
	}
	return requests
}
