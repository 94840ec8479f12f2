package redisbus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// Config of a Bus. Everything is required, except where it says otherwise.
type Config struct {
	// Redis is a client of one server, of Sentinel or of a Cluster. Messages are published over its
	// pool. For what is received the bus keeps connections of its own: one, and on a Cluster one
	// more to each shard.
	Redis redis.UniversalClient
	// HomeKey chooses the node of a Cluster to which classic channels are published: the master of
	// this key's slot. It is one node for all of them, so that their order is kept.
	HomeKey string

	QueueBytes int           // payloads that may wait to be published; what comes beyond is dropped
	MaxMessage int           // bytes of a payload; a longer one may be received as an empty one
	Linger     time.Duration // a subscription outlives the last wish for it by this

	// OnMessage is called for each message of a subscribed channel, with the channel's owner, on
	// the goroutine that reads. It must not wait, and not keep payload.
	OnMessage func(owner any, payload []byte)
	// OnDial, if not nil, is called for each new connection for classic channels, before anything is
	// received over it: what was published meanwhile was missed. Not on a Cluster. It must not wait
	// and not call the bus.
	OnDial func()
	// OnUp is called when Redis has confirmed the subscription of a channel with IsAnchor: at first,
	// and after each lost connection. It must not wait and not call the bus.
	OnUp func(owner any)
}

// Why a message was not published.
var (
	ErrQueueFull = errors.New("redisbus: too much waits to be published")
	ErrNotTaken  = errors.New("redisbus: Redis does not take messages")
)

// A Message is one message to publish.
type Message struct {
	Channel   string
	Payload   []byte // Publish copies it
	IsSharded bool   // publish it to the sharded channel; only where Bus.HasShardedChannels

	// IsUncounted is for a message whose loss does not matter, such as a heartbeat.
	IsUncounted bool
	// CountAlso is a channel whose subscribers are counted together with those of Channel; may be "".
	CountAlso string
	// OnPublished, if not nil, is called once: with how many connections received the message, how
	// many subscribe to CountAlso, and why the message was not published. Publish itself never
	// calls it. It must not wait.
	OnPublished func(receivers, alsoCounted int64, err error)
}

// A Channel is what Subscribe takes.
type Channel struct {
	Name      string
	Owner     any  // passed to OnMessage and OnUp
	IsAnchor  bool // OnUp is called for it, and its confirmation shows that the connection works
	IsSharded bool // on a Cluster, subscribe to the sharded channel of this name too
	// IsPattern makes Name a pattern of PSUBSCRIBE for classic channels. A message that comes by a
	// subscribed channel and by a pattern is passed on once, to the channel's owner.
	IsPattern bool
}

// Stats count what happened since the start.
type Stats struct {
	Published   int64 // messages that Redis took
	Unpublished int64 // messages that it did not take, or that were dropped before
	Received    int64 // messages that came, the process's own too
	Bytes       int64 // their payloads
	Restarts    int64 // connections that were given up because nothing came, or that were lost to a shard
	Channels    int   // classic channels that are subscribed, or about to be
}

// A Bus publishes and subscribes for one process. Its methods may be called from any goroutine.
type Bus struct {
	client    redis.UniversalClient
	publisher *publisher
	classic   *subscriber

	shards  *shardConns // nil where Redis is no Cluster
	sharded *subscriber // of the shards; nil where Redis is no Cluster

	done      chan struct{}
	closeOnce sync.Once
	running   sync.WaitGroup
}

// New makes a Bus. It does not dial: Start begins.
func New(cfg Config) *Bus {
	b := &Bus{
		client:    cfg.Redis,
		publisher: newPublisher(cfg.Redis, cfg.HomeKey, cfg.QueueBytes),
		classic:   newSubscriber(cfg),
		done:      make(chan struct{}),
	}
	b.classic.transport = newSubscriptionConn(b.classic, cfg.Redis, cfg.MaxMessage)
	if client := redisx.ClusterOf(cfg.Redis); client != nil {
		b.sharded = newSubscriber(cfg)
		b.shards = newShardConns(b.sharded, client)
		b.sharded.transport = b.shards
	}
	return b
}

// Start begins to publish and to receive.
func (b *Bus) Start() {
	b.startGoroutine(b.publisher.sendUntilDone)
	b.startGoroutine(b.classic.transport.readMessages)
	b.startGoroutine(b.classic.syncSubscriptions)
	if b.sharded != nil {
		b.startGoroutine(b.shards.readMessages)
		b.startGoroutine(b.sharded.syncSubscriptions)
	}
}

func (b *Bus) startGoroutine(run func(done <-chan struct{})) {
	b.running.Go(func() { run(b.done) })
}

// Close publishes what waits, once, and returns when no goroutine of the bus is left.
func (b *Bus) Close() {
	b.closeOnce.Do(func() { close(b.done) })
	b.classic.transport.close()
	b.running.Wait()
}

// Publish queues a message. It does not wait.
func (b *Bus) Publish(m Message) { b.publisher.enqueue(m) }

// Subscribe asks for a channel once more: as many calls of Unsubscribe give it up. The owner of the
// first call stays. It does not wait; WaitSubscribed does.
func (b *Bus) Subscribe(c Channel) {
	b.classic.changeWanted(c, 1)
	if b.sharded != nil && c.IsSharded {
		b.sharded.changeWanted(c, 1)
	}
}

// Unsubscribe takes back one call of Subscribe for a channel.
func (b *Bus) Unsubscribe(name string) {
	b.classic.changeWanted(Channel{Name: name}, -1)
	if b.sharded != nil {
		b.sharded.changeWanted(Channel{Name: name}, -1)
	}
}

// UnsubscribePattern takes back one call of Subscribe for a pattern.
func (b *Bus) UnsubscribePattern(name string) {
	b.classic.changeWanted(Channel{Name: name, IsPattern: true}, -1)
}

// WaitSubscribed returns when Redis has confirmed the subscriptions of all channels, both ways
// where they are sharded, or when ctx ends. A channel that nobody wants is not waited for.
func (b *Bus) WaitSubscribed(ctx context.Context, channels ...string) error {
	for _, name := range channels {
		if b.HasShardedChannels() {
			if err := b.sharded.waitConfirmed(ctx, channelKey{name: name}); err != nil {
				return err
			}
		}
		if err := b.classic.waitConfirmed(ctx, channelKey{name: name}); err != nil {
			return err
		}
	}
	return nil
}

// WaitAllSubscribed returns when Redis has confirmed the subscriptions of all classic channels that
// are wanted, or when ctx ends.
func (b *Bus) WaitAllSubscribed(ctx context.Context) error {
	for _, key := range b.classic.listUnconfirmed() {
		if err := b.classic.waitConfirmed(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// Restart replaces the connection for classic channels.
func (b *Bus) Restart() { b.classic.transport.restart() }

// IsConnected reports whether a new subscription can be expected to be confirmed soon. It does so
// before the first connection too.
func (b *Bus) IsConnected() bool { return b.classic.isConnected() }

// LastReceived returns when anything came from Redis last, over the connection for classic
// channels.
func (b *Bus) LastReceived() time.Time { return b.classic.lastReceived() }

// CheckConnections pings the connections that receive, and replaces those on which nothing came for
// longer than patience. It asks again for subscriptions that were not confirmed for so long. Call
// it in intervals shorter than patience.
func (b *Bus) CheckConnections(patience time.Duration) {
	b.classic.checkConfirmations(patience)
	if b.sharded != nil {
		b.sharded.checkConfirmations(patience)
	}
}

// IsCluster reports whether Redis is a Cluster. There, the receivers that OnPublished is told are
// only those of one node.
func (b *Bus) IsCluster() bool { return b.shards != nil }

// HasShardedChannels reports whether messages may be published to sharded channels: Redis is a
// Cluster of version 7.0 or later.
func (b *Bus) HasShardedChannels() bool { return b.shards != nil && !b.shards.areUnsupported.Load() }

// CountSubscribers counts the connections that subscribe to each of some classic channels, on all
// nodes of a Cluster.
func (b *Bus) CountSubscribers(ctx context.Context, channels ...string) (counts []int64, err error) {
	counts = make([]int64, len(channels))
	var mu sync.Mutex // the shards of a Cluster answer at the same time
	err = redisx.ForEachNode(ctx, b.client, func(ctx context.Context, node redis.UniversalClient) error {
		byName, err := node.PubSubNumSub(ctx, channels...).Result()
		mu.Lock()
		defer mu.Unlock()
		for i, name := range channels {
			counts[i] += byName[name]
		}
		return err
	})
	return counts, err
}

// Stats returns the counts.
func (b *Bus) Stats() Stats {
	s := Stats{Published: b.publisher.published.Load(), Unpublished: b.publisher.unpublished.Load(), Channels: b.classic.countChannels()}
	s.addReceived(b.classic)
	if b.sharded != nil {
		s.addReceived(b.sharded)
	}
	return s
}

func (s *Stats) addReceived(from *subscriber) {
	s.Received += from.received.Load()
	s.Bytes += from.bytes.Load()
	s.Restarts += from.restarts.Load()
}
