package socketio

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/zishang520/socket.io/v2/socket"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redisbus"
)

// ClusterConfig makes one of several servers that share a Redis. They may be ours, or
// Node's with @socket.io/redis-adapter (8.3, not sharded), and a program with
// @socket.io/redis-emitter may speak to all. Only Redis is required.
type ClusterConfig struct {
	// Redis is a client of one server, of Sentinel or of a Cluster. It keeps one connection
	// of its own for what is heard, and what is said goes through its pool.
	Redis redis.UniversalClient
	// Prefix begins the names of the channels: the adapter's option "key"; "socket.io".
	Prefix string

	Queue      int           // bytes that may wait to be published, what comes then is dropped; 8 MiB
	MaxMessage int           // bytes of one broadcast, sent or received, larger ones are dropped; 512 KiB
	Heartbeat  time.Duration // between two signs of life; a node that gave none five times is gone; 500 ms
	Timeout    time.Duration // for the other nodes to answer a request; 5 s
	Linger     time.Duration // a room's subscription outlives its last member by this; 1 s

	// OnChange is called when the nodes no longer hear each other, and when they do again.
	// It must not wait. Nil is not called.
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
	return c
}

// classicKey chooses the node of a Redis Cluster to which everything that is not sharded is published.
const classicKey = "socket.io"

// errTooLarge says that a message was not published because of its size.
var errTooLarge = errors.New("socketio: the message is too large for the cluster")

// ClusterStats count what went over the bus since the start.
type ClusterStats struct {
	Published   int64 // messages that Redis took
	Unpublished int64 // messages that it did not take, or that were dropped before
	Received    int64 // messages that came, our own too
	Bytes       int64 // of those
	Malformed   int64 // messages that came and were dropped
	Partial     int64 // requests that not every node answered
	Restarts    int64 // silent connections that were given up
	Channels    int   // that are subscribed, or about to be
	Nodes       int   // that serve the main namespace, this one included
}

// A cluster is what a server's namespaces share: the bus, and goroutines that close waits for.
type cluster struct {
	cfg ClusterConfig
	log *zap.Logger
	uid string
	bus *redisbus.Bus

	mu         sync.Mutex
	namespaces []*clusterNamespace // replaced, never changed in place; guarded by mu
	isStarted    bool                // guarded by mu

	malformed atomic.Int64
	partial   atomic.Int64
	discarded atomic.Int64 // messages that the bus was not given: too large, or not to be encoded
	tasks     chan func()  // listeners of other programs, one after the other
	done      chan struct{}
	heartbeatNow   chan struct{} // capacity 1
	closing   sync.Once
	running   sync.WaitGroup
}

// A clusterNamespace is one namespace's part in the cluster: the adapter that the library
// sees. What it does not do itself, the rooms of this node do.
type clusterNamespace struct {
	*rooms
	cluster  *cluster
	name string

	allChannel, requestChannel, answerChannel, heartbeatChannel string // channels
	ownAnswerChannel                             string // the channel of answers for this node alone

	broadcastHandler channelHandler // the owner of the channel of each room

	hasResubscribed atomic.Bool  // Redis has just confirmed the subscriptions
	subscribedSince   atomic.Int64 // since when we are there, Unix ns
	nodeCount   atomic.Int64 // this one included
	trustedNodeCount   atomic.Int64 // nodes, as they were when Redis last let us hear
	classicNodeCount atomic.Int64 // of them, those without heartbeats

	mu       sync.Mutex
	peers    map[string]time.Time // when our other nodes were heard; guarded by mu
	openRequests map[string]*pendingRequest  // that wait for answers; guarded by mu
}

func newCluster(cfg ClusterConfig, log *zap.Logger) *cluster {
	cfg = cfg.withDefaults()
	uid := make([]byte, 5)
	_, _ = rand.Read(uid) // never fails
	c := &cluster{
		cfg: cfg, log: log, uid: base64.RawURLEncoding.EncodeToString(uid)[:6], // as long as Node's
		tasks: make(chan func(), 256), done: make(chan struct{}), heartbeatNow: make(chan struct{}, 1),
	}
	c.bus = redisbus.New(redisbus.Config{
		Redis: cfg.Redis, HomeKey: classicKey, QueueBytes: cfg.Queue, MaxMessage: cfg.MaxMessage, Linger: cfg.Linger,
		OnMessage: c.handleMessage,
		OnUp:      func(owner any) { owner.(*channelHandler).namespace.handleSubscribed() },
	})
	return c
}

// addNamespace makes a namespace part of the cluster.
func (c *cluster) addNamespace(name string, r *rooms) *clusterNamespace {
	n := &clusterNamespace{
		rooms: r, cluster: c, name: name,
		allChannel:       c.cfg.Prefix + "#" + name + "#",
		requestChannel:   c.cfg.Prefix + "-request#" + name + "#",
		answerChannel:    c.cfg.Prefix + "-response#" + name + "#",
		heartbeatChannel: c.cfg.Prefix + "-heartbeat#" + name + "#",
		peers:     map[string]time.Time{}, openRequests: map[string]*pendingRequest{},
	}
	n.ownAnswerChannel = n.answerChannel + c.uid + "#"
	n.broadcastHandler = channelHandler{n, n.onBroadcast}
	n.nodeCount.Store(1)
	n.trustedNodeCount.Store(1)
	n.subscribedSince.Store(time.Now().UnixNano())
	r.onOccupancy = n.updateSubscription
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces = append(slices.Clip(c.namespaces), n)
	if c.isStarted {
		n.subscribeOwnChannels()
	}
	return n
}

// subscribeOwnChannels wishes for the channels that a namespace always needs.
func (n *clusterNamespace) subscribeOwnChannels() {
	answers := &channelHandler{n, n.onResponse}
	bus := n.cluster.bus
	bus.Subscribe(redisbus.Channel{Name: n.heartbeatChannel, Owner: &channelHandler{n, n.onHeartbeat}, IsAnchor: true})
	bus.Subscribe(redisbus.Channel{Name: n.requestChannel, Owner: &channelHandler{n, n.onRequest}})
	bus.Subscribe(redisbus.Channel{Name: n.allChannel, Owner: &n.broadcastHandler})
	bus.Subscribe(redisbus.Channel{Name: n.answerChannel, Owner: answers})
	bus.Subscribe(redisbus.Channel{Name: n.ownAnswerChannel, Owner: answers})
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

// start begins to hear and to speak.
func (c *cluster) start() {
	c.mu.Lock()
	c.isStarted = true
	for _, n := range c.namespaces {
		n.subscribeOwnChannels()
	}
	c.mu.Unlock()
	c.bus.Start()
	c.running.Go(c.runHeartbeat)
	c.running.Go(c.runTasks)
}

// close says goodbye, and returns when nothing runs any more.
func (c *cluster) close() {
	c.closing.Do(func() {
		c.forEachNamespace(func(n *clusterNamespace) { n.sendHeartbeat(beatBye) })
		close(c.done)
	})
	c.bus.Close()
	c.running.Wait()
	c.forEachNamespace((*clusterNamespace).expireAllRequests)
}

// runTasks runs what others asked for and what may wait: listeners of server-side events.
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

// callGuarded keeps a panic of somebody's callback to itself.
func (c *cluster) callGuarded(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("cluster listener panicked", zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	f()
}

// A channelHandler owns channels of the bus: it handles their messages, and reports false for one that
// is malformed. It must not wait, and not keep the message.
type channelHandler struct {
	namespace *clusterNamespace
	handle    func(message []byte) bool
}

// handleMessage has a message handled, on the goroutine of the bus that reads.
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

// collectStats for Server.ClusterStats.
func (c *cluster) collectStats() ClusterStats {
	bus := c.bus.Stats()
	s := ClusterStats{
		Published: bus.Published, Unpublished: bus.Unpublished + c.discarded.Load(),
		Received: bus.Received, Bytes: bus.Bytes, Restarts: bus.Restarts, Channels: bus.Channels,
		Malformed: c.malformed.Load(), Partial: c.partial.Load(),
	}
	c.forEachNamespace(func(n *clusterNamespace) {
		if n.name == "/" {
			s.Nodes = int(n.nodeCount.Load())
		}
	})
	return s
}

// roomChannel is where a broadcast to one room is heard.
func (n *clusterNamespace) roomChannel(room socket.Room) string {
	return n.allChannel + string(room) + "#"
}

// updateSubscription is called when a room gets its first member, and when the last has left. The order
// of the calls is that of the events.
func (n *clusterNamespace) updateSubscription(room socket.Room, by int) {
	name := n.roomChannel(room)
	if by > 0 {
		n.cluster.bus.Subscribe(redisbus.Channel{Name: name, Owner: &n.broadcastHandler, IsSharded: true})
	} else {
		n.cluster.bus.Unsubscribe(name)
	}
}

var scratchPool = sync.Pool{New: func() any { return new([]byte) }}

// publishEvent publishes an event to the other nodes: list is its name and arguments as JSON, in
// brackets. It does not wait.
func (n *clusterNamespace) publishEvent(list []byte, attachments [][]byte, t target) {
	n.publishBroadcast(list, attachments, t, nil)
}

// maxNodesForOneMessage all hear what is for several rooms at once: it is one message for them, and less for all than one for each room.
const maxNodesForOneMessage = 2

// publishToEachRoom is tell for several rooms: as one message where there are few nodes, else each room by itself, so that only
// those hear it who have members there. The event is packed once.
func (n *clusterNamespace) publishToEachRoom(list []byte, rooms []socket.Room) {
	buf := scratchPool.Get().(*[]byte)
	defer scratchPool.Put(buf)
	b, ok := n.appendBroadcastHead(*buf, list, nil)
	event := len(b)
	each := 1
	if n.trustedNodeCount.Load() <= maxNodesForOneMessage && !n.cluster.bus.IsCluster() {
		each = len(rooms)
	}
	for ; len(rooms) > 0; rooms = rooms[each:] {
		t := target{rooms: rooms[:each]}
		b = t.appendTo(b[:event])
		n.publishPacked(b, ok, t, nil)
	}
	if *buf = b; cap(b) > 64<<10 {
		*buf = nil
	}
}

// appendBroadcastHead begins a message with all that is before its target.
func (n *clusterNamespace) appendBroadcastHead(buf, list []byte, attachments [][]byte) (b []byte, ok bool) {
	nsp := n.name
	if nsp == "/" {
		nsp = ""
	}
	return appendPacket(jsonpack.AppendText(append(buf[:0], broadcastHead), n.cluster.uid), list, attachments, nsp, busDepth)
}

// publishBroadcast is tell; an inquiry asks how many it reaches.
func (n *clusterNamespace) publishBroadcast(list []byte, attachments [][]byte, t target, q *pendingRequest) {
	buf := scratchPool.Get().(*[]byte)
	defer scratchPool.Put(buf)
	b, ok := n.appendBroadcastHead(*buf, list, attachments)
	b = t.appendTo(b)
	var told func(receivers, alsoCounted int64, err error)
	if q != nil {
		b[0] = countingHead
		b = jsonpack.AppendText(b, q.id)
		told = q.setListeners
	}
	n.publishPacked(b, ok, t, told)
	if *buf = b; cap(b) > 64<<10 {
		*buf = nil
	}
}

// publishPacked gives a message to the publisher, on the channel of its target; ok is false when it could not be packed.
func (n *clusterNamespace) publishPacked(b []byte, ok bool, t target, told func(receivers, alsoCounted int64, err error)) {
	if !ok || len(b) > n.cluster.cfg.MaxMessage {
		n.cluster.discarded.Add(1)
		if told != nil {
			told(0, 0, errTooLarge)
		}
		return
	}
	n.cluster.bus.Publish(redisbus.Message{
		Channel: n.channelFor(t), Payload: b, OnPublished: told,
		IsSharded: len(t.rooms) == 1 && n.classicNodeCount.Load() == 0 && n.cluster.bus.HasShardedChannels(),
	})
}

// channelFor is that of a target's one room, or else the one for all.
func (n *clusterNamespace) channelFor(t target) string {
	if len(t.rooms) == 1 {
		return n.roomChannel(t.rooms[0])
	}
	return n.allChannel
}

// onBroadcast delivers what another node broadcasts.
func (n *clusterNamespace) onBroadcast(b []byte) bool {
	if len(b) > n.cluster.cfg.MaxMessage {
		return false
	}
	ours := len(b) > 2+len(n.cluster.uid) && b[1] == 0xa0|byte(len(n.cluster.uid)) && string(b[2:2+len(n.cluster.uid)]) == n.cluster.uid
	if ours && b[0] != countingHead {
		return true
	}
	m, ok := readBroadcast(b)
	if !ok {
		return false
	}
	if ours {
		n.noteOwnBroadcast(&m)
		return true
	}
	if string(m.nsp) != n.name {
		return true
	}
	f, ok := m.frameForMembers(n.name, 2*n.cluster.cfg.MaxMessage)
	if !ok {
		return false
	}
	if len(m.rooms) == 1 && m.position.number > 0 {
		n.castInOrder(m.target, f)
		return true
	}
	if len(m.rooms) == 1 && len(m.except) == 0 {
		n.answerCount(&m, n.castToRoom(m.rooms[0], f))
	} else {
		n.deliverFrames(f, m.broadcastOptions(), nil)
	}
	f.releaseFrames()
	return true
}

// isWireRoomName is a room that other nodes may ask to join: any but an empty one, or one that is
// absurdly long.
func isWireRoomName(room socket.Room) bool {
	return room != "" && len(room) <= 512 && !strings.ContainsRune(string(room), 0)
}
