package socketio

import (
	"context"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/castlog"
)

// A CountedCast is what StartCounted takes.
type CountedCast struct {
	Room string // "" is every socket of the namespace
	Name string // of the event
	// Build appends the argument as JSON.
	Build func(dst []byte) []byte
	// Attachments are the binary values that the argument names with placeholders.
	Attachments [][]byte
	// IsLogged casts by the log where there is one; not to every socket, which is in no log.
	IsLogged bool
	// IsVolatile leaves out the sockets whose transport is busy.
	IsVolatile bool
}

// A Reach says whom a cast reached.
type Reach struct {
	Reached  int  // sockets, on all nodes that answered
	Missing  int  // nodes that did not answer within a second
	IsLogged bool // it is in the log
	IsLocal  bool // Redis did not confirm it: only this node's members are counted
}

// StartCounted casts, and returns a function that waits until all nodes have said how many sockets
// it reached. What is logged is delivered in the order of the calls, and so is what is not. An
// error of StartCounted says that nobody receives it: castlog.ErrFull, or the message is too large.
// An error of wait is that of CastAndWait: then it may be received.
func (n *Namespace) StartCounted(c CountedCast) (wait func(ctx context.Context) (Reach, error), err error) {
	if c.IsLogged && c.Room != "" && n.HasLog() {
		counting, err := n.startLoggedCount(LoggedCast{Rooms: []string{c.Room}, Name: c.Name, Build: c.Build, Attachments: c.Attachments})
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (Reach, error) {
			reached, missing, outcome, err := counting.wait(ctx)
			return Reach{reached, missing, !outcome.IsLocal, outcome.IsLocal}, err
		}, nil
	}
	return n.startPublishedCount(c)
}

// startPublishedCount is StartCounted of what is not logged.
func (n *Namespace) startPublishedCount(c CountedCast) (wait func(ctx context.Context) (Reach, error), err error) {
	f, list := n.frameCast(c.Name, c.Build, c.Attachments)
	defer f.releaseFrames()
	t := target{volatile: c.IsVolatile}
	if c.Room != "" {
		t.rooms = []socket.Room{socket.Room(c.Room)}
	}
	if n.cluster != nil && f.byteSize()+targetTail > n.cluster.cluster.cfg.MaxMessage {
		return nil, errTooLarge
	}
	elsewhere := func(context.Context) (members, missing int) { return 0, 0 }
	if n.cluster != nil {
		elsewhere = n.cluster.startCount(list, c.Attachments, t)
	}
	if n.rooms.holdPosition(f.text) {
		defer n.rooms.castLog.UnlockPosition()
	}
	f.sealFrames(c.IsVolatile)
	here := 0
	if c.Room != "" {
		here = n.rooms.castToRoom(t.rooms[0], f)
	} else {
		here = n.rooms.castToEverySocket(f)
	}
	return func(ctx context.Context) (Reach, error) {
		members, missing := elsewhere(ctx)
		return Reach{Reached: here + members, Missing: missing}, nil
	}, nil
}

// targetTail is more than what the packed form of a message has beyond its JSON.
const targetTail = 1 << 10

// castToEverySocket queues frames for every socket, and returns how many took them.
func (a *rooms) castToEverySocket(f packetFrames) (reached int) {
	a.forEachMember(nil, func(m *member) {
		if m.conn != nil && f.pushTo(m.conn) {
			reached++
		}
	})
	return reached
}

// startCount publishes an event, and returns a function that waits for the number of sockets that
// it reached on other nodes.
func (n *clusterNamespace) startCount(list []byte, attachments [][]byte, t target) (wait func(ctx context.Context) (members, missing int)) {
	if n.classicNodeCount.Load() > 0 {
		n.publishEvent(list, attachments, t)
		return func(ctx context.Context) (int, int) { return n.countElsewhere(ctx, t) }
	}
	q := newCount()
	if !n.cluster.bus.IsConnected() || !n.openRequest(countTimeout, &q.pendingRequest) {
		n.publishEvent(list, attachments, t)
		return func(context.Context) (int, int) { return 0, max(1, int(n.nodeCount.Load())-1) }
	}
	n.publishBroadcast(list, attachments, t, &q.pendingRequest)
	return q.waitCounted
}

// A pendingCount asks other nodes how many sockets a cast reached there.
type pendingCount struct {
	pendingRequest
	total   int      // guarded by pendingRequest.mu
	missing chan int // how many nodes did not answer, once
}

func newCount() *pendingCount {
	q := &pendingCount{missing: make(chan int, 1)}
	q.id = newID()
	q.onAnswer = func(r *response) { q.total += clampClientCount(r.ClientCount) }
	q.onDone = func(missing int) { q.missing <- missing }
	return q
}

// waitCounted waits for the answers, until ctx ends or the request expires.
func (q *pendingCount) waitCounted(ctx context.Context) (members, missing int) {
	select {
	case missing = <-q.missing:
	case <-ctx.Done():
		q.expireRequest()
		missing = max(1, <-q.missing)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total, missing
}

// A loggedCount is a logged cast whose reach is counted.
type loggedCount struct {
	namespace *clusterNamespace
	own       *ownCast
	pending   *castlog.Pending
	request   *pendingCount // nil where the nodes are not asked
}

// startLoggedCount gives a cast to one room to the log. On an error nobody receives it.
func (n *Namespace) startLoggedCount(c LoggedCast) (*loggedCount, error) {
	nsp := n.cluster
	counting := &loggedCount{namespace: nsp}
	id := ""
	if nsp.classicNodeCount.Load() == 0 {
		q := newCount()
		q.learnsLate = true
		if nsp.openRequest(countTimeout, &q.pendingRequest) {
			counting.request, id = q, q.id
		}
	}
	own, pending, err := n.appendCast(c, id, true)
	if err != nil {
		own.Release()
		counting.stopAsking()
		return nil, err
	}
	counting.own, counting.pending = own, pending
	return counting, nil
}

// stopAsking ends the request: nobody waits for its answers.
func (c *loggedCount) stopAsking() {
	if c.request != nil {
		c.request.expireRequest()
	}
}

// wait returns when Redis has the cast, the sockets on this node have it, and the other nodes have
// said how many they reached. It is CountAndWait from there on.
func (c *loggedCount) wait(ctx context.Context) (reached, missing int, outcome castlog.Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	outcome, err = c.pending.Wait(ctx)
	switch {
	case err != nil: // it may be being delivered
		c.stopAsking()
		return 0, 1, outcome, err
	case outcome.IsLocal:
		c.stopAsking()
		return c.own.reached, max(1, int(c.namespace.nodeCount.Load())-1), outcome, nil
	case outcome.At.IsZero(): // it was heard, but how many nodes it went to was lost with the answer
		c.stopAsking()
		return c.own.reached, max(1, int(c.namespace.nodeCount.Load())-1), outcome, nil
	case c.request == nil:
		elsewhere, missing := c.namespace.countElsewhere(ctx, c.own.target)
		return c.own.reached + elsewhere, missing, outcome, nil
	}
	c.request.setListeners(outcome.Receivers, 0, nil)
	elsewhere, missing := c.request.waitCounted(ctx)
	return c.own.reached + elsewhere, missing, outcome, nil
}
