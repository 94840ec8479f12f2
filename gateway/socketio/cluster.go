package socketio

import (
	"bytes"
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

// Why a message did not reach Redis.
var (
	errQueueFull = errors.New("socketio: too much waits to be published")
	errRedisAway = errors.New("socketio: redis takes nothing")
	errTooLarge  = errors.New("socketio: too large for the cluster")
)

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

// cluster is what a server's namespaces share: one publisher, one subscriber (two on a Redis
// Cluster), and their goroutines, which close waits for.
type cluster struct {
	cfg  ClusterConfig
	log  *zap.Logger
	uid  string
	pub  *publisher
	subs *subscriber

	shards  *shards     // nil where Redis is no Cluster
	sharded *subscriber // of the shards; nil there too

	mu         sync.Mutex
	namespaces []*clusterNamespace // replaced, never changed in place; guarded by mu
	started    bool                // guarded by mu

	malformed atomic.Int64
	partial   atomic.Int64
	tasks     chan func() // listeners of other programs, one after the other
	done      chan struct{}
	beatNow   chan struct{} // capacity 1
	closing   sync.Once
	running   sync.WaitGroup
}

// A clusterNamespace is one namespace's part in the cluster: the adapter that the library
// sees. What it does not do itself, the rooms of this node do.
type clusterNamespace struct {
	*rooms
	hub  *cluster
	name string

	all, request, answer, heartbeat string // channels
	own                             string // the channel of answers for this node alone

	arrived atomic.Bool  // Redis has just confirmed the subscriptions
	young   atomic.Int64 // since when we are there, Unix ns
	nodes   atomic.Int64 // this one included
	known   atomic.Int64 // nodes, as they were when Redis last let us hear
	classic atomic.Int64 // of them, those without heartbeats

	mu       sync.Mutex
	peers    map[string]time.Time // when our other nodes were heard; guarded by mu
	requests map[string]*inquiry  // that wait for answers; guarded by mu
}

func newCluster(cfg ClusterConfig, log *zap.Logger) *cluster {
	cfg = cfg.withDefaults()
	uid := make([]byte, 5)
	_, _ = rand.Read(uid) // never fails
	c := &cluster{
		cfg: cfg, log: log, uid: base64.RawURLEncoding.EncodeToString(uid)[:6], // as long as Node's
		tasks: make(chan func(), 256), done: make(chan struct{}), beatNow: make(chan struct{}, 1),
	}
	c.subs = newSubscriber(cfg.Linger, c.hear)
	c.pub = newPublisher(cfg.Redis, cfg.Queue)
	c.subs.wire = newLine(c.subs, cfg.Redis, cfg.MaxMessage)
	if client, is := cfg.Redis.(*redis.ClusterClient); is {
		c.sharded = newSubscriber(cfg.Linger, c.hear)
		c.shards = newShards(c.sharded, client)
		c.sharded.wire = c.shards
	}
	return c
}

// join makes a namespace part of the cluster.
func (c *cluster) join(name string, r *rooms) *clusterNamespace {
	n := &clusterNamespace{
		rooms: r, hub: c, name: name,
		all:       c.cfg.Prefix + "#" + name + "#",
		request:   c.cfg.Prefix + "-request#" + name + "#",
		answer:    c.cfg.Prefix + "-response#" + name + "#",
		heartbeat: c.cfg.Prefix + "-heartbeat#" + name + "#",
		peers:     map[string]time.Time{}, requests: map[string]*inquiry{},
	}
	n.own = n.answer + c.uid + "#"
	n.nodes.Store(1)
	n.known.Store(1)
	n.young.Store(time.Now().UnixNano())
	r.watch = n.watch
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces = append(slices.Clip(c.namespaces), n)
	if c.started {
		n.listen()
	}
	return n
}

// listen wishes for the channels that a namespace always needs.
func (n *clusterNamespace) listen() {
	for name, kind := range map[string]byte{
		n.heartbeat: channelHeartbeat, n.request: channelRequest, n.all: channelAll,
		n.answer: channelResponse, n.own: channelResponse,
	} {
		n.hub.subs.want(name, n, kind, 1)
	}
}

func (c *cluster) all() []*clusterNamespace {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.namespaces
}

func (c *cluster) each(f func(*clusterNamespace)) {
	for _, n := range c.all() {
		f(n)
	}
}

// start begins to hear and to speak.
func (c *cluster) start() {
	c.mu.Lock()
	c.started = true
	for _, n := range c.namespaces {
		n.listen()
	}
	c.mu.Unlock()
	runs := []func(<-chan struct{}){c.subs.wire.run, c.subs.sync, c.beat, c.work, c.pub.run}
	if c.sharded != nil {
		runs = append(runs, c.shards.run, c.sharded.sync)
	}
	for _, run := range runs {
		c.running.Go(func() { run(c.done) })
	}
}

// close says goodbye, and returns when nothing runs any more.
func (c *cluster) close() {
	c.closing.Do(func() {
		c.each(func(n *clusterNamespace) { n.say(beatBye) })
		close(c.done)
	})
	c.subs.wire.close()
	c.running.Wait()
	c.each((*clusterNamespace).abandon)
}

// work runs what others asked for and what may wait: listeners of server-side events.
func (c *cluster) work(done <-chan struct{}) {
	for {
		select {
		case f := <-c.tasks:
			c.guarded(f)
		case <-done:
			return
		}
	}
}

// guarded keeps a panic of somebody's callback to itself.
func (c *cluster) guarded(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("cluster listener panicked", zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	f()
}

// hear is called for each message, on the subscriber's goroutine. It must not wait. What it
// makes of a broadcast is copied; other messages may be kept in part.
func (c *cluster) hear(to *channel, b []byte) {
	ok := false
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("cluster message panicked", zap.Any("panic", p), zap.Stack("stack"))
		}
		if !ok {
			c.malformed.Add(1)
		}
	}()
	switch to.kind {
	case channelRoom, channelAll:
		ok = to.nsp.onBroadcast(b)
	case channelRequest:
		ok = to.nsp.onRequest(bytes.Clone(b))
	case channelResponse:
		ok = to.nsp.onResponse(bytes.Clone(b))
	case channelHeartbeat:
		ok = to.nsp.onHeartbeat(string(b))
	}
}

// stats for Server.ClusterStats.
func (c *cluster) stats() ClusterStats {
	s := ClusterStats{
		Published: c.pub.published.Load(), Unpublished: c.pub.failed.Load(),
		Received: c.subs.received.Load(), Bytes: c.subs.bytes.Load(), Malformed: c.malformed.Load(), Partial: c.partial.Load(), Restarts: c.subs.restarts.Load(),
	}
	c.subs.mu.Lock()
	s.Channels = len(c.subs.channels)
	c.subs.mu.Unlock()
	if c.sharded != nil {
		s.Received += c.sharded.received.Load()
		s.Bytes += c.sharded.bytes.Load()
		s.Restarts += c.sharded.restarts.Load()
	}
	c.each(func(n *clusterNamespace) {
		if n.name == "/" {
			s.Nodes = int(n.nodes.Load())
		}
	})
	return s
}

// roomChannel is where a broadcast to one room is heard.
func (n *clusterNamespace) roomChannel(room socket.Room) string {
	return n.all + string(room) + "#"
}

// watch is called when a room gets its first member, and when the last has left. The order
// of the calls is that of the events.
func (n *clusterNamespace) watch(room socket.Room, by int) {
	name := n.roomChannel(room)
	n.hub.subs.want(name, n, channelRoom, by)
	if n.hub.sharded != nil {
		n.hub.sharded.want(name, n, channelRoom, by)
	}
}

var scratch = sync.Pool{New: func() any { return new([]byte) }}

// tell publishes an event to the other nodes: list is its name and arguments as JSON, in
// brackets. It does not wait.
func (n *clusterNamespace) tell(list []byte, attachments [][]byte, t target) {
	n.publish(list, attachments, t, nil)
}

// fewNodes all hear what is for several rooms at once: it is one message for them, and less for all than one for each room.
const fewNodes = 2

// tellEach is tell for several rooms: as one message where there are few nodes, else each room by itself, so that only
// those hear it who have members there. The event is packed once.
func (n *clusterNamespace) tellEach(list []byte, rooms []socket.Room) {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	b, ok := n.head(*buf, list, nil)
	event := len(b)
	each := 1
	if n.known.Load() <= fewNodes && n.hub.shards == nil {
		each = len(rooms)
	}
	for ; len(rooms) > 0; rooms = rooms[each:] {
		t := target{rooms: rooms[:each]}
		b = t.append(b[:event])
		n.hand(b, ok, t, nil)
	}
	if *buf = b; cap(b) > 64<<10 {
		*buf = nil
	}
}

// head begins a message with all that is before its target.
func (n *clusterNamespace) head(buf, list []byte, attachments [][]byte) (b []byte, ok bool) {
	nsp := n.name
	if nsp == "/" {
		nsp = ""
	}
	return appendPacket(appendText(append(buf[:0], broadcastHead), n.hub.uid), list, attachments, nsp, busDepth)
}

// publish is tell; an inquiry asks how many it reaches.
func (n *clusterNamespace) publish(list []byte, attachments [][]byte, t target, q *inquiry) {
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	b, ok := n.head(*buf, list, attachments)
	b = t.append(b)
	var told hearing
	if q != nil {
		b[0] = countingHead
		b = appendText(b, q.id)
		told = q.listeners
	}
	n.hand(b, ok, t, told)
	if *buf = b; cap(b) > 64<<10 {
		*buf = nil
	}
}

// hand gives a message to the publisher, on the channel of its target; ok is false when it could not be packed.
func (n *clusterNamespace) hand(b []byte, ok bool, t target, told hearing) {
	if !ok || len(b) > n.hub.cfg.MaxMessage {
		n.hub.pub.failed.Add(1)
		if told != nil {
			told(0, 0, errTooLarge)
		}
		return
	}
	switch {
	case len(t.rooms) == 1 && n.hub.shards != nil && !n.hub.shards.absent.Load() && n.classic.Load() == 0:
		n.hub.pub.shard(n.channelOf(t), b, told)
	default:
		n.hub.pub.ask(n.channelOf(t), "", b, told)
	}
}

// channelOf is that of a target's one room, or else the one for all.
func (n *clusterNamespace) channelOf(t target) string {
	if len(t.rooms) == 1 {
		return n.roomChannel(t.rooms[0])
	}
	return n.all
}

// onBroadcast delivers what another node broadcasts.
func (n *clusterNamespace) onBroadcast(b []byte) bool {
	if len(b) > n.hub.cfg.MaxMessage {
		return false
	}
	ours := len(b) > 2+len(n.hub.uid) && b[1] == 0xa0|byte(len(n.hub.uid)) && string(b[2:2+len(n.hub.uid)]) == n.hub.uid
	if ours && b[0] != countingHead {
		return true
	}
	m, ok := readBroadcast(b)
	if !ok {
		return false
	}
	if ours {
		n.selfHeard(&m)
		return true
	}
	if string(m.nsp) != n.name {
		return true
	}
	f, ok := m.frames(n.name, 2*n.hub.cfg.MaxMessage)
	if !ok {
		return false
	}
	if len(m.rooms) == 1 && m.place.n > 0 {
		n.inOrder(m.target, f)
		return true
	}
	if len(m.rooms) == 1 && len(m.except) == 0 {
		n.counted(&m, n.cast(m.rooms[0], f))
	} else {
		n.deliver(f, m.options(), nil)
	}
	f.free()
	return true
}

// wireName is a room that other nodes may ask to join: any but an empty one, or one that is
// absurdly long.
func wireName(room socket.Room) bool {
	return room != "" && len(room) <= 512 && !strings.ContainsRune(string(room), 0)
}
