package socketio

import (
	"context"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file lets a socket hear what another server sends right behind its socketsJoin.
//
// The request to join and the cast to the room come on two channels, and this node subscribes to
// the room's channel only when it has seen the request: the cast may have passed by then. Waiting
// cannot mend that, because the other server does not wait. A Node server hears such a cast because
// it subscribes to a pattern that all rooms match. So while another server that may ask for joins
// was heard within ClusterConfig.JoinWindow, this node subscribes to that pattern too. The price:
// the node receives the casts to all rooms, also those without members here.
//
// A joiner is a server that may ask for joins: a Node server, even if it has not asked yet; an
// emitter that has asked for anything; one of our nodes that has asked for a join. So the first
// request of the first emitter is not covered. A key in Redis keeps that a joiner was heard, for
// nodes that start later.

// joinMarkEvery is how often Redis is told that another server was heard.
const joinMarkEvery = 10 * time.Second

// noteJoiner notes that another server may make sockets of this node join rooms. It must not wait.
func (n *clusterNamespace) noteJoiner() {
	if n.cluster.cfg.JoinWindow <= 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.joinerHeard = time.Now()
	n.setHearsAllRooms(true)
}

// setHearsAllRooms subscribes to the pattern of all rooms, or gives it up. mu is held.
func (n *clusterNamespace) setHearsAllRooms(on bool) {
	if n.hearsAllRooms == on {
		return
	}
	n.hearsAllRooms = on
	if on {
		n.cluster.bus.Subscribe(redisbus.Channel{Name: n.allRoomsPattern(), Owner: &n.broadcastHandler, IsPattern: true})
	} else {
		n.cluster.bus.UnsubscribePattern(n.allRoomsPattern())
	}
}

// globEscaper makes a pattern that matches the text itself.
var globEscaper = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)

func (n *clusterNamespace) allRoomsPattern() string { return globEscaper.Replace(n.allChannel) + "*" }

// updateJoinWindow begins and ends the subscription to all rooms as time passes, and exchanges with
// Redis when another server was heard last. It is called at each heartbeat.
func (n *clusterNamespace) updateJoinWindow(ctx context.Context) {
	window := n.cluster.cfg.JoinWindow
	if window <= 0 {
		return
	}
	if n.classicNodeCount.Load() > 0 {
		n.noteJoiner()
	}
	n.mu.Lock()
	heard, marked, isMarkRead := n.joinerHeard, n.joinerMarked, n.isJoinerMarkRead
	n.mu.Unlock()
	redis := n.cluster.cfg.Redis
	if !isMarkRead { // this node has just started
		marks, err := redis.Exists(ctx, n.joinerKey).Result()
		if isMarkRead = err == nil; marks > 0 {
			n.noteJoiner()
		}
	}
	if heard.Sub(marked) >= joinMarkEvery {
		if err := redis.Set(ctx, n.joinerKey, "1", window).Err(); err == nil { // else it is tried at the next heartbeat
			marked = heard
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.joinerMarked, n.isJoinerMarkRead = marked, isMarkRead
	n.setHearsAllRooms(time.Since(n.joinerHeard) < window)
}
