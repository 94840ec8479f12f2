package socketio

import (
	"context"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file finds out which nodes live.
//
// Our nodes send heartbeats on a channel of their own, one for each namespace. A node that was
// silent for five heartbeats, or said goodbye, is gone: no request waits for it any more.
//
// Node's classic adapter sends no heartbeats. Redis tells how many such servers there are: the
// number of subscribers to the requests, less the number of subscribers to the heartbeats. If one
// of our nodes has crashed and Redis has not noticed yet, it is in both numbers and does not count.
// If a Node server has crashed and Redis has not noticed yet, it counts, and a request waits for it
// until its timeout.

// The first byte of a heartbeat; the node's uid follows.
const (
	beatHello = "h" // the node has come, or has come back: the others answer
	beatAlive = "a"
	beatBye   = "b" // the node leaves
)

// beatsUntilGone is after how many heartbeats that did not come a node is gone.
const beatsUntilGone = 5

func (n *clusterNamespace) sendHeartbeat(what string) {
	n.cluster.bus.Publish(redisbus.Message{Channel: n.heartbeatChannel, Payload: []byte(what + n.cluster.uid), IsUncounted: true})
}

// runHeartbeat sends heartbeats and keeps account of the other nodes, until the cluster closes.
func (c *cluster) runHeartbeat() {
	tick := time.NewTicker(c.cfg.Heartbeat)
	defer tick.Stop()
	w := stateWatcher{onChange: c.cfg.OnChange}
	for {
		select {
		case <-c.done:
			return
		case <-c.heartbeatNow.C():
		case <-tick.C:
			c.bus.CheckConnections(beatsUntilGone * c.cfg.Heartbeat)
			c.callGuarded(func() { w.observeBeat(c.bus.IsConnected(), c.countUnpublished()) })
		}
		c.forEachNamespace((*clusterNamespace).sendGreeting)
		c.forEachNamespace((*clusterNamespace).updatePeers)
		if c.castLog != nil {
			c.forEachNamespace(func(n *clusterNamespace) { n.replays.forgetOld() })
		}
	}
}

// handleSubscribed is called when Redis has confirmed the subscription to the heartbeats, at first
// and after each outage.
func (n *clusterNamespace) handleSubscribed() {
	n.hasResubscribed.Store(true)
	n.cluster.catchUpNow.Notify()
	n.cluster.heartbeatNow.Notify()
}

func (n *clusterNamespace) sendGreeting() {
	if n.hasResubscribed.Swap(false) {
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
	_, isKnown := n.peers[uid]
	isFull := !isKnown && len(n.peers) >= maxPeers
	delete(n.silent, uid)
	if what == beatBye {
		delete(n.peers, uid)
	} else if !isFull {
		n.peers[uid] = time.Now()
	}
	n.recountNodes()
	n.mu.Unlock()
	switch what {
	case beatBye:
		n.handleNodeGone(uid)
		n.cluster.heartbeatNow.Notify() // to count Node's nodes anew
	case beatHello:
		n.cluster.heartbeatNow.Notify()
	}
	return !isFull
}

// isPeer reports whether a uid is that of one of our other nodes.
func (n *clusterNamespace) isPeer(uid string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, isKnown := n.peers[uid]
	return isKnown
}

// silenceOf returns for how long another node was not heard, while this node could hear.
func (n *clusterNamespace) silenceOf(uid string) time.Duration {
	n.mu.Lock()
	at, isKnown := n.peers[uid]
	if !isKnown {
		at = n.silent[uid]
	}
	n.mu.Unlock()
	if since := time.Unix(0, n.subscribedSince.Load()); at.Before(since) {
		at = since
	}
	return time.Since(at)
}

// maxPeers is how many of our nodes are remembered: it bounds what a stranger on the bus can do.
const maxPeers = 4096

// recountNodes counts the nodes anew. mu is held.
func (n *clusterNamespace) recountNodes() {
	now := 1 + int64(len(n.peers)) + n.classicNodeCount.Load()
	n.nodeCount.Store(now)
	if now >= n.trustedNodeCount.Load() || n.hasListenedLongEnough() {
		n.trustedNodeCount.Store(now)
	}
}

// hasListenedLongEnough reports whether Redis has let this node hear for so long that it has heard
// every node that lives.
func (n *clusterNamespace) hasListenedLongEnough() bool {
	return n.cluster.bus.IsConnected() && time.Since(n.cluster.bus.LastReceived()) < 2*n.cluster.cfg.Heartbeat &&
		time.Since(time.Unix(0, n.subscribedSince.Load())) > beatsUntilGone*n.cluster.cfg.Heartbeat
}

// updatePeers forgets the nodes that were silent for too long, and asks Redis how many nodes send
// no heartbeats.
func (n *clusterNamespace) updatePeers() {
	var gone []string
	n.mu.Lock()
	for uid, at := range n.peers {
		if time.Since(at) > beatsUntilGone*n.cluster.cfg.Heartbeat {
			delete(n.peers, uid)
			n.silent[uid] = at
			gone = append(gone, uid)
		}
	}
	for uid, at := range n.silent {
		if time.Since(at) > n.cluster.cfg.EventTimeout {
			delete(n.silent, uid)
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
	n.updateJoinWindow(ctx)
	n.mu.Lock()
	n.recountNodes()
	n.mu.Unlock()
}
