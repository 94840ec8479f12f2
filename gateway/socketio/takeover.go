package socketio

import (
	"context"
	"sync"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file ends, on the node that had it, a connection with which another node goes on. That node
// may believe in its dead connection until the ping timeout.
//
// A request is "T", an id of 12 bytes, the uid of the node that asks, the pid in 16 bytes and the
// socket's id. The answer is "A" and the id, when the event under way there has ended.

const (
	takeoverAsk    = 'T'
	takeoverAnswer = 'A'
	takeoverID     = 12
	uidBytes       = 6
	// takeoverWait is how long the other node has to answer.
	takeoverWait = time.Second
)

// takeovers are the requests of this node that wait for their answers.
type takeovers struct {
	mu      sync.Mutex
	waiting map[string]chan struct{} // by id; guarded by mu
}

func (n *clusterNamespace) takeoverChannel(uid string) string {
	return n.cluster.cfg.Prefix + "-takeover#" + n.name + "#" + uid + "#"
}

// onTakeover handles a request or an answer.
func (n *clusterNamespace) onTakeover(b []byte) bool {
	if len(b) < 1+takeoverID {
		return false
	}
	id, rest := string(b[1:1+takeoverID]), b[1+takeoverID:]
	switch b[0] {
	case takeoverAnswer:
		n.takeovers.mu.Lock()
		defer n.takeovers.mu.Unlock()
		if answered := n.takeovers.waiting[id]; answered != nil {
			delete(n.takeovers.waiting, id)
			close(answered)
		}
		return true
	case takeoverAsk:
		var pid castlog.PID
		if len(rest) <= uidBytes+len(pid) {
			return false
		}
		uid := string(rest[:uidBytes])
		copy(pid[:], rest[uidBytes:])
		n.endTaken(socket.SocketId(rest[uidBytes+len(pid):]), pid, func() {
			n.cluster.bus.Publish(redisbus.Message{Channel: n.takeoverChannel(uid), Payload: append([]byte{takeoverAnswer}, id...), IsUncounted: true})
		})
		return true
	}
	return false
}

// endTaken ends the connection of a socket of this node, and calls onGone when that is done. There
// may be none any more.
func (n *clusterNamespace) endTaken(id socket.SocketId, pid castlog.PID, onGone func()) {
	n.rooms.mu.RLock()
	m := n.rooms.members[id]
	n.rooms.mu.RUnlock()
	if m == nil || m.socket == nil || m.socket.pid != pid {
		onGone()
		return
	}
	go m.socket.giveUp(onGone) // which may have to wait for the reader
}

// endFormer ends the connection that had what this node has taken. It reports false when it may
// still be serving an event here.
func (n *clusterNamespace) endFormer(ctx context.Context, t castlog.Taken, pid castlog.PID) bool {
	if t.IsEnded {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, takeoverWait)
	defer cancel()
	gone := make(chan struct{})
	if t.Former == n.cluster.uid {
		n.endTaken(socket.SocketId(t.SocketID), pid, func() { close(gone) })
		select {
		case <-gone:
			return true
		case <-ctx.Done():
			return false
		}
	}
	id := newID()
	n.takeovers.mu.Lock()
	n.takeovers.waiting[id] = gone
	n.takeovers.mu.Unlock()
	defer func() {
		n.takeovers.mu.Lock()
		delete(n.takeovers.waiting, id)
		n.takeovers.mu.Unlock()
	}()
	message := append([]byte{takeoverAsk}, id...)
	message = append(append(message, n.cluster.uid...), pid[:]...)
	dead := make(chan struct{})
	n.cluster.bus.Publish(redisbus.Message{
		Channel: n.takeoverChannel(t.Former), Payload: append(message, t.SocketID...), IsUncounted: true,
		OnPublished: func(receivers, _ int64, err error) {
			if err == nil && receivers == 0 { // that node has died
				close(dead)
			}
		},
	})
	select {
	case <-gone:
	case <-dead:
	case <-ctx.Done(): // it closes when it finds itself replaced
	}
	return true
}
