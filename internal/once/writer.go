package once

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// The bounds of the writer's queue and of one round trip.
const (
	maxQueued       = 8192
	maxQueuedBytes  = 32 << 20 // of answers
	maxWritten      = 256
	maxWrittenBytes = 1 << 20 // beyond which no further one is added
	writeTimeout    = 5 * time.Second
)

// A writer ends claims in Redis, in the background and in order. It has one goroutine, which runs
// only while the queue is not empty.
type writer struct {
	rdb    redis.UniversalClient
	report func(error)

	mu          sync.Mutex
	queue       []queued // guarded by mu
	queuedBytes int      // of the answers in queue; guarded by mu
	isWriting   bool     // guarded by mu
	isClosed    bool     // guarded by mu
	isFailing   bool     // whether the last batch failed; guarded by mu
	worker      sync.WaitGroup
}

// A queued call ends one claim.
type queued struct {
	call *redisx.Call
	size int // bytes of its answer
}

// enqueueCall queues a write. A write that does not fit is dropped: this node remembers the answer,
// and other nodes see a claim whose holder gave no answer.
func (w *writer) enqueueCall(call *redisx.Call, size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isClosed || len(w.queue) >= maxQueued || w.queuedBytes+size > maxQueuedBytes {
		return
	}
	w.queue, w.queuedBytes = append(w.queue, queued{call, size}), w.queuedBytes+size
	if !w.isWriting {
		w.isWriting = true
		w.worker.Go(w.writeQueued)
	}
}

// writeQueued writes the queue in batches until it is empty.
func (w *writer) writeQueued() {
	for {
		w.mu.Lock()
		batch := w.takeBatch()
		if len(batch) == 0 {
			w.queue, w.isWriting = nil, false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		w.writeBatch(batch)
	}
}

// takeBatch takes the first calls out of the queue. The caller holds mu.
func (w *writer) takeBatch() (batch []*redisx.Call) {
	size := 0
	for _, q := range w.queue[:min(len(w.queue), maxWritten)] {
		if size > maxWrittenBytes {
			break
		}
		batch, size = append(batch, q.call), size+q.size
	}
	clear(w.queue[:len(batch)]) // so that nothing keeps what is written
	w.queue, w.queuedBytes = w.queue[len(batch):], w.queuedBytes-size
	return batch
}

// writeBatch writes a batch in one round trip, and reports the first failure of a series.
func (w *writer) writeBatch(batch []*redisx.Call) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	redisx.RunScripts(ctx, w.rdb, batch...)
	var failure error
	for _, call := range batch {
		if err := call.Err(); err != nil {
			failure = err
		}
	}
	w.mu.Lock()
	isNew := failure != nil && !w.isFailing
	w.isFailing = failure != nil
	w.mu.Unlock()
	if isNew {
		w.report(fmt.Errorf("once: record answers: %w", failure))
	}
}

// closeAndDrain refuses further writes and waits until the queue is written.
func (w *writer) closeAndDrain() {
	w.mu.Lock()
	w.isClosed = true
	w.mu.Unlock()
	w.worker.Wait()
}
