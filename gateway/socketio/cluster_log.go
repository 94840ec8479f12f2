package socketio

import (
	"context"
	"strings"
	"time"

	"github.com/zishang520/socket.io/v2/socket"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file casts by the log (internal/castlog): everybody hears what was acknowledged, in one
// order. A cast that is logged is delivered here when this node hears it, as on every other node.

// LogConfig is how casts are logged. The zero value works.
type LogConfig struct {
	// KeepFor is for how long a client may go on with a connection that has ended; 2 min. The logs are
	// kept longer by Patience.
	KeepFor time.Duration
	// Patience is for how long a connection may seem to live after its client has heard the last cast:
	// the ping timeout and more. The default is twice Engine's PingInterval and PingTimeout.
	Patience time.Duration
	// MemoryBytes is how much of Redis's memory the logs may take; 256 MiB.
	MemoryBytes int
	// AwayAfter is for how long Redis may not confirm a cast before it counts as away; 250 ms.
	AwayAfter time.Duration
	// Server names the Redis server that writes go to; see castlog.Config.
	Server func() string
	// PrivatePrefix begins the names of the rooms, in any namespace, that are each of one user.
	// They are logged only while a record of the user lives. "" is for none.
	PrivatePrefix string
	// OnMissed, if not nil, is called when casts that were acknowledged may never be heard by the
	// members on this node. It must not wait.
	OnMissed func()
}

// LogStats count what happened since the start.
type LogStats = castlog.Stats

// newLog makes the log of a cluster.
func (c *cluster) newLog(cfg LogConfig) *castlog.Log {
	if cfg.OnMissed == nil {
		cfg.OnMissed = func() {}
	}
	c.onMissed = func() {
		c.recorder.noteMissed()
		cfg.OnMissed()
	}
	var isPrivate func(string) bool
	if cfg.PrivatePrefix != "" {
		isPrivate = func(room string) bool {
			_, name, _ := strings.Cut(room, "#") // behind the namespace
			return strings.HasPrefix(name, cfg.PrivatePrefix)
		}
	}
	return castlog.New(castlog.Config{
		IsPrivate: isPrivate,
		Redis:     c.cfg.Redis, Prefix: c.cfg.Prefix, Node: c.uid, Server: cfg.Server,
		KeepFor: cfg.KeepFor + cfg.Patience, RecordsKeptFor: cfg.KeepFor, MemoryBytes: cfg.MemoryBytes, QueueBytes: c.cfg.Queue, AwayAfter: cfg.AwayAfter,
		Check: c.checkLogged, Deliver: c.deliverLogged,
		Nodes: c.countOwnNodes, OnForgotten: c.catchUpNow.Notify, OnMissed: c.onMissed,
		OnDeaf: c.restartNow.Notify,
		Report: func(err error) { c.log.Warn("the log of casts", zap.Error(err)) },
	})
}

// countOwnNodes returns how many of our nodes live, this one included.
func (c *cluster) countOwnNodes() int {
	count := 1
	if n := c.findNamespace("/"); n != nil {
		count = int(n.trustedNodeCount.Load() - n.classicNodeCount.Load())
	}
	return max(1, count)
}

// runCatchUps reads what this node missed, each time after it was deaf, and replaces a connection
// over which it hears nothing.
func (c *cluster) runCatchUps() {
	for {
		select {
		case <-c.restartNow.C():
			c.bus.Restart() // then it is dialled, and read
		case <-c.catchUpNow.C():
			c.catchUp()
		case <-c.done:
			return
		}
	}
}

// Times of a catch-up.
const (
	catchUpTimeout = 10 * time.Second
	catchUpRetry   = 100 * time.Millisecond
)

// catchUp reads what this node missed, and tries until it can.
func (c *cluster) catchUp() {
	for {
		generation := c.castLog.Generation()
		isMissed, err := c.readMissed(generation)
		if err == nil {
			if isMissed {
				c.log.Warn("this node may have missed casts: the logs do not reach back to what it heard last")
				c.callGuarded(c.onMissed)
			}
			return
		}
		select {
		case <-time.After(catchUpRetry):
		case <-c.done:
			return
		}
	}
}

func (c *cluster) readMissed(generation int) (isMissed bool, err error) {
	ctx, cancel := context.WithTimeout(c.lifetime, catchUpTimeout)
	defer cancel()
	if err := c.bus.WaitAllSubscribed(ctx); err != nil {
		return false, err
	}
	var rooms []string
	c.forEachNamespace(func(n *clusterNamespace) { rooms = n.appendLoggedRooms(rooms) })
	return c.castLog.CatchUp(ctx, generation, rooms)
}

// appendLoggedRooms appends the names, in the log, of the rooms that have members here.
func (n *clusterNamespace) appendLoggedRooms(names []string) []string {
	n.rooms.mu.RLock()
	defer n.rooms.mu.RUnlock()
	for name := range n.rooms.rooms {
		names = append(names, n.loggedRoom(name))
	}
	return names
}

// loggedRoom returns the name of a room in the log.
func (n *clusterNamespace) loggedRoom(room socket.Room) string { return n.name + "#" + string(room) }

// onLogged takes a broadcast that was logged, of this node or another one.
func (n *clusterNamespace) onLogged(b []byte) bool {
	sequence, at, ok := castlog.ReadTail(b)
	uid, isText := jsonpack.ReadHead(b, 1)
	if !ok || !isText || uid.Kind != jsonpack.KindText {
		return false
	}
	origin := b[uid.Next : uid.Next+uid.Len]
	if b[0] == loggedCountingHead && string(origin) == n.cluster.uid {
		if m, ok := readBroadcast(b); ok {
			n.noteOwnBroadcast(&m)
		}
	}
	return n.cluster.castLog.Hear(origin, sequence, at, b, n)
}

// onMark takes a position that was published without a cast.
func (n *clusterNamespace) onMark(b []byte) bool {
	at, ok := castlog.ReadMark(b)
	return ok && n.cluster.castLog.HearMark(at)
}

// checkLogged tells whether an entry of a log is a broadcast, and who sent it.
func (c *cluster) checkLogged(b []byte) (origin string, ok bool) {
	if len(b) > c.cfg.MaxMessage || len(b) == 0 || b[0] != loggedHead && b[0] != loggedCountingHead {
		return "", false
	}
	m, ok := readBroadcast(b)
	return string(m.uid), ok
}

// deliverLogged delivers a broadcast that was heard, or read from a log.
func (c *cluster) deliverLogged(owner any, b []byte, at castlog.Position) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("cluster message panicked", zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	m, ok := readBroadcast(b)
	if !ok {
		c.malformed.Add(1)
		return
	}
	n, _ := owner.(*clusterNamespace)
	if n == nil || n.name != string(m.nsp) {
		if n = c.findNamespace(string(m.nsp)); n == nil {
			return
		}
	}
	if !n.deliverBroadcast(&m, at, true) {
		c.malformed.Add(1)
	}
}

func (c *cluster) findNamespace(name string) *clusterNamespace {
	for _, n := range c.allNamespaces() {
		if n.name == name {
			return n
		}
	}
	return nil
}

// An ownCast delivers a cast of this node to the members here. It is a castlog.Member.
type ownCast struct {
	rooms   *rooms
	frames  packetFrames // sealed by Deliver
	target  target
	reached int // once Deliver was called
}

// Deliver queues the cast for each member here, with its offset as the last argument.
func (c *ownCast) Deliver(at castlog.Position) {
	appendOffset(c.frames.text, at)
	c.frames.sealFrames(false)
	if at.IsZero() { // where it will stand is not known, and this node does not deliver it again
		c.rooms.replays.forgetRooms(c.target.rooms)
	} else {
		c.rooms.replays.note(c.target.rooms, c.target.except, at, c.frames)
	}
	if len(c.target.except) > 0 {
		c.rooms.deliverFrames(c.frames, c.target.broadcastOptions(), nil)
		return
	}
	for _, room := range c.target.rooms {
		c.reached += c.rooms.castToRoom(room, c.frames)
	}
}

// HasMembers tells whether any of the rooms has members here, or is kept for clients that come
// back.
func (c *ownCast) HasMembers() bool {
	if c.rooms.replays.isKept(c.target.rooms) {
		return true
	}
	c.rooms.mu.RLock()
	defer c.rooms.mu.RUnlock()
	for _, room := range c.target.rooms {
		if c.rooms.countMembers(room) > 0 {
			return true
		}
	}
	return false
}

// Release frees the frames.
func (c *ownCast) Release() { c.frames.releaseFrames() }

// A LoggedCast is what CastLogged takes.
type LoggedCast struct {
	Rooms  []string // which must have no members in common
	Except string   // a room whose members are left out; may be ""
	Name   string   // of the event
	// Build appends the argument as JSON.
	Build func(dst []byte) []byte
	// Attachments are the binary values that the argument names with placeholders.
	Attachments [][]byte
	// Stream and Place, if any, put the casts of several nodes to the first room in order: from 1,
	// without gaps.
	Stream string
	Place  int64
	// History, if not nil, is written with the cast.
	History *castlog.History
	// IsVolatile leaves out the sockets whose transport is busy. What is logged is never volatile.
	IsVolatile bool
	// Traceparent is that of the span of the cast; "" where that is not traced.
	Traceparent string
}

// HasLog reports whether casts can be logged.
func (n *Namespace) HasLog() bool { return n.cluster != nil && n.cluster.cluster.castLog != nil }

// Position returns up to which position this node has delivered what is logged; zero while that is
// not known, or where nothing is logged.
func (n *Namespace) Position() castlog.Position {
	if !n.HasLog() {
		return castlog.Position{}
	}
	return n.cluster.castLog.Position()
}

// IsLogAway reports whether Redis does not confirm what is logged.
func (n *Namespace) IsLogAway() bool { return n.HasLog() && n.cluster.cluster.castLog.IsAway() }

// WaitDelivered returns when the members on this node have received what was cast to a room by the
// log so far. It waits about as long as Redis may take to confirm it.
func (n *Namespace) WaitDelivered(ctx context.Context, room string) {
	if !n.HasLog() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryWait)
	defer cancel()
	n.cluster.cluster.castLog.WaitDelivered(ctx, n.cluster.loggedRoom(socket.Room(room)))
}

// deliveryWait bounds WaitDelivered.
const deliveryWait = time.Second

// CastLogged casts by the log, and does not wait. HasLog must be true. After an error only the
// members on this node receive it: as much waits for Redis as may wait, or the message is too
// large. That is counted as unpublished.
func (n *Namespace) CastLogged(c LoggedCast) error {
	own, _, err := n.appendCast(c, "", false)
	if err != nil {
		n.cluster.cluster.discarded.Add(1)
		own.Deliver(castlog.Position{})
		own.Release()
	}
	return err
}

// CastAndWait is CastLogged that returns when Redis has the cast and the members on this node have
// it too, or when Redis is away. The error is castlog.ErrFull, and then nobody receives it; that of
// ctx, and then it may be received; or castlog.ErrUnknown.
func (n *Namespace) CastAndWait(ctx context.Context, c LoggedCast) (castlog.Outcome, error) {
	own, pending, err := n.appendCast(c, "", true)
	if err != nil {
		own.Release()
		return castlog.Outcome{}, err
	}
	return pending.Wait(ctx)
}

// CountAndWait is CastAndWait to one room that also returns how many members it reached on all
// nodes. missing is how many nodes did not answer within a second, or before ctx ended; while Redis
// is away it is at least 1, and only the members on this node are counted.
func (n *Namespace) CountAndWait(ctx context.Context, c LoggedCast) (reached, missing int, outcome castlog.Outcome, err error) {
	counting, err := n.startLoggedCount(c)
	if err != nil {
		return 0, 0, outcome, err
	}
	return counting.wait(ctx)
}

// appendCast gives a cast to the log. On an error the caller must release own.
func (n *Namespace) appendCast(c LoggedCast, countID string, wait bool) (own *ownCast, pending *castlog.Pending, err error) {
	nsp := n.cluster
	t := target{rooms: make([]socket.Room, len(c.Rooms)), traceparent: c.Traceparent}
	for i, room := range c.Rooms {
		t.rooms[i] = socket.Room(room)
	}
	if c.Except != "" {
		t.except = []socket.Room{socket.Room(c.Except)}
	}
	frames, list := n.frameCast(c.Name, c.Build, c.Attachments)
	message, ok := nsp.appendBroadcastHead(make([]byte, 0, len(list)+160), list, c.Attachments)
	own = &ownCast{rooms: n.rooms, target: t, frames: frames}
	message = t.appendTo(message)
	message[0] = loggedHead
	if countID != "" {
		message[0] = loggedCountingHead
		message = jsonpack.AppendText(message, countID)
	}
	if !ok || len(message) > nsp.cluster.cfg.MaxMessage-castlogTail {
		return own, nil, errTooLarge
	}
	rooms := make([]string, len(t.rooms))
	for i, room := range t.rooms {
		rooms[i] = nsp.loggedRoom(room)
	}
	stream := c.Stream
	if stream != "" { // each room has its own places
		stream = rooms[0] + "#" + stream
	}
	pending, err = nsp.cluster.castLog.Append(castlog.Cast{
		Rooms: rooms, Channels: nsp.channelsFor(t), Message: message,
		Stream: stream, Place: c.Place, History: c.History, Members: own,
	}, wait)
	return own, pending, err
}

// castlogTail is more than what the log appends to a message.
const castlogTail = 64

// channelsFor returns the channels on which a logged cast is published. With few nodes, one message
// for several rooms costs less than one for each room. Node servers would deliver each of several.
func (n *clusterNamespace) channelsFor(t target) []string {
	if len(t.rooms) == 1 || n.trustedNodeCount.Load() <= maxNodesForOneMessage || n.classicNodeCount.Load() > 0 {
		return []string{n.channelFor(t)}
	}
	channels := make([]string, len(t.rooms))
	for i, room := range t.rooms {
		channels[i] = n.roomChannel(room)
	}
	return channels
}

// subscribeMarks subscribes to the positions that are published without a cast.
func (n *clusterNamespace) subscribeMarks() {
	n.cluster.bus.Subscribe(redisbus.Channel{Name: n.cluster.castLog.MarkChannel(), Owner: &channelHandler{n, n.onMark}})
}
