package socketio

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redisbus"
)

// This file ends, on the node that had it, a connection with which another one goes on. That node
// may believe in its dead connection until the ping timeout.
//
// A request is its first byte, an id of 12 bytes, the uid of the node that asks, the pid in 16
// bytes and the socket's id. "T" asks to end the connection. The answer is "A" and the id, when the
// event under way there has ended; or "S" and the id, when the record does not know all that the
// client was told. "P" asks whether the client is still there, of a connection that was taken
// within the last second. The answers are "A", it is not, and "L", it is.

const (
	takeoverAsk    = 'T'
	takeoverProbe  = 'P'
	takeoverAnswer = 'A'
	takeoverStale  = 'S'
	takeoverLives  = 'L'
	takeoverID     = 12
	uidBytes       = 6
	// takeoverWait is how long the other node has to answer, before it is asked again.
	takeoverWait = time.Second
	// probeWait is how long a client has to answer a ping. It is less than takeoverWait.
	probeWait = 500 * time.Millisecond
	probePoll = 5 * time.Millisecond
	// maxAsked is how many questions of other nodes are looked into at once, each for a second at
	// most.
	maxAsked = 8192
)

// takeovers are the requests of this node that wait for their answers, and the sockets here that go
// on with a connection, or try to, and are not connected yet.
type takeovers struct {
	mu         sync.Mutex
	waiting    map[string]chan byte          // by id; guarded by mu
	connecting map[castlog.PID][]*connecting // no list is empty; guarded by mu

	asked chan struct{} // has an element for each question that is looked into

	answerWait time.Duration // for the answer to one question: takeoverWait
}

func newTakeovers() takeovers {
	return takeovers{waiting: map[string]chan byte{}, connecting: map[castlog.PID][]*connecting{}, asked: make(chan struct{}, maxAsked), answerWait: takeoverWait}
}

// begin notes that a socket that connects presents a connection.
func (t *takeovers) begin(c *connecting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connecting[*c.presented] = append(t.connecting[*c.presented], c)
}

// finish ends begin.
func (t *takeovers) finish(c *connecting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := slices.DeleteFunc(t.connecting[*c.presented], func(x *connecting) bool { return x == c })
	if t.connecting[*c.presented] = left; len(left) == 0 {
		delete(t.connecting, *c.presented)
	}
}

// isConnecting reports whether a socket other than self presents a connection and is not connected
// yet.
func (t *takeovers) isConnecting(pid castlog.PID, self *connecting) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.connecting[pid], func(x *connecting) bool { return x != self })
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
	case takeoverAnswer, takeoverStale, takeoverLives:
		n.takeovers.mu.Lock()
		defer n.takeovers.mu.Unlock()
		if answered := n.takeovers.waiting[id]; answered != nil {
			delete(n.takeovers.waiting, id)
			answered <- b[0]
		}
		return true
	case takeoverAsk, takeoverProbe:
		var pid castlog.PID
		if len(rest) <= uidBytes+len(pid) {
			return false
		}
		uid := string(rest[:uidBytes])
		copy(pid[:], rest[uidBytes:])
		sid := socket.SocketId(rest[uidBytes+len(pid):])
		answer := func(what byte) {
			n.cluster.bus.Publish(redisbus.Message{
				Channel: n.takeoverChannel(uid), Payload: append([]byte{what}, id...), IsUncounted: true,
			})
		}
		look, tooMany := n.endTaken, byte(takeoverStale)
		if b[0] == takeoverProbe {
			look, tooMany = n.probeTaken, takeoverLives
		}
		select {
		case n.takeovers.asked <- struct{}{}:
			go func() {
				defer func() { <-n.takeovers.asked }()
				look(sid, pid, nil, answer)
			}()
		default: // then the client begins anew
			answer(tooMany)
		}
		return true
	}
	return false
}

// awaitTaken returns the socket of a connection of this node that another one takes, or nil when
// there is none. A socket that is connecting is waited for; when it takes longer than patience,
// isConnecting is true.
func (n *clusterNamespace) awaitTaken(id socket.SocketId, pid castlog.PID, self *connecting, patience time.Duration) (s *Socket, isConnecting bool) {
	for begun := time.Now(); ; {
		isConnecting = n.takeovers.isConnecting(pid, self)
		n.rooms.mu.RLock()
		if m := n.rooms.members[id]; m != nil {
			s = m.socket
		}
		n.rooms.mu.RUnlock()
		if s != nil && s.pid != pid {
			s = nil
		}
		if s != nil || !isConnecting || time.Since(begun) > patience {
			return s, isConnecting
		}
		time.Sleep(probePoll)
	}
}

// endTaken ends the connection of a socket of this node, and calls onGone when that is done. There
// may be none any more. self is the socket that takes it, if that is one of this node.
func (n *clusterNamespace) endTaken(id socket.SocketId, pid castlog.PID, self *connecting, onGone func(what byte)) {
	s, isConnecting := n.awaitTaken(id, pid, self, takeoverWait/2)
	switch {
	case s != nil:
		s.giveUp(func() { // which may have to wait for the reader
			if s.isRecordBehind() {
				onGone(takeoverStale)
			} else {
				onGone(takeoverAnswer)
			}
		})
	case isConnecting, // who asks has waited long enough
		n.cluster.recorder.hasQueuedMembership(pid):
		onGone(takeoverStale)
	default:
		onGone(takeoverAnswer)
	}
}

// probeTaken finds out whether the client of a connection of this node is still there.
func (n *clusterNamespace) probeTaken(id socket.SocketId, pid castlog.PID, self *connecting, answer func(what byte)) {
	s, isConnecting := n.awaitTaken(id, pid, self, probeWait)
	if s == nil && isConnecting || s != nil && s.Conn().Probe(probeWait) {
		answer(takeoverLives)
	} else {
		answer(takeoverAnswer)
	}
}

// askHolder asks the node that has a connection, which may be this one, and returns its answer; or
// 0 when none came in time. A node that has died says that its connections have ended.
func (n *clusterNamespace) askHolder(ctx context.Context, what byte, t castlog.Taken, self *connecting) (answer byte) {
	ctx, cancel := context.WithTimeout(ctx, n.takeovers.answerWait)
	defer cancel()
	answered := make(chan byte, 2) // from the node, and from Redis
	if t.Former == n.cluster.uid {
		reply := func(what byte) { answered <- what }
		if what == takeoverProbe {
			go n.probeTaken(socket.SocketId(t.SocketID), *self.presented, self, reply)
		} else {
			go n.endTaken(socket.SocketId(t.SocketID), *self.presented, self, reply)
		}
	} else {
		id := newID()
		n.takeovers.mu.Lock()
		n.takeovers.waiting[id] = answered
		n.takeovers.mu.Unlock()
		defer func() {
			n.takeovers.mu.Lock()
			delete(n.takeovers.waiting, id)
			n.takeovers.mu.Unlock()
		}()
		message := append([]byte{what}, id...)
		message = append(append(message, n.cluster.uid...), self.presented[:]...)
		n.cluster.bus.Publish(redisbus.Message{
			Channel: n.takeoverChannel(t.Former), Payload: append(message, t.SocketID...), IsUncounted: true,
			OnPublished: func(receivers, _ int64, err error) {
				if err == nil && receivers == 0 { // that node has died
					answered <- takeoverAnswer
				}
			},
		})
	}
	select {
	case answer = <-answered:
		return answer
	case <-ctx.Done():
		return 0
	}
}

// endFormer ends the connection that had what this node has taken, and returns when that one serves
// no event any more: events of one connection are never served two at a time. That is known when
// the node which has it says so, or when that node was silent for as long as an event may take. It
// returns why the client cannot go on with the connection, or "".
func (n *clusterNamespace) endFormer(ctx context.Context, t castlog.Taken, self *connecting) (why string) {
	if t.IsEnded {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, n.cluster.cfg.EventTimeout+takeoverWait)
	defer cancel()
	for {
		switch n.askHolder(ctx, takeoverAsk, t, self) {
		case takeoverAnswer:
			return n.replays.beginTurn(ctx, self)
		case takeoverStale:
			return refusedLate
		}
		n.replays.endTurn(self) // others may come back while this one waits
		switch {
		case t.Former != n.cluster.uid && n.silenceOf(t.Former) >= n.cluster.cfg.EventTimeout:
			return n.replays.beginTurn(ctx, self) // that node closes the connection when it finds itself replaced
		case ctx.Err() != nil:
			return refusedBusy
		}
	}
}

// isHolderAlive reports whether the client of a connection that was taken within the last second is
// still there, so that who presents it now is another one. A link that breaks twice within a second
// leaves a connection whose client is not.
func (n *clusterNamespace) isHolderAlive(ctx context.Context, t castlog.Taken, self *connecting) bool {
	return n.askHolder(ctx, takeoverProbe, t, self) != takeoverAnswer
}
