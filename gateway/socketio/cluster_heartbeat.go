package socketio

import (
	"context"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// Who is there.
//
// Our nodes tell that they live on a channel of their own, each namespace's. Who was not
// heard for five beats, or said goodbye, is gone, and nobody waits for it any more.
//
// Node's classic adapter knows no heartbeat. It is counted by what Redis says: of all who
// subscribe to the requests, those who do not subscribe to the heartbeats. Both numbers
// hold a crashed node of ours for as long as Redis takes it to be connected, so it is in
// neither of the two counts. A crashed Node node that Redis takes to be connected is the
// only one that is waited for, until a request's timeout.

// The first byte of a heartbeat; the node's uid follows.
const (
	beatHello = "h" // a node that has come, or has come back: others answer
	beatAlive = "a"
	beatBye   = "b"
)

// beats that may be missed
const beats = 5

func (n *clusterNamespace) say(what string) {
	n.hub.bus.Publish(redisbus.Message{Channel: n.heartbeat, Payload: []byte(what + n.hub.uid), IsUncounted: true})
}

// beat tells that this node lives, and looks who else does, until done.
func (c *cluster) beat() {
	tick := time.NewTicker(c.cfg.Heartbeat)
	defer tick.Stop()
	w := watchman{tell: c.cfg.OnChange}
	for {
		select {
		case <-c.done:
			return
		case <-c.beatNow:
		case <-tick.C:
			c.bus.CheckConnections(beats * c.cfg.Heartbeat)
			c.guarded(func() { w.look(c.bus.IsConnected(), c.unpublished()) })
		}
		c.each((*clusterNamespace).greet)
		c.each((*clusterNamespace).look)
	}
}

// beatSoon does not wait for the next beat.
func (c *cluster) beatSoon() {
	select {
	case c.beatNow <- struct{}{}:
	default:
	}
}

// unpublished is how many messages for other nodes were dropped since the start.
func (c *cluster) unpublished() int64 { return c.bus.Stats().Unpublished + c.discarded.Load() }

// onUp is called when Redis has begun to let this node hear.
func (n *clusterNamespace) onUp() {
	n.arrived.Store(true)
	n.hub.beatSoon()
}

func (n *clusterNamespace) greet() {
	if n.arrived.Swap(false) { // Redis has just begun to let us hear
		n.young.Store(time.Now().UnixNano())
		n.say(beatHello)
		return
	}
	n.say(beatAlive)
}

func (n *clusterNamespace) onHeartbeat(message []byte) bool {
	s := string(message)
	if len(s) < 2 || len(s) > 32 || !strings.Contains(beatHello+beatAlive+beatBye, s[:1]) {
		return false
	}
	what, uid := s[:1], s[1:]
	if uid == n.hub.uid {
		return true
	}
	n.mu.Lock()
	_, known := n.peers[uid]
	full := !known && len(n.peers) >= maxPeers
	if what == beatBye {
		delete(n.peers, uid)
	} else if !full {
		n.peers[uid] = time.Now()
	}
	n.recount()
	n.mu.Unlock()
	switch what {
	case beatBye:
		n.gone(uid)
		n.hub.beatSoon() // the others are counted anew
	case beatHello:
		n.hub.beatSoon()
	}
	return !full
}

// maxPeers bounds what strangers on the bus can make us remember.
const maxPeers = 4096

// recount counts the nodes anew. mu is held.
func (n *clusterNamespace) recount() {
	now := 1 + int64(len(n.peers)) + n.classic.Load()
	n.nodes.Store(now)
	if now >= n.known.Load() || n.hears() {
		n.known.Store(now)
	}
}

// hears tells that Redis has let this node hear for so long that it would have heard all
// who live.
func (n *clusterNamespace) hears() bool {
	return n.hub.bus.IsConnected() && time.Since(n.hub.bus.LastReceived()) < 2*n.hub.cfg.Heartbeat &&
		time.Since(time.Unix(0, n.young.Load())) > beats*n.hub.cfg.Heartbeat
}

// look forgets who was not heard, and asks Redis for those who have no heartbeat.
func (n *clusterNamespace) look() {
	var gone []string
	n.mu.Lock()
	for uid, at := range n.peers {
		if time.Since(at) > beats*n.hub.cfg.Heartbeat {
			delete(n.peers, uid)
			gone = append(gone, uid)
		}
	}
	n.mu.Unlock()
	for _, uid := range gone {
		n.gone(uid)
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.hub.cfg.Heartbeat)
	defer cancel()
	if counts, err := n.hub.bus.CountSubscribers(ctx, n.request, n.heartbeat); err == nil {
		n.classic.Store(max(0, counts[0]-counts[1]))
	}
	n.mu.Lock()
	n.recount()
	n.mu.Unlock()
}
