package server

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/redisconn"
)

const (
	redisChangedMessage = "redis changed"

	// outageSettles is how long Redis must be back until an outage is over. What the outage has left
	// behind comes within that time; a Redis that goes again before is in the same outage.
	outageSettles = 3 * time.Second
	// maxToldRights bounds the lines about rights in one outage: they may be missing one after the
	// other.
	maxToldRights = 16
)

// outageFigures are counters of what outages cost.
type outageFigures struct {
	local       int64 // casts that only this node's players heard at first; the others get them later
	again       int64 // casts that were sent again to a Redis that had forgotten them
	lost        int64 // casts that Redis has forgotten, and that were too old to be sent again
	unpublished int64 // casts that other nodes will not hear
	missed      int64 // how often this node may have missed casts for good
	unwritten   int64 // messages that may be missing in the history
}

// minus returns what was counted since earlier figures.
func (f outageFigures) minus(earlier outageFigures) outageFigures {
	return outageFigures{
		f.local - earlier.local, f.again - earlier.again, f.lost - earlier.lost, f.unpublished - earlier.unpublished, f.missed - earlier.missed,
		f.unwritten - earlier.unwritten,
	}
}

// An outageSource is what an outage is told of.
type outageSource struct {
	figures    func() outageFigures
	touches    func() int    // sessions whose activity waits for Redis
	durability func() string // of trades
}

// An outage logs that Redis is away, and that it is back: one line each, however often its state
// changes in between, and however many parts of the node notice it. The zero value of source counts
// nothing.
type outage struct {
	log    *zap.Logger // that writes everything
	held   *zap.Logger // that holds what may follow from an outage
	lines  *outageLines
	source outageSource

	mu     sync.Mutex
	isOn   bool            // Redis is away, or was a moment ago; guarded by mu
	state  redisconn.State // the last one; guarded by mu
	why    string          // of state; guarded by mu
	told   redisconn.State // that was logged last; guarded by mu
	rights map[string]bool // missing rights that were logged since Redis was there last; guarded by mu
	named  int             // rights that were logged in this outage; guarded by mu
	worst  redisconn.State // of this outage; guarded by mu
	since  time.Time       // guarded by mu
	backAt time.Time       // guarded by mu
	times  int             // how often Redis went away in this outage; guarded by mu
	server string          // how the server changed in this outage; guarded by mu
	before outageFigures   // guarded by mu
	timer  *time.Timer     // that ends the outage, or tells of another state; guarded by mu
}

// observe is called with each change of the state of Redis.
func (o *outage) observe(from, to redisconn.State, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state, o.why = to, why
	switch {
	case takesNoWrites(to):
		o.noteAway(from)
	case !o.isOn: // it was or is slow
		o.held.Warn(redisChangedMessage, zap.Stringer("from", from), zap.Stringer("to", to), zap.String("why", why))
	case takesNoWrites(from):
		clear(o.rights)
		o.backAt = time.Now()
		o.startTimer(o.settle)
	}
}

// noteAway begins an outage or goes on with it. The caller holds mu.
func (o *outage) noteAway(from redisconn.State) {
	if !takesNoWrites(from) {
		o.times++
	}
	o.worst = max(o.worst, o.state)
	switch {
	case !o.isOn:
		o.isOn, o.since, o.worst, o.times, o.rights, o.named, o.server = true, time.Now(), o.state, 1, map[string]bool{}, 0, ""
		o.before = o.source.read()
		o.lines.begin()
		o.tell(from)
	case o.state == redisconn.Forbidden && !o.rights[o.why] && o.named < maxToldRights:
		o.tell(from) // somebody must grant a right
	}
	o.startTimer(o.tellState)
}

// startTimer calls f after outageSettles, unless the state changes before. The caller holds mu.
func (o *outage) startTimer(f func()) {
	if o.timer != nil {
		o.timer.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(outageSettles, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.timer == timer {
			f()
		}
	})
	o.timer = timer
}

// tell logs the state. The caller holds mu.
func (o *outage) tell(from redisconn.State) {
	o.told = o.state
	if o.state == redisconn.Forbidden {
		o.rights[o.why] = true
		o.named++
	}
	o.log.Warn(redisChangedMessage, zap.Stringer("from", from), zap.Stringer("to", o.state), zap.String("why", o.why))
}

// tellState logs a state that has lasted and is another one than the log says. The caller holds mu.
func (o *outage) tellState() {
	if o.told != o.state {
		o.tell(o.told)
	}
}

// noteServer notes that another server answers: the end of an outage tells of it. Where Redis was
// away for so short that its state did not change, an outage begins that is over already: its end
// is its only line.
func (o *outage) noteServer(kind redisconn.ChangeKind) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isOn && kind != redisconn.Moved {
		now := time.Now()
		o.isOn, o.since, o.backAt, o.worst, o.times, o.rights, o.named = true, now, now, o.state, 1, map[string]bool{}, 0
		o.before = o.source.read()
		o.lines.begin()
		o.startTimer(o.settle)
	}
	if o.isOn {
		o.server = string(kind)
	}
}

// close ends an outage in which the process ends.
func (o *outage) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
	}
	if !o.isOn {
		return
	}
	if takesNoWrites(o.state) {
		o.backAt = time.Now()
	}
	o.settle()
}

// isOver reports whether no outage is on.
func (o *outage) isOver() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.isOn
}

// settle ends an outage, and logs what it has cost. The caller holds mu.
func (o *outage) settle() {
	o.isOn = false
	cost := o.source.read().minus(o.before)
	fields := []zap.Field{
		zap.Stringer("from", o.worst), zap.Stringer("to", o.state), zap.Int64("ms", o.backAt.Sub(o.since).Milliseconds()), zap.Int("times", o.times),
		zap.String("server", o.server), zap.Int64("local", cost.local), zap.Int64("again", cost.again), zap.Int64("lost", cost.lost),
		zap.Int64("unpublished", cost.unpublished), zap.Int64("missed", cost.missed),
		zap.Int64("unwritten", cost.unwritten), zap.Any("lines", o.lines.end()),
	}
	if o.source.touches != nil {
		fields = append(fields, zap.Int("touches", o.source.touches()), zap.String("durability", o.source.durability()))
	}
	if cost.lost+cost.unpublished+cost.missed+cost.unwritten > 0 {
		o.log.Error(redisChangedMessage, fields...)
		return
	}
	o.log.Warn(redisChangedMessage, fields...)
}

// read returns the figures as they are now.
func (s outageSource) read() outageFigures {
	if s.figures == nil {
		return outageFigures{}
	}
	return s.figures()
}

// outageFigures returns what this node has counted since its start.
func (n *node) outageFigures() outageFigures {
	log := n.gateway.Log()
	return outageFigures{log.Local, log.Again, log.Lost, n.gateway.Cluster().Unpublished, log.Missed, n.features.chat.HistoryStats().Unwritten}
}
