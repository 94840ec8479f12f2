package redisbus

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// A publisher sends messages to Redis: from one goroutine, so that their order is kept, and in
// pipelines, so that it is fast. Callers never wait: a message is dropped when too much waits
// already, or when Redis does not take it. Nothing is sent twice.
type publisher struct {
	client   redis.UniversalClient
	cluster  *redis.ClusterClient // client; nil where Redis is no Cluster
	homeKey  string
	maxBytes int // of payloads that wait or are being sent

	mu            sync.Mutex
	queue         []queuedMessage // guarded by mu
	payloads      []byte          // of the messages in queue, one behind the other; guarded by mu
	sparePayloads []byte          // the buffer that was sent last, to be used again; guarded by mu
	spareQueue    []queuedMessage // the queue that was sent last, emptied; guarded by mu
	sendingBytes  int             // payloads that are being sent; guarded by mu
	isClosed      bool            // guarded by mu

	wake        redisx.Signal
	published   atomic.Int64
	unpublished atomic.Int64 // messages that were dropped, or that Redis did not take
}

// A queuedMessage is a Message that waits. Its payload lies in the publisher's buffer.
type queuedMessage struct {
	channel     string
	start, end  int // of the payload
	countAlso   string
	onPublished func(receivers, alsoCounted int64, err error) // may be nil
	isUncounted bool
	isSharded   bool
}

// Bounds of one pipeline.
const (
	pipelineMessages = 512
	pipelineBytes    = 512 << 10
	pipelineTimeout  = 2 * time.Second
)

func newPublisher(client redis.UniversalClient, homeKey string, maxBytes int) *publisher {
	return &publisher{client: client, cluster: redisx.ClusterOf(client), homeKey: homeKey, maxBytes: maxBytes, wake: redisx.NewSignal()}
}

// enqueue queues a message and copies its payload.
func (p *publisher) enqueue(m Message) {
	q := queuedMessage{
		channel: m.Channel, countAlso: m.CountAlso, onPublished: m.OnPublished, isUncounted: m.IsUncounted, isSharded: m.IsSharded,
	}
	p.mu.Lock()
	isFull := p.isClosed || len(p.payloads)+p.sendingBytes+len(m.Payload) > p.maxBytes
	if !isFull {
		q.start = len(p.payloads)
		p.payloads = append(p.payloads, m.Payload...)
		q.end = len(p.payloads)
		p.queue = append(p.queue, q)
	}
	p.mu.Unlock()
	if isFull {
		p.countLoss(&q)
		if q.onPublished != nil {
			go q.onPublished(0, 0, ErrQueueFull)
		}
		return
	}
	p.wake.Notify()
}

// sendUntilDone sends until done is closed, and then what still waits, once.
func (p *publisher) sendUntilDone(done <-chan struct{}) {
	retry := backoff{}
	for isLast := false; ; {
		if !isLast {
			select {
			case <-p.wake.C():
			case <-done:
				isLast = true
			}
		}
		messages, payloads := p.takeQueue(isLast)
		ok := p.sendMessages(messages, payloads)
		p.recycleBuffers(messages, payloads)
		if isLast {
			return
		}
		retry.waitAfter(ok, done)
	}
}

// takeQueue takes all messages that wait. After the last call nothing can be queued any more.
func (p *publisher) takeQueue(isLast bool) (messages []queuedMessage, payloads []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	messages, payloads = p.queue, p.payloads
	p.queue, p.payloads, p.sparePayloads, p.spareQueue = p.spareQueue[:0], p.sparePayloads[:0], nil, nil
	p.sendingBytes = len(payloads)
	p.isClosed = isLast
	return messages, payloads
}

// recycleBuffers keeps what takeQueue returned for the next messages, unless it has become large.
func (p *publisher) recycleBuffers(messages []queuedMessage, payloads []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sendingBytes = 0
	if cap(payloads) <= 1<<20 {
		p.sparePayloads = payloads
	}
	if clear(messages); cap(messages) <= 4*pipelineMessages {
		p.spareQueue = messages
	}
}

// sendMessages sends messages in pipelines. After two pipelines that failed in a row it drops the
// rest, which would come too late.
func (p *publisher) sendMessages(messages []queuedMessage, payloads []byte) (ok bool) {
	failures := 0
	for len(messages) > 0 {
		n, size := 0, 0
		for n < len(messages) && n < pipelineMessages && (n == 0 || size < pipelineBytes) {
			size += messages[n].end - messages[n].start
			n++
		}
		if failures < 2 && p.sendPipeline(messages[:n], payloads) {
			failures = 0
		} else if failures++; failures > 2 {
			p.dropMessages(messages[:n], ErrNotTaken)
		}
		messages = messages[n:]
	}
	return failures == 0
}

func (p *publisher) dropMessages(messages []queuedMessage, err error) {
	for i := range messages {
		m := &messages[i]
		p.countLoss(m)
		if m.onPublished != nil {
			m.onPublished(0, 0, err)
		}
	}
}

func (p *publisher) countLoss(m *queuedMessage) {
	if !m.isUncounted {
		p.unpublished.Add(1)
	}
}

// sendPipeline sends one pipeline. It reports whether Redis took any message of it.
func (p *publisher) sendPipeline(messages []queuedMessage, payloads []byte) (ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), pipelineTimeout)
	defer cancel()
	if p.cluster != nil {
		return p.sendToMasters(ctx, messages, payloads)
	}
	moved, ok := p.publishOver(ctx, p.client, messages, payloads)
	p.dropMessages(moved, ErrNotTaken)
	return ok
}

// publishOver publishes messages over one connection. It returns, in order, those that belong to
// another node of a Cluster, and whether Redis took any of the rest.
func (p *publisher) publishOver(ctx context.Context, client redis.UniversalClient, messages []queuedMessage, payloads []byte) (moved []queuedMessage, ok bool) {
	x := pipelinePool.Get().(*pipeline)
	defer x.releaseMessages(len(messages))
	x.fillCommands(messages, payloads)
	pipe := client.Pipeline()
	_ = pipe.BatchProcess(ctx, x.commands...) // it only queues
	_, _ = pipe.Exec(ctx)                     // each command has its error
	for i := range messages {
		m := &messages[i]
		receivers, err := x.publishes[i].Result()
		if _, isMoved := redis.IsMovedError(err); isMoved {
			moved = append(moved, *m)
			continue
		}
		if err != nil {
			p.countLoss(m)
		} else {
			p.published.Add(1)
			ok = true
		}
		if m.onPublished != nil {
			alsoCounted := int64(0)
			if count := x.counts[i]; count != nil && err == nil {
				alsoCounted, err = count.Val()[m.countAlso], count.Err()
			}
			m.onPublished(receivers, alsoCounted, err)
		}
	}
	return moved, ok
}
