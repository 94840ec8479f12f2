package socketio

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// A clusterNamespace is the adapter that the library sees for a namespace of a cluster. It passes
// what concerns other nodes to them, and leaves the rest to the rooms of this node.
type clusterNamespace struct {
	*rooms
	cluster *cluster
	name    string

	// channels
	allChannel       string // broadcasts that are not for one room
	requestChannel   string
	answerChannel    string // answers to Node's servers
	ownAnswerChannel string // answers to this node
	heartbeatChannel string

	replays   *replays // nil where casts are not logged
	takeovers takeovers

	broadcastHandler channelHandler // the owner of allChannel and of each room's channel

	hasResubscribed  atomic.Bool  // Redis has confirmed the subscriptions, and no greeting was sent since
	subscribedSince  atomic.Int64 // when they were confirmed last, Unix ns
	nodeCount        atomic.Int64 // nodes that live, this one included
	trustedNodeCount atomic.Int64 // nodeCount, but not lowered while Redis does not let this node hear
	classicNodeCount atomic.Int64 // of nodeCount, those without heartbeats: Node's

	joinerKey string // of Redis: it exists while a server that may ask for joins was heard lately

	mu            sync.Mutex
	peers         map[string]time.Time       // when each of our other nodes was heard last; guarded by mu
	silent        map[string]time.Time       // the same of nodes that went without goodbye, for EventTimeout; guarded by mu
	openRequests  map[string]*pendingRequest // guarded by mu
	joinerHeard   time.Time                  // when a server that may ask for joins was heard; guarded by mu
	joinerMarked  time.Time                  // the joinerHeard that Redis was told; guarded by mu
	hearsAllRooms bool                       // the pattern of all rooms is subscribed; guarded by mu

	isJoinerMarkRead bool // Redis was asked whether one was heard before this node started; guarded by mu
}

// addNamespace makes a namespace part of the cluster.
func (c *cluster) addNamespace(name string, r *rooms) *clusterNamespace {
	n := &clusterNamespace{
		rooms: r, cluster: c, name: name,
		allChannel:       c.cfg.Prefix + "#" + name + "#",
		requestChannel:   c.cfg.Prefix + "-request#" + name + "#",
		answerChannel:    c.cfg.Prefix + "-response#" + name + "#",
		heartbeatChannel: c.cfg.Prefix + "-heartbeat#" + name + "#",
		joinerKey:        c.cfg.Prefix + "-joins#" + name + "#",
		peers:            map[string]time.Time{}, silent: map[string]time.Time{}, openRequests: map[string]*pendingRequest{},
	}
	n.ownAnswerChannel = n.answerChannel + c.uid + "#"
	n.broadcastHandler = channelHandler{n, n.onBroadcast}
	n.nodeCount.Store(1)
	n.trustedNodeCount.Store(1)
	n.subscribedSince.Store(time.Now().UnixNano())
	r.onOccupancy = n.updateSubscription
	if c.castLog != nil {
		n.replays = newReplays(n)
		n.takeovers = newTakeovers()
		r.castLog, r.replays, r.onMembership = c.castLog, n.replays, n.noteMembership
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.namespaces = append(slices.Clip(c.namespaces), n)
	if c.isStarted {
		n.subscribeOwnChannels()
	}
	return n
}

// subscribeOwnChannels subscribes to the channels that a namespace always needs.
func (n *clusterNamespace) subscribeOwnChannels() {
	answers := &channelHandler{n, n.onResponse}
	bus := n.cluster.bus
	bus.Subscribe(redisbus.Channel{Name: n.heartbeatChannel, Owner: &channelHandler{n, n.onHeartbeat}, IsAnchor: true})
	bus.Subscribe(redisbus.Channel{Name: n.requestChannel, Owner: &channelHandler{n, n.onRequest}})
	bus.Subscribe(redisbus.Channel{Name: n.allChannel, Owner: &n.broadcastHandler})
	bus.Subscribe(redisbus.Channel{Name: n.answerChannel, Owner: answers})
	bus.Subscribe(redisbus.Channel{Name: n.ownAnswerChannel, Owner: answers})
	if n.cluster.castLog == nil {
		return
	}
	bus.Subscribe(redisbus.Channel{Name: n.takeoverChannel(n.cluster.uid), Owner: &channelHandler{n, n.onTakeover}})
	if n.name == "/" {
		n.subscribeMarks()
	}
}

// updateSubscription is called when a room gets its first member here (by is 1), and when the last
// one has left (-1), in that order.
func (n *clusterNamespace) updateSubscription(room socket.Room, by int) {
	n.updateChannel(n.roomChannel(room), by)
}

// updateChannel is updateSubscription of the room that a channel belongs to.
func (n *clusterNamespace) updateChannel(name string, by int) {
	if by > 0 {
		n.cluster.bus.Subscribe(redisbus.Channel{Name: name, Owner: &n.broadcastHandler, IsSharded: true})
	} else {
		n.cluster.bus.Unsubscribe(name)
	}
}

// subscribeAhead subscribes to the channels of rooms that a socket is about to join, and waits as
// waitSubscribed does. The caller calls release when the socket has joined them.
func (n *clusterNamespace) subscribeAhead(rooms []socket.Room) (release func()) {
	channels := n.roomChannels(rooms)
	for _, name := range channels {
		n.updateChannel(name, 1)
	}
	_ = n.waitChannels(context.Background(), channels) // then the rooms are local to this node for now; it is counted
	return func() {
		for _, name := range channels {
			n.updateChannel(name, -1)
		}
	}
}

// waitSubscribed returns when this node receives what other nodes cast to the rooms: see
// Namespace.Heard.
func (n *clusterNamespace) waitSubscribed(ctx context.Context, rooms ...socket.Room) error {
	return n.waitChannels(ctx, n.roomChannels(rooms))
}

// waitChannels is waitSubscribed for the channels of rooms.
func (n *clusterNamespace) waitChannels(ctx context.Context, channels []string) error {
	bus := n.cluster.bus
	if !bus.IsConnected() {
		return ErrUnheard
	}
	ctx, cancel := context.WithTimeout(ctx, n.cluster.cfg.SubscribeWait)
	defer cancel()
	err := bus.WaitSubscribed(ctx, channels...)
	if err != nil {
		n.cluster.late.Add(1)
	}
	return err
}

// roomChannels returns the channels of broadcasts to each of several rooms.
func (n *clusterNamespace) roomChannels(rooms []socket.Room) []string {
	channels := make([]string, len(rooms))
	for i, room := range rooms {
		channels[i] = n.roomChannel(room)
	}
	return channels
}

// roomChannel returns the channel of broadcasts to one room.
func (n *clusterNamespace) roomChannel(room socket.Room) string {
	return n.allChannel + string(room) + "#"
}

// channelFor returns the channel of broadcasts to a target.
func (n *clusterNamespace) channelFor(t target) string {
	if len(t.rooms) == 1 {
		return n.roomChannel(t.rooms[0])
	}
	return n.allChannel
}
