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

// beatsUntilGone that may be missed
const beatsUntilGone = 5

func (n *clusterNamespace) sendHeartbeat(what string) {
	n.cluster.bus.Publish(redisbus.Message{Channel: n.heartbeatChannel, Payload: []byte(what + n.cluster.uid), IsUncounted: true})
}

// runHeartbeat tells that this node lives, and looks who else does, until done.
func (c *cluster) runHeartbeat() {
	tick := time.NewTicker(c.cfg.Heartbeat)
	defer tick.Stop()
	w := stateWatcher{onChange: c.cfg.OnChange}
	for {
		select {
		case <-c.done:
			return
		case <-c.heartbeatNow:
		case <-tick.C:
			c.bus.CheckConnections(beatsUntilGone * c.cfg.Heartbeat)
			c.callGuarded(func() { w.observeBeat(c.bus.IsConnected(), c.countUnpublished()) })
		}
		c.forEachNamespace((*clusterNamespace).sendGreeting)
		c.forEachNamespace((*clusterNamespace).updatePeers)
	}
}

// heartbeatSoon does not wait for the next beat.
func (c *cluster) heartbeatSoon() {
	select {
	case c.heartbeatNow <- struct{}{}:
	default:
	}
}

// countUnpublished is how many messages for other nodes were dropped since the start.
func (c *cluster) countUnpublished() int64 { return c.bus.Stats().Unpublished + c.discarded.Load() }

// handleSubscribed is called when Redis has begun to let this node hear.
func (n *clusterNamespace) handleSubscribed() {
	n.hasResubscribed.Store(true)
	n.cluster.heartbeatSoon()
}

func (n *clusterNamespace) sendGreeting() {
	if n.hasResubscribed.Swap(false) { // Redis has just begun to let us hear
		n.subscribedSince.Store(time.Now().UnixNano())
		n.sendHeartbeat(beatHello)
		return
	}
	n.sendHeartbeat(beatAlive)
}

func (n *clusterNamespace) onHeartbeat(message []byte) bool {
	s := string(message)
	if len(s) < 2 || len(s) > 32 || !strings.Contains(beatHello+beatAlive+beatBye, s[:1]) {
		return false
	}
	what, uid := s[:1], s[1:]
	if uid == n.cluster.uid {
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
	n.recountNodes()
	n.mu.Unlock()
	switch what {
	case beatBye:
		n.handleNodeGone(uid)
		n.cluster.heartbeatSoon() // the others are counted anew
	case beatHello:
		n.cluster.heartbeatSoon()
	}
	return !full
}

// maxPeers bounds what strangers on the bus can make us remember.
const maxPeers = 4096

// recountNodes counts the nodes anew. mu is held.
func (n *clusterNamespace) recountNodes() {
	now := 1 + int64(len(n.peers)) + n.classicNodeCount.Load()
	n.nodeCount.Store(now)
	if now >= n.trustedNodeCount.Load() || n.hasListenedLongEnough() {
		n.trustedNodeCount.Store(now)
	}
}

// hasListenedLongEnough tells that Redis has let this node hear for so long that it would have heard all
// who live.
func (n *clusterNamespace) hasListenedLongEnough() bool {
	return n.cluster.bus.IsConnected() && time.Since(n.cluster.bus.LastReceived()) < 2*n.cluster.cfg.Heartbeat &&
		time.Since(time.Unix(0, n.subscribedSince.Load())) > beatsUntilGone*n.cluster.cfg.Heartbeat
}

// updatePeers forgets who was not heard, and asks Redis for those who have no heartbeat.
func (n *clusterNamespace) updatePeers() {
	var gone []string
	n.mu.Lock()
	for uid, at := range n.peers {
		if time.Since(at) > beatsUntilGone*n.cluster.cfg.Heartbeat {
			delete(n.peers, uid)
			gone = append(gone, uid)
		}
	}
	n.mu.Unlock()
	for _, uid := range gone {
		n.handleNodeGone(uid)
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.cluster.cfg.Heartbeat)
	defer cancel()
	if counts, err := n.cluster.bus.CountSubscribers(ctx, n.requestChannel, n.heartbeatChannel); err == nil {
		n.classicNodeCount.Store(max(0, counts[0]-counts[1]))
	}
	n.mu.Lock()
	n.recountNodes()
	n.mu.Unlock()
}
