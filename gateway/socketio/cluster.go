package socketio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redisbus"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/internal/tracing"
)

// ClusterConfig makes a server one of several that share a Redis. The others may be ours, or Node's
// with @socket.io/redis-adapter (8.3, not sharded), and programs with @socket.io/redis-emitter may
// emit to all of them. Only Redis is required.
type ClusterConfig struct {
	// Redis is a client of one server, of Sentinel or of a Cluster. Messages are published over its
	// pool; connections for what is received are made beside it.
	Redis redis.UniversalClient
	// Prefix begins the names of the channels, as the adapter's option "key" does. The default is
	// "socket.io".
	Prefix string

	Queue      int           // bytes that may wait to be published; what comes beyond is dropped; 8 MiB
	MaxMessage int           // bytes of one broadcast, sent or received; larger ones are dropped; 512 KiB
	Heartbeat  time.Duration // between two heartbeats; a node that missed five is gone; 500 ms
	Timeout    time.Duration // for the other nodes to answer a request; 5 s
	Linger     time.Duration // a room's subscription outlives its last member by this; 1 s

	// SubscribeWait bounds how long the answer to a CONNECT, and a join, waits until Redis has
	// confirmed that this node receives what is cast to the socket's rooms; 250 ms.
	SubscribeWait time.Duration
	// EventTimeout is how long a Receiver may serve one event; 5 s. A client that goes on with its
	// connection here waits at most about so long for an event that another node serves.
	EventTimeout time.Duration
	// JoinWindow is for how long after a Node server, an emitter or a join request was heard this node
	// receives the casts to all rooms: without that, a socket misses what another server sends
	// right behind its socketsJoin. 1 h; a negative value never does so.
	JoinWindow time.Duration

	// Log, if not nil, makes casts be logged (Namespace.CastLogged). A Cluster has no one order: there
	// it is ignored.
	Log *LogConfig

	// Tracer traces what other nodes cast for traced events; nil traces nothing.
	Tracer *tracing.Tracer

	// OnChange, if not nil, is called when the nodes no longer hear each other, and when they do
	// again. It must not wait.
	OnChange func(ClusterState)
}

func (c ClusterConfig) withDefaults() ClusterConfig {
	if c.Prefix == "" {
		c.Prefix = "socket.io"
	}
	if c.Queue <= 0 {
		c.Queue = 8 << 20
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = 512 << 10
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 500 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Linger <= 0 {
		c.Linger = time.Second
	}
	if c.EventTimeout <= 0 {
		c.EventTimeout = 5 * time.Second
	}
	if c.JoinWindow == 0 {
		c.JoinWindow = time.Hour
	}
	if c.SubscribeWait <= 0 {
		c.SubscribeWait = 250 * time.Millisecond
	}
	return c
}

// homeKey chooses the node of a Redis Cluster to which everything that is not sharded is published.
const homeKey = "socket.io"

// ClusterStats count the messages between nodes since the start.
type ClusterStats struct {
	Published   int64 // messages that Redis took
	Unpublished int64 // messages that it did not take, or that were dropped before
	Received    int64 // messages that came, our own too
	Bytes       int64 // bytes of the messages that came
	Malformed   int64 // messages that came and were dropped
	Partial     int64 // requests that not every node answered
	Restarts    int64 // silent connections that were given up
	Channels    int   // channels that are subscribed, or about to be
	Nodes       int   // nodes that serve the main namespace, this one included

	// LateSubscriptions count the CONNECTs and joins that were answered before Redis had confirmed
	// the subscription.
	LateSubscriptions int64
}

// A cluster is what the namespaces of a server share: the bus to the other nodes, and two
// goroutines.
type cluster struct {
	cfg ClusterConfig
	log *zap.Logger
	uid string // names this node on the bus: six characters, like the uids of Node's adapter
	bus *redisbus.Bus

	castLog    *castlog.Log // nil where casts are not logged
	recorder   *recorder    // the same
	onMissed   func()
	catchUpNow redisx.Signal
	restartNow redisx.Signal // nothing is heard over the connection

	lifetime context.Context // ends when the cluster closes
	endLife  context.CancelFunc

	mu         sync.Mutex
	namespaces []*clusterNamespace // replaced, never changed in place; guarded by mu
	isStarted  bool                // guarded by mu

	malformed atomic.Int64
	partial   atomic.Int64
	late      atomic.Int64 // see ClusterStats.LateSubscriptions
	discarded atomic.Int64 // messages that the bus was not given: too large, or not to be encoded

	tasks        chan func() // listeners of server-side events, which run one after the other
	heartbeatNow redisx.Signal
	done         chan struct{}
	closing      sync.Once
	running      sync.WaitGroup
}

func newCluster(cfg ClusterConfig, log *zap.Logger) *cluster {
	cfg = cfg.withDefaults()
	uid := make([]byte, 5)
	_, _ = rand.Read(uid) // it never fails
	c := &cluster{
		cfg: cfg, log: log, uid: base64.RawURLEncoding.EncodeToString(uid)[:6],
		tasks: make(chan func(), 256), heartbeatNow: redisx.NewSignal(), catchUpNow: redisx.NewSignal(), restartNow: redisx.NewSignal(), done: make(chan struct{}),
	}
	c.lifetime, c.endLife = context.WithCancel(context.Background())
	if cfg.Log != nil && redisx.IsSingleServer(cfg.Redis) {
		c.castLog = c.newLog(*cfg.Log)
		c.recorder = newRecorder(c)
	}
	c.bus = redisbus.New(redisbus.Config{
		Redis: cfg.Redis, HomeKey: homeKey, QueueBytes: cfg.Queue, MaxMessage: cfg.MaxMessage, Linger: cfg.Linger,
		OnMessage: c.handleMessage,
		OnDial: func() {
			if c.castLog != nil {
				c.castLog.BeginCatchUp()
				c.forEachNamespace(func(n *clusterNamespace) { n.replays.forgetAll() })
			}
		},
		OnUp: func(owner any) { owner.(*channelHandler).namespace.handleSubscribed() },
	})
	return c
}

// start begins to publish and to receive.
func (c *cluster) start() {
	c.mu.Lock()
	c.isStarted = true
	for _, n := range c.namespaces {
		n.subscribeOwnChannels()
	}
	c.mu.Unlock()
	if c.castLog != nil {
		c.castLog.Start()
		c.running.Go(c.runCatchUps)
		c.running.Go(c.recorder.run)
	}
	c.bus.Start()
	c.running.Go(c.runHeartbeat)
	c.running.Go(c.runTasks)
}

// close tells the other nodes that this one leaves, and returns when no goroutine is left.
func (c *cluster) close() {
	c.closing.Do(func() {
		c.forEachNamespace(func(n *clusterNamespace) { n.sendHeartbeat(beatBye) })
		if c.castLog != nil {
			c.recorder.close()
			c.castLog.Close()
		}
		close(c.done)
		c.endLife()
	})
	c.bus.Close()
	c.running.Wait()
	c.forEachNamespace((*clusterNamespace).expireAllRequests)
}

func (c *cluster) allNamespaces() []*clusterNamespace {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.namespaces
}

func (c *cluster) forEachNamespace(f func(*clusterNamespace)) {
	for _, n := range c.allNamespaces() {
		f(n)
	}
}

// runTasks runs what other nodes asked for and what may wait: listeners of server-side events.
func (c *cluster) runTasks() {
	for {
		select {
		case f := <-c.tasks:
			c.callGuarded(f)
		case <-c.done:
			return
		}
	}
}

// callGuarded calls a callback of the application and logs its panic.
func (c *cluster) callGuarded(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("cluster listener panicked", zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	f()
}

// A channelHandler owns channels of the bus: it handles their messages, and reports false for a
// malformed one. It must not wait, and not keep the message.
type channelHandler struct {
	namespace *clusterNamespace
	handle    func(message []byte) bool
}

// handleMessage has a message handled, on the bus's goroutine that reads.
func (c *cluster) handleMessage(owner any, message []byte) {
	ok := false
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("cluster message panicked", zap.Any("panic", p), zap.Stack("stack"))
		}
		if !ok {
			c.malformed.Add(1)
		}
	}()
	ok = owner.(*channelHandler).handle(message)
}

// collectLogStats returns the counts for Server.LogStats.
func (c *cluster) collectLogStats() LogStats {
	if c.castLog == nil {
		return LogStats{}
	}
	return c.castLog.Stats()
}

// countUnpublished counts the messages for other nodes that were dropped since the start.
func (c *cluster) countUnpublished() int64 { return c.bus.Stats().Unpublished + c.discarded.Load() }

// collectStats returns the counts for Server.ClusterStats.
func (c *cluster) collectStats() ClusterStats {
	bus := c.bus.Stats()
	s := ClusterStats{
		Published: bus.Published, Unpublished: bus.Unpublished + c.discarded.Load(),
		Received: bus.Received, Bytes: bus.Bytes, Restarts: bus.Restarts, Channels: bus.Channels,
		Malformed: c.malformed.Load(), Partial: c.partial.Load(), LateSubscriptions: c.late.Load(),
	}
	c.forEachNamespace(func(n *clusterNamespace) {
		if n.name == "/" {
			s.Nodes = int(n.nodeCount.Load())
		}
	})
	return s
}
