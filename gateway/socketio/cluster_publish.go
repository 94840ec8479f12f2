package socketio

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A publisher sends to Redis what this node tells the others: one goroutine, so that the
// order is kept, with pipelines, so that it is quick. Nobody waits for it: what comes
// while too much waits already is dropped, and so is what Redis did not take. Nothing is
// sent twice.
type publisher struct {
	client redis.UniversalClient
	limit  int // bytes that may wait

	mu      sync.Mutex
	waiting []publication // guarded by mu
	arena   []byte        // their payloads; guarded by mu
	spare   []byte        // the arena before, emptied; guarded by mu
	free    []publication // what waited before, emptied; guarded by mu
	flight  int           // bytes that are being sent; guarded by mu
	ended   bool          // guarded by mu

	wake      chan struct{} // capacity 1
	published atomic.Int64
	failed    atomic.Int64 // what was dropped, or not taken
}

// A publication is one message. Its payload lies in the arena.
type publication struct {
	channel    string
	start, end int
	marker     string  // a channel whose subscribers are counted with it, or ""
	told       hearing // may be nil
	beat       bool    // nobody misses it
	sharded    bool    // it goes to the master of the channel's slot
}

// A hearing is called with how many connections heard a message, how many subscribe to its
// marker, and why it was not sent. It must not wait.
type hearing func(receivers, marked int64, err error)

// Bounds of one pipeline.
const (
	pipelineMessages = 512
	pipelineBytes    = 512 << 10
	pipelineTimeout  = 2 * time.Second
)

func newPublisher(client redis.UniversalClient, limit int) *publisher {
	return &publisher{client: client, limit: limit, wake: make(chan struct{}, 1)}
}

// publish queues a message; the payload is copied.
func (p *publisher) publish(channel string, payload []byte) { p.ask(channel, "", payload, nil) }

// shard is ask for a sharded channel.
func (p *publisher) shard(channel string, payload []byte, f hearing) {
	p.queue(publication{channel: channel, told: f, sharded: true}, payload)
}

// ask is publish for who wants to know how many heard it. f is called in any case, never by
// ask itself.
func (p *publisher) ask(channel, marker string, payload []byte, f hearing) {
	p.queue(publication{channel: channel, marker: marker, told: f}, payload)
}

// beat is publish for a sign of life: when it is lost the next one does, and nothing is counted.
func (p *publisher) beat(channel string, payload []byte) {
	p.queue(publication{channel: channel, beat: true}, payload)
}

// queue copies the payload.
func (p *publisher) queue(m publication, payload []byte) {
	p.mu.Lock()
	full := p.ended || len(p.arena)+p.flight+len(payload) > p.limit
	if !full {
		m.start = len(p.arena)
		p.arena = append(p.arena, payload...)
		m.end = len(p.arena)
		p.waiting = append(p.waiting, m)
	}
	p.mu.Unlock()
	if full {
		p.lose(&m)
		if m.told != nil {
			go m.told(0, 0, errQueueFull)
		}
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run sends until done is closed, and then what waits still, once.
func (p *publisher) run(done <-chan struct{}) {
	retry := backoff{}
	for last := false; ; {
		if !last {
			select {
			case <-p.wake:
			case <-done:
				last = true
			}
		}
		p.mu.Lock()
		batch, arena := p.waiting, p.arena
		p.waiting, p.arena, p.spare, p.free = p.free[:0], p.spare[:0], nil, nil
		p.flight = len(arena)
		p.ended = last
		p.mu.Unlock()
		ok := p.send(batch, arena)
		p.mu.Lock()
		p.flight = 0
		if cap(arena) <= 1<<20 {
			p.spare = arena
		}
		if clear(batch); cap(batch) <= 4*pipelineMessages {
			p.free = batch
		}
		p.mu.Unlock()
		if last {
			return
		}
		retry.after(ok, done)
	}
}

// send sends a batch in pipelines. After two that failed, the rest is dropped: it would
// come too late.
func (p *publisher) send(batch []publication, arena []byte) (ok bool) {
	failures := 0
	for len(batch) > 0 {
		n, size := 0, 0
		for n < len(batch) && n < pipelineMessages && (n == 0 || size < pipelineBytes) {
			size += batch[n].end - batch[n].start
			n++
		}
		if failures < 2 && p.pipeline(batch[:n], arena) {
			failures = 0
		} else if failures++; failures > 2 {
			p.drop(batch[:n], errRedisAway)
		}
		batch = batch[n:]
	}
	return failures == 0
}

func (p *publisher) drop(batch []publication, err error) {
	for _, m := range batch {
		p.lose(&m)
		if m.told != nil {
			m.told(0, 0, err)
		}
	}
}

// lose counts a message that was dropped, or not taken.
func (p *publisher) lose(m *publication) {
	if !m.beat {
		p.failed.Add(1)
	}
}

// A post is a PUBLISH, used for one message after the other.
type post struct {
	*redis.IntCmd
	command string
	channel string
	payload payload
}

func newPost() *post {
	x := &post{}
	x.IntCmd = redis.NewIntCmd(context.Background(), &x.command, &x.channel, &x.payload)
	return x
}

// NoRetry tells go-redis not to send it again when the connection broke.
func (*post) NoRetry() bool { return true }

// A payload is bytes that need no interface of their own to be an argument.
type payload []byte

// MarshalBinary returns the bytes.
func (b *payload) MarshalBinary() ([]byte, error) { return *b, nil }

// posts are those of one pipeline.
type posts struct {
	all      []*post
	commands []redis.Cmder
	marked   map[int]*redis.MapStringIntCmd // of messages that have a marker; may be nil
}

var postPool = sync.Pool{New: func() any { return new(posts) }}

// fill makes the pipeline of a batch.
func (x *posts) fill(batch []publication, arena []byte) {
	for len(x.all) < len(batch) {
		x.all = append(x.all, newPost())
	}
	for i := range batch {
		m, c := &batch[i], x.all[i]
		if c.command = "publish"; m.sharded {
			c.command = "spublish"
		}
		c.channel, c.payload = m.channel, arena[m.start:m.end]
		x.commands = append(x.commands, c)
		if m.marker == "" {
			continue
		}
		if x.marked == nil {
			x.marked = map[int]*redis.MapStringIntCmd{}
		}
		x.marked[i] = redis.NewMapStringIntCmd(context.Background(), "pubsub", "numsub", m.marker)
		x.commands = append(x.commands, x.marked[i])
	}
}

// free forgets the messages.
func (x *posts) free(n int) {
	for _, c := range x.all[:n] {
		c.channel, c.payload = "", nil
		c.SetErr(nil)
		c.SetVal(0)
	}
	clear(x.commands)
	x.commands, x.marked = x.commands[:0], nil
	postPool.Put(x)
}

// pipeline reports whether Redis took any of it.
func (p *publisher) pipeline(batch []publication, arena []byte) (ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), pipelineTimeout)
	defer cancel()
	if c, is := p.client.(*redis.ClusterClient); is {
		return p.scatter(ctx, c, batch, arena)
	}
	moved, ok := p.exchange(ctx, p.client, batch, arena)
	p.drop(moved, errRedisAway)
	return ok
}

// exchange publishes over one connection. It returns what belongs to another node of a
// Cluster, in order, and whether any of the rest was taken.
func (p *publisher) exchange(ctx context.Context, client redis.UniversalClient, batch []publication, arena []byte) (moved []publication, ok bool) {
	x := postPool.Get().(*posts)
	defer x.free(len(batch))
	x.fill(batch, arena)
	pipe := client.Pipeline()
	_ = pipe.BatchProcess(ctx, x.commands...) // only queues
	_, _ = pipe.Exec(ctx)                     // each command has its error
	for i := range batch {
		receivers, err := x.all[i].Result()
		if _, is := redis.IsMovedError(err); is {
			moved = append(moved, batch[i])
			continue
		}
		if err != nil {
			p.lose(&batch[i])
		} else {
			p.published.Add(1)
			ok = true
		}
		if f := batch[i].told; f != nil {
			n := int64(0)
			if m := x.marked[i]; m != nil && err == nil {
				n, err = m.Val()[batch[i].marker], m.Err()
			}
			f(receivers, n, err)
		}
	}
	return moved, ok
}

// backoff waits longer after each failure, from 20 ms to 1 s.
type backoff struct{ wait time.Duration }

func (b *backoff) after(ok bool, done <-chan struct{}) {
	if ok {
		b.wait = 0
		return
	}
	b.wait = min(max(2*b.wait, 20*time.Millisecond), time.Second)
	t := time.NewTimer(b.wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}
