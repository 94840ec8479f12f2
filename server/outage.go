package server

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/redisconn"
)

const (
	redisChangedMessage = "redis changed"

	// outageSettles is how long Redis must answer before an outage is over. Delayed casts and
	// histories are written within that time, so that they are counted; a Redis that fails again
	// within it continues the same outage.
	outageSettles = 3 * time.Second
	// maxLoggedRights bounds how many lines of one outage say that a right is missing: Redis names one
	// missing right at a time.
	maxLoggedRights = 16
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

// An outageSource reads the figures that are logged at the end of an outage.
type outageSource struct {
	figures    func() outageFigures
	touches    func() int    // sessions whose activity waits for Redis
	durability func() string // of trades
}

// An outage writes one line when Redis goes away and one when it is back, however often the state
// changes in between, and however many parts of the node fail meanwhile. With the zero value of
// source the figures are 0.
type outage struct {
	log    *zap.Logger // writes every line
	held   *zap.Logger // delays lines that an outage may explain
	lines  *outageLines
	source outageSource

	mu     sync.Mutex
	isOn   bool            // Redis is away, or was within outageSettles; guarded by mu
	state  redisconn.State // the state of Redis now; guarded by mu
	why    string          // the reason for state; guarded by mu
	logged redisconn.State // the state in the last line; guarded by mu
	// missingRights were logged since Redis last took writes; guarded by mu.
	missingRights map[string]bool
	loggedRights  int             // how many lines of this outage named a missing right; guarded by mu
	worstState    redisconn.State // the worst state of this outage; guarded by mu
	since         time.Time       // when this outage began; guarded by mu
	backAt        time.Time       // when Redis took writes again; guarded by mu
	times         int             // how often Redis went away in this outage; guarded by mu
	server        string          // how the server changed in this outage; guarded by mu
	figuresBefore outageFigures   // at the begin of this outage; guarded by mu
	timer         *time.Timer     // ends the outage, or logs another state; guarded by mu
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
		clear(o.missingRights)
		o.backAt = time.Now()
		o.startTimer(o.settle)
	}
}

// noteAway begins an outage or goes on with it. The caller holds mu.
func (o *outage) noteAway(from redisconn.State) {
	if !takesNoWrites(from) {
		o.times++
	}
	o.worstState = max(o.worstState, o.state)
	switch {
	case !o.isOn:
		o.isOn, o.since, o.worstState, o.times, o.missingRights, o.loggedRights, o.server = true, time.Now(), o.state, 1, map[string]bool{}, 0, ""
		o.figuresBefore = o.source.read()
		o.lines.begin()
		o.logState(from)
	case o.state == redisconn.Forbidden && !o.missingRights[o.why] && o.loggedRights < maxLoggedRights:
		o.logState(from) // an operator must grant another right
	}
	o.startTimer(o.logLastingState)
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

// logState logs that the state of Redis changed from another one. The caller holds mu.
func (o *outage) logState(from redisconn.State) {
	o.logged = o.state
	if o.state == redisconn.Forbidden {
		o.missingRights[o.why] = true
		o.loggedRights++
	}
	o.log.Warn(redisChangedMessage, zap.Stringer("from", from), zap.Stringer("to", o.state), zap.String("why", o.why))
}

// logLastingState logs the state if it differs from the one that was logged last. The caller holds
// mu.
func (o *outage) logLastingState() {
	if o.logged != o.state {
		o.logState(o.logged)
	}
}

// noteServer notes that another server answers; the last line of the outage says so. A change of
// the server can be so short that no outage began. Then noteServer begins one that ends after
// outageSettles, and its last line is its only one.
func (o *outage) noteServer(kind redisconn.ChangeKind) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isOn && kind != redisconn.Moved {
		now := time.Now()
		o.isOn, o.since, o.backAt, o.worstState, o.times, o.missingRights, o.loggedRights = true, now, now, o.state, 1, map[string]bool{}, 0
		o.figuresBefore = o.source.read()
		o.lines.begin()
		o.startTimer(o.settle)
	}
	if o.isOn {
		o.server = string(kind)
	}
}

// close ends the outage, if one is on, because the process ends.
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

// isOver reports whether there is no outage now.
func (o *outage) isOver() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.isOn
}

// settle ends the outage and logs its length and its costs. The caller holds mu.
func (o *outage) settle() {
	o.isOn = false
	cost := o.source.read().minus(o.figuresBefore)
	fields := []zap.Field{
		zap.Stringer("from", o.worstState), zap.Stringer("to", o.state), zap.Int64("ms", o.backAt.Sub(o.since).Milliseconds()), zap.Int("times", o.times),
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

// read returns the current figures, or zeros where the source has none.
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
