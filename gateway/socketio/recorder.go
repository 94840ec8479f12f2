package socketio

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/zishang520/socket.io/v2/socket"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redisx"
)

// A recorder keeps in Redis what the connections of this node are, and in which rooms, so that
// their clients can go on with them on any node. It writes in the background, many changes in one
// call; an idle connection writes nothing.
type recorder struct {
	cluster  *cluster
	wake     redisx.Signal
	lifetime context.Context // of run
	stop     context.CancelFunc
	stopped  chan struct{}

	mu       sync.Mutex
	queue    []castlog.RecordChange // guarded by mu
	added    uint64                 // how many changes there were; guarded by mu
	written  uint64                 // how many of them Redis has; guarded by mu
	progress chan struct{}          // closed when written grows; guarded by mu
	isBroken bool                   // changes were lost: no record of this node counts; guarded by mu
}

// Bounds and times of a recorder.
const (
	recordsPerCall   = 256
	maxRecordChanges = 100_000 // that wait for Redis
	recordRetry      = 100 * time.Millisecond
	sweepEvery       = 5 * time.Second
)

func newRecorder(c *cluster) *recorder {
	r := &recorder{cluster: c, wake: redisx.NewSignal(), progress: make(chan struct{}), stopped: make(chan struct{})}
	r.lifetime, r.stop = context.WithCancel(context.Background())
	return r
}

// add queues a change, and returns its number.
func (r *recorder) add(c castlog.RecordChange) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added++
	if len(r.queue) >= maxRecordChanges {
		r.written += uint64(len(r.queue))
		r.queue, r.isBroken = nil, true
	}
	if r.isBroken {
		r.written = r.added
	} else {
		r.queue = append(r.queue, c)
	}
	r.wake.Notify()
	return r.added
}

// wait returns when Redis has the change of this number and those before, or ctx ends. It reports
// which.
func (r *recorder) wait(ctx context.Context, number uint64) (isWritten bool) {
	for {
		r.mu.Lock()
		isWritten, progress := r.written >= number, r.progress
		r.mu.Unlock()
		if isWritten {
			return true
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return false
		}
	}
}

// isWritten reports whether Redis has the change of this number.
func (r *recorder) isWritten(number uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written >= number
}

// hasQueuedMembership reports whether Redis does not know yet of a join or a leave of a connection.
func (r *recorder) hasQueuedMembership(pid castlog.PID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.queue, func(c castlog.RecordChange) bool {
		return c.PID == pid && (c.What == castlog.RecordJoin || c.What == castlog.RecordLeave)
	})
}

// run writes until close, and lets the records of dead nodes expire.
func (r *recorder) run() {
	defer close(r.stopped)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-r.wake.C():
			r.writeQueued(r.lifetime)
		case <-sweep.C:
			r.sweepRecords()
		case <-r.lifetime.Done():
			return
		}
	}
}

// writeQueued writes until nothing waits, or ctx ends.
func (r *recorder) writeQueued(ctx context.Context) {
	for ctx.Err() == nil {
		if !r.repair(ctx) {
			r.pause(ctx)
			continue
		}
		r.mu.Lock()
		batch := r.queue[:min(len(r.queue), recordsPerCall)]
		r.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		replaced, err := r.cluster.castLog.WriteRecords(ctx, batch)
		if err != nil {
			r.pause(ctx)
			continue
		}
		lost := r.cluster.findReplaced(replaced)
		r.mu.Lock()
		if len(r.queue) > 0 && &r.queue[0] == &batch[0] {
			clear(batch)
			r.written += uint64(len(batch))
			if r.queue = r.queue[len(batch):]; len(r.queue) == 0 {
				r.queue = nil
			}
			close(r.progress)
			r.progress = make(chan struct{})
		}
		r.mu.Unlock()
		for _, s := range lost {
			s.giveUp(nil)
		}
	}
}

func (r *recorder) pause(ctx context.Context) {
	select {
	case <-time.After(recordRetry):
	case <-ctx.Done():
	}
}

// repair has all records of this node forgotten when changes were lost. It reports whether the
// records count.
func (r *recorder) repair(ctx context.Context) bool {
	r.mu.Lock()
	isBroken := r.isBroken
	r.mu.Unlock()
	if !isBroken {
		return true
	}
	if r.cluster.castLog.ReleaseRecords(ctx, true) != nil {
		return false
	}
	r.cluster.log.Warn("records of connections were lost: clients that come back now are not recovered")
	r.cluster.forEachRecorded(func(s *Socket) { s.isRecorded.Store(false) })
	r.mu.Lock()
	r.isBroken = false
	close(r.progress)
	r.progress = make(chan struct{})
	r.mu.Unlock()
	return true
}

// sweepRecords lets the records of dead nodes expire. Where others have taken this node for dead,
// it says that its connections live.
func (r *recorder) sweepRecords() {
	isTakenForDead, err := r.cluster.castLog.SweepRecords(r.lifetime)
	if err == nil && isTakenForDead {
		r.cluster.forEachRecorded(func(s *Socket) { r.add(s.recordChange(castlog.RecordHold)) })
	}
}

// close writes what waits, and lets the records of this node expire.
func (r *recorder) close() {
	r.stop()
	<-r.stopped
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r.writeQueued(ctx)
	if err := r.cluster.castLog.ReleaseRecords(ctx, false); err != nil {
		r.cluster.log.Warn("the records of connections could not be released; other nodes do that soon", zap.Error(err))
	}
}

// noteMissed writes that the members of this node may have missed casts: with an offset before now
// nobody is recovered.
func (r *recorder) noteMissed() {
	number := r.cluster.castLog.HeardNumber()
	r.cluster.castLog.NoteOutage(number)
	r.add(castlog.RecordChange{What: castlog.RecordMissed, Values: []string{strconv.FormatInt(number, 10)}})
}

// forEachRecorded calls f for each socket of this node that has a record.
func (c *cluster) forEachRecorded(f func(*Socket)) {
	c.forEachNamespace(func(n *clusterNamespace) {
		n.forEachMember(nil, func(m *member) {
			if m.socket != nil && m.socket.isRecorded.Load() {
				f(m.socket)
			}
		})
	})
}

// findReplaced returns the connections here with whose records other connections go on.
func (c *cluster) findReplaced(changes []castlog.ReplacedRecord) (all []*Socket) {
	if len(changes) == 0 {
		return nil
	}
	c.forEachRecorded(func(s *Socket) {
		if slices.Contains(changes, castlog.ReplacedRecord{PID: s.pid, Generation: s.generation}) {
			s.hasLost.Store(true)
			all = append(all, s)
		}
	})
	return all
}

// recordChange returns a change of the socket's record.
func (s *Socket) recordChange(what string, values ...string) castlog.RecordChange {
	return castlog.RecordChange{What: what, PID: s.pid, Generation: s.generation, Values: values}
}

// createRecord begins the record of a socket that has just connected, with the rooms that it is in.
func (s *Socket) createRecord() {
	n := s.nsp.cluster
	if n == nil || n.cluster.recorder == nil {
		return
	}
	if s.isRecorded.Load() {
		return
	}
	s.noteOutageBefore() // the log's lock comes before that of the rooms
	n.rooms.mu.Lock()
	defer n.rooms.mu.Unlock()
	m := n.rooms.members[s.id]
	if m == nil {
		return
	}
	values := []string{s.connecting.owner, string(s.id)}
	for _, x := range m.memberships {
		values = append(values, n.loggedRoom(x.room.name))
	}
	s.isRecorded.Store(true)
	n.cluster.recorder.add(s.recordChange(castlog.RecordNew, values...))
}

// noteMembership writes that a member has joined a room, or left it. rooms.mu is held.
func (n *clusterNamespace) noteMembership(m *member, room socket.Room, by int) {
	s := m.socket
	if s == nil || !s.isRecorded.Load() {
		return
	}
	name := n.loggedRoom(room)
	if by < 0 {
		s.lastChange.Store(n.cluster.recorder.add(s.recordChange(castlog.RecordLeave, name)))
		return
	}
	at := strconv.FormatInt(n.castLog.HeardNumber(), 10)
	s.lastChange.Store(n.cluster.recorder.add(s.recordChange(castlog.RecordJoin, name, at)))
}

// WaitRecorded returns when Redis knows in which rooms the socket is, or ctx ends, or after about
// as long as a subscription may take.
func (s *Socket) WaitRecorded(ctx context.Context) {
	n := s.nsp.cluster
	if n == nil || n.cluster.recorder == nil || !s.isRecorded.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.cluster.cfg.SubscribeWait)
	defer cancel()
	number := s.lastChange.Load()
	if !n.cluster.recorder.wait(ctx, number) {
		s.toldEarly.Store(number)
	}
}

// isRecordBehind reports whether the record of this socket's rooms may be older than what the
// client knows: the client was answered that it joined or left a room, and that change is not
// recorded yet. A connection that is recovered from such a record would be in the wrong rooms.
func (s *Socket) isRecordBehind() bool {
	number := s.toldEarly.Load()
	return number > 0 && (s.hasLost.Load() || !s.nsp.cluster.cluster.recorder.isWritten(number))
}

// SetOwner changes whom the socket belongs to: only for that owner it is recovered.
func (s *Socket) SetOwner(owner string) {
	if n := s.nsp.cluster; n != nil && n.cluster.recorder != nil && s.isRecorded.Load() {
		n.cluster.recorder.add(s.recordChange(castlog.RecordOwner, s.nsp.ownerIn(owner)))
	}
}

// KeepRecord lets the client go on with the socket, whatever ends it.
func (s *Socket) KeepRecord() { s.keepsRecord.Store(true) }

// isRecoverable tells whether a client may go on with a connection that ended for a reason.
func isRecoverable(reason string) bool {
	switch reason {
	case engineio.ReasonTransportClose, engineio.ReasonTransportError, engineio.ReasonPingTimeout,
		engineio.ReasonShutdown, engineio.ReasonSlowConsumer,
		reasonTaken: // of its socket in another namespace: it may be taken next
		return true
	}
	return false
}

// finishRecord writes that the socket has ended, unless another connection goes on with it. It is
// called when the receiver was told.
func (s *Socket) finishRecord(reason string) {
	s.mu.Lock()
	s.isGone = true
	s.mu.Unlock()
	if s.isRecorded.Swap(false) && !s.isTaken.Load() {
		what := castlog.RecordDrop
		if isRecoverable(reason) || s.keepsRecord.Load() {
			what = castlog.RecordEnd
		}
		s.nsp.cluster.cluster.recorder.add(s.recordChange(what, s.endValues(what)...))
	}
}

// noteOutageBefore notes that the socket begins, and has seen no outage.
func (s *Socket) noteOutageBefore() {
	until, ok := s.nsp.cluster.castLog.OutageEnd()
	if !ok {
		until = -1
	}
	s.outageBefore = until
}

// endValues returns what is written with the end of the socket: until when its client may have
// heard casts that had no position. What is said without Redis from now on, it does not hear.
func (s *Socket) endValues(what string) []string {
	if what != castlog.RecordEnd {
		return nil
	}
	until, ok := s.nsp.cluster.castLog.OutageEnd()
	if !ok {
		until = math.MaxInt32 << 20 // nobody has heard as much
	}
	if until == s.outageBefore {
		until = 0 // the socket has seen no outage
	}
	return []string{strconv.FormatInt(until, 10)}
}

// giveUp ends a socket with which another connection goes on: nothing more is read or served, but
// the event under way ends. onGone, if not nil, is called when the receivers were told of the end
// of all sockets of its connection, which then takes no place any more.
func (s *Socket) giveUp(onGone func()) {
	s.isTaken.Store(true)
	s.mu.Lock()
	isGone := s.isGone
	if !isGone && onGone != nil {
		s.link.callWhenServed(onGone)
	}
	s.mu.Unlock()
	if isGone {
		if onGone != nil {
			onGone()
		}
		return
	}
	s.link.dropQueued()
	s.link.conn.Abort(reasonTaken)
}

// reasonTaken is why a connection ends with which another one goes on.
const reasonTaken = "taken over"
