package castlog

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// ErrFull means that Redis is away and that as much waits for it as may wait.
var ErrFull = errors.New("castlog: too much waits for Redis")

// ErrUnknown means that Redis refused a claim and that the reason was lost with its answer.
var ErrUnknown = errors.New("castlog: the message was refused, and why was lost with the answer")

// Config of a Log. Redis, Prefix, Node, Check, Deliver and OnForgotten are required.
type Config struct {
	// Redis is a client of one server or of Sentinel.
	Redis redis.UniversalClient
	// Prefix begins the names of keys and channels: that of the cluster of nodes.
	Prefix string
	// Node names this node among those that live.
	Node string
	// Server names the server that writes go to: another name after each restart, failover or move.
	// Nil, and "", stand for unknown.
	Server func() string

	KeepFor     time.Duration // a room's log is kept for so long after its newest entry; 2 min
	RoomBytes   int           // of one room's log; an entry counts as 1 KiB at least; 1 MiB
	MemoryBytes int           // of all logs; 256 MiB
	QueueBytes  int           // of the casts of this node that wait, or may have to be appended again; 8 MiB
	AwayAfter   time.Duration // Redis is away when it has not confirmed a cast for so long; 250 ms

	// RecordsKeptFor is for how long a client may go on with a connection that has ended; 2 min.
	RecordsKeptFor time.Duration

	// IsPrivate, if not nil, tells of a room whether it is that of one user. Such a room is logged
	// only while the record of a connection of the user lives, and is forgotten with the last one.
	IsPrivate func(room string) bool

	// Nodes returns how many nodes should hear this one, itself included; nil stands for 1.
	Nodes func() int
	// Check tells whether a message that was read from a log is a cast, and which node sent it.
	Check func(message []byte) (origin string, ok bool)
	// Deliver delivers a cast that was heard. owner is that of Hear, or nil for one that was read. A
	// client that has received it has everything up to at. Deliver must not call the log.
	Deliver func(owner any, message []byte, at Position)
	// OnForgotten is called when a message came of another epoch: the caller must have CatchUp called.
	// It must not wait, and not call the log.
	OnForgotten func()
	// OnMissed, if not nil, is called when casts that were acknowledged may never be heard, because a
	// server has forgotten them while the node that said them was gone. It must not wait.
	OnMissed func()
	// OnDeaf, if not nil, is called when this node does not hear its own casts. It must not wait, and
	// not call the log.
	OnDeaf func()
	// Report, if not nil, receives the errors that nobody else gets. It must not wait.
	Report func(error)
}

func (c Config) withDefaults() Config {
	if c.Server == nil {
		c.Server = func() string { return "" }
	}
	if c.IsPrivate == nil {
		c.IsPrivate = func(string) bool { return false }
	}
	if c.Nodes == nil {
		c.Nodes = func() int { return 1 }
	}
	if c.KeepFor <= 0 {
		c.KeepFor = 2 * time.Minute
	}
	if c.RoomBytes <= 0 {
		c.RoomBytes = 1 << 20
	}
	if c.MemoryBytes <= 0 {
		c.MemoryBytes = 256 << 20
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = 8 << 20
	}
	if c.AwayAfter <= 0 {
		c.AwayAfter = 250 * time.Millisecond
	}
	if c.RecordsKeptFor <= 0 {
		c.RecordsKeptFor = 2 * time.Minute
	}
	if c.OnMissed == nil {
		c.OnMissed = func() {}
	}
	if c.OnDeaf == nil {
		c.OnDeaf = func() {}
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	return c
}

const (
	keepSent     = 7 * time.Second // casts are kept for so long after Redis took them
	deafAfter    = time.Second     // without its own casts a node counts as deaf
	castOverhead = 200             // bytes that a kept cast takes beside its message
)

// A Member delivers a cast to the members on this node.
type Member interface {
	// Deliver is called at most once. A member that has received the cast has everything up to at,
	// which is zero when Redis has not confirmed it. Deliver must not wait, and not call the log.
	Deliver(at Position)
	// HasMembers tells whether this node has members for the cast, so that it will hear it.
	HasMembers() bool
	// Release is called once, when Deliver was called or will not be.
	Release()
}

// A Cast is what Append takes.
type Cast struct {
	Rooms    []string // whose logs it is written to
	Channels []string // on which it is published
	// Message is the message as it is published, without its tail. Append takes it over.
	Message []byte
	// Stream and Place, if any, put casts of several nodes in order: from 1, without gaps.
	Stream string
	Place  int64
	// History, if not nil, is written with the cast.
	History *History
	// Members deliver the cast on this node.
	Members Member
}

// A History is what is written to the history of a channel, a stream of Redis.
type History struct {
	Key    string
	Length int           // about how many messages are kept; 0 for none
	Age    time.Duration // how long they are kept
	Text   []byte        // JSON, see history.lua
	Claim  *Claim        // may be nil
}

// A Claim is what Redis may refuse a message for: see history_claim.
type Claim struct {
	SlowKey      string
	SlowInterval time.Duration
	Record       string // "" without an idempotency key
	Token        string
	Digest       string
	Keep         time.Duration
	Answer       string
}

// An Outcome is what became of a cast.
type Outcome struct {
	// At is where the cast stands; zero when it is not known.
	At Position
	// Receivers is how many connections of Redis received it.
	Receivers int64
	// IsLocal means that Redis has not confirmed it: it was delivered on this node, and is appended
	// when Redis is back.
	IsLocal bool
	// Refused, if not nil, is what history_claim said; nobody receives the cast.
	Refused []string
}

// A Pending is a cast on its way.
type Pending struct {
	cast     Cast
	sequence uint64
	size     int // bytes that it counts for
	queuedAt time.Time
	done     chan struct{} // nil when nobody waits

	// guarded by Log.mu
	outcome     Outcome
	err         error
	number      int64     // of its position, once that is known
	confirmedAt time.Time // when Redis confirmed it; zero before
	isDelivered bool      // on this node, or it will not be
	isReleased  bool
	isDone      bool
}

// A Log appends the casts of one node. Its methods may be called from any goroutine.
type Log struct {
	cfg   Config
	base  string
	keys  []string
	epoch string // if this node begins one
	wake  redisx.Signal
	heard heard

	markNow redisx.Signal // the position is to be asked for and published

	mu        sync.Mutex
	kept      []*Pending // without gaps, oldest first; guarded by mu
	keptBytes int        // guarded by mu
	own       window     // casts of this node that were delivered; guarded by mu
	newest    uint64     // the sequence number given last; guarded by mu
	confirmed uint64     // Redis has this cast and those before; guarded by mu
	isAway    bool       // Redis does not confirm; guarded by mu
	// A connection that ends now has received casts without a position, which stand before outage.
	// That position is not known while isOutageOpen, and while Redis has not confirmed localUntil.
	localUntil   uint64 // the newest cast that was delivered locally; guarded by mu
	outage       int64  // guarded by mu
	isOutageOpen bool   // the server has such casts and has not given them positions; guarded by mu
	isSettling   bool   // what was appended again has no position yet; guarded by mu
	isClosed     bool   // guarded by mu
	watch        *time.Timer
	isWatched    bool // watch runs; guarded by mu
	deafSince    time.Time

	// owned by the sender
	conn        *redis.Conn // over which the script is called; nil while there is none
	connSince   time.Time
	lastReport  time.Time // when a failure was reported last
	lastMark    time.Time // when the position was published last
	boundary    string
	forgotFrom  int64 // what the server had when it began
	listeners   int64 // how many nodes heard the position that was published last
	missed      string
	sentUntil   uint64              // the newest cast that a server may have
	againUntil  uint64              // casts up to here may have been on the server before this one
	isDoneAgain bool                // the server knows that we have appended again
	mayLack     bool                // the casts before the first one kept are gone
	notedRooms  map[string]struct{} // the server knows of these that they were written to, since notedSince
	notedSince  time.Time

	stats counters

	stop    context.CancelFunc
	running sync.WaitGroup
}

type counters struct {
	appended, local, again, dropped, lost, caughtUp, catchUps, malformed, missed atomic.Int64
}

// Stats count what happened since the start.
type Stats struct {
	Appended  int64 // casts that Redis confirmed
	Local     int64 // casts that were delivered on this node before Redis confirmed them
	Again     int64 // casts that were appended again to a server that had forgotten them
	Dropped   int64 // entries that the bounds of logs cost
	Lost      int64 // casts of this node that a server forgot and that were not kept any more
	CatchUps  int64 // how often this node read what it had missed
	CaughtUp  int64 // casts that it delivered then
	Malformed int64 // entries that were no casts
	Missed    int64 // how often something may have been missed
	Kept      int   // bytes of this node's casts that are kept
	Waiting   int   // of them, those that Redis has not confirmed
}

// New makes a log. Start begins.
func New(cfg Config) *Log {
	cfg = cfg.withDefaults()
	base := "{" + cfg.Prefix + ":log}:"
	l := &Log{cfg: cfg, base: base, epoch: rand.Text()[:epochBytes], wake: redisx.NewSignal(), markNow: redisx.NewSignal(), heard: newHeard(), stop: func() {}}
	for _, name := range []string{"head", "nodes", "alive", "sizes", "cuts", "rooms", "waiting", "again", "againCasts"} {
		l.keys = append(l.keys, base+name)
	}
	l.watch = time.AfterFunc(time.Hour, l.watchOldest)
	l.watch.Stop()
	return l
}

// MarkChannel is the channel on which positions are published.
func (l *Log) MarkChannel() string { return l.cfg.Prefix + "-position#" }

// Start begins to append.
func (l *Log) Start() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.running.Go(func() { l.sendUntilDone(ctx) })
}

// Close appends what waits, once, and returns when no goroutine is left.
func (l *Log) Close() {
	l.mu.Lock()
	l.isClosed = true
	l.mu.Unlock()
	l.stop()
	l.running.Wait()
	l.watch.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.goAway()
	for len(l.kept) > 0 {
		l.dropOldest()
	}
}

// Stats returns the counts.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	kept, waiting := l.keptBytes, 0
	for _, p := range l.kept {
		if p.confirmedAt.IsZero() {
			waiting += p.size
		}
	}
	l.mu.Unlock()
	c := &l.stats
	return Stats{
		Appended: c.appended.Load(), Local: c.local.Load(), Again: c.again.Load(), Dropped: c.dropped.Load(), Lost: c.lost.Load(),
		CatchUps: c.catchUps.Load(), CaughtUp: c.caughtUp.Load(), Malformed: c.malformed.Load(), Missed: c.missed.Load(), Kept: kept, Waiting: waiting,
	}
}

// Append queues a cast and does not wait. While Redis is away, the members on this node have it
// when Append returns. With wait, Pending.Wait tells what became of it. The error is ErrFull; then
// nobody receives it, and c.Members is not released.
func (l *Log) Append(c Cast, wait bool) (*Pending, error) {
	p := &Pending{cast: c, queuedAt: time.Now()}
	if wait {
		p.done = make(chan struct{})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	size := p.countedSize()
	for l.keptBytes+size > l.cfg.QueueBytes && len(l.kept) > 0 && !l.kept[0].confirmedAt.IsZero() {
		l.dropOldest()
	}
	if l.isClosed || l.keptBytes+size > l.cfg.QueueBytes {
		return nil, ErrFull
	}
	l.newest++
	p.sequence = l.newest
	p.cast.Message = appendSequence(c.Message, p.sequence)
	p.size = size
	l.kept = append(l.kept, p)
	l.keptBytes += size
	if l.isAway {
		l.deliverLocally(p)
	} else if !l.isWatched {
		l.isWatched = true
		l.watch.Reset(l.cfg.AwayAfter)
	}
	l.wake.Notify()
	return p, nil
}

// WaitDelivered returns when the members on this node have received what was cast to a room so far,
// or when ctx ends.
func (l *Log) WaitDelivered(ctx context.Context, room string) {
	done := l.findUndelivered(room)
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// findUndelivered returns what is closed when the newest cast to a room is delivered, or nil when
// it is. What was cast before that is delivered before.
func (l *Log) findUndelivered(room string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.kept) - 1; i >= 0 && !l.kept[i].isDelivered; i-- {
		p := l.kept[i]
		if slices.Contains(p.cast.Rooms, room) {
			if p.done == nil {
				p.done = make(chan struct{})
			}
			return p.done
		}
	}
	return nil
}

// OutageEnd returns the position before which the members on this node have received casts that had
// none, in outages of Redis; 0 for none. ok is false while that is not known.
func (l *Log) OutageEnd() (position int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outage, !l.isAway && !l.isOutageOpen && l.confirmed >= l.localUntil
}

// NoteOutage makes OutageEnd return a position, or a later one.
func (l *Log) NoteOutage(position int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outage = max(l.outage, position)
}

// IsAway reports whether Redis does not confirm casts, so that they are delivered on this node
// alone.
func (l *Log) IsAway() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isAway
}

// Wait returns what became of a cast of Append with wait: when the members on this node have it and
// Redis has confirmed or refused it, or is away. The error is that of ctx, or ErrUnknown.
func (p *Pending) Wait(ctx context.Context) (Outcome, error) {
	select {
	case <-p.done:
		return p.outcome, p.err
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

// countedSize returns the bytes that a cast counts for, whose message has no tail yet.
func (p *Pending) countedSize() int {
	size := len(p.cast.Message) + tailBytes + castOverhead
	if h := p.cast.History; h != nil {
		size += len(h.Text)
	}
	return size
}

// dropOldest forgets the oldest cast. mu is held.
func (l *Log) dropOldest() {
	p := l.kept[0]
	l.kept[0], l.kept = nil, l.kept[1:]
	l.keptBytes -= p.size
	l.releaseMembers(p)
}

// releaseMembers gives back what is needed to deliver a cast. mu is held.
func (l *Log) releaseMembers(p *Pending) {
	if !p.isReleased {
		p.isReleased, p.isDelivered = true, true
		p.cast.Members.Release()
	}
	l.finishWaiting(p)
}

// finishWaiting tells who waits. mu is held.
func (l *Log) finishWaiting(p *Pending) {
	if p.done != nil && !p.isDone {
		p.isDone = true
		close(p.done)
	}
}

// deliverLocally delivers a cast without Redis. mu is held.
func (l *Log) deliverLocally(p *Pending) {
	if p.isDelivered {
		return
	}
	l.stats.local.Add(1)
	l.own.addNumber(p.sequence)
	p.cast.Members.Deliver(Position{})
	p.outcome.IsLocal = true
	l.localUntil = max(l.localUntil, p.sequence)
	l.releaseMembers(p)
}

// findKept returns a cast that is kept, or nil. mu is held.
func (l *Log) findKept(sequence uint64) *Pending {
	if len(l.kept) == 0 || sequence < l.kept[0].sequence || sequence > l.newest {
		return nil
	}
	return l.kept[sequence-l.kept[0].sequence]
}

// goAway delivers everything that Redis has not confirmed. mu is held.
func (l *Log) goAway() {
	l.isAway = true
	for _, p := range l.kept {
		if p.confirmedAt.IsZero() {
			l.deliverLocally(p)
		}
	}
}

// watchOldest finds out that Redis is away, that this node is deaf, and which casts need not be
// kept any more.
func (l *Log) watchOldest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for len(l.kept) > 0 && !l.kept[0].confirmedAt.IsZero() && l.kept[0].isDelivered && now.Sub(l.kept[0].confirmedAt) >= keepSent {
		l.dropOldest()
	}
	isDeaf := false
	for _, p := range l.kept {
		switch {
		case p.confirmedAt.IsZero():
			switch {
			case now.Sub(p.queuedAt) < l.cfg.AwayAfter:
			case p.isDelivered: // it was heard, so it is in the log, though the answer was lost
				l.finishWaiting(p)
			case !l.isAway:
				l.goAway()
			}
		case !p.isDelivered:
			if waits := now.Sub(p.confirmedAt); waits >= l.cfg.AwayAfter {
				l.finishWaiting(p) // it will be heard; who waits has waited long enough
				switch {
				case waits < deafAfter, l.isSettling:
				case l.wasForOthers(p):
					l.releaseMembers(p)
				default:
					isDeaf = true
				}
			}
		}
	}
	if isDeaf && now.Sub(l.deafSince) >= deafAfter {
		l.deafSince = now
		l.cfg.OnDeaf()
	}
	if l.isWatched = len(l.kept) > 0; l.isWatched {
		l.watch.Reset(max(l.cfg.AwayAfter/4, 10*time.Millisecond))
	}
}

// wasForOthers reports whether a cast was published before this node subscribed to its room: it has
// heard what came later. mu is held.
func (l *Log) wasForOthers(p *Pending) bool {
	h := &l.heard
	if p.number == 0 || !h.mu.TryLock() { // its lock comes before ours
		return false
	}
	defer h.mu.Unlock()
	return !h.isCatchingUp && h.at.Number >= p.number
}

// confirmCast notes what became of a cast. mu is held.
func (l *Log) confirmCast(p *Pending, at Position, receivers int64) {
	if p.confirmedAt.IsZero() {
		p.confirmedAt = time.Now()
		l.stats.appended.Add(1)
	}
	p.number = max(p.number, at.Number)
	if p.isDelivered {
		if !p.isDone && !p.outcome.IsLocal {
			p.outcome.At, p.outcome.Receivers = at, receivers
		}
		l.finishWaiting(p)
		return
	}
	p.outcome.At, p.outcome.Receivers = at, receivers
	if !p.cast.Members.HasMembers() {
		l.releaseMembers(p)
	}
}

// refuseCast notes that Redis refused a cast. mu is held.
func (l *Log) refuseCast(p *Pending, reasons []string, err error) {
	p.confirmedAt = time.Now()
	if !p.isDelivered {
		p.outcome.Refused, p.err = reasons, err
	}
	l.releaseMembers(p)
}

// deliverOwn delivers a cast of this node that it has heard, unless it was delivered; at as in
// deliverOnce. isServed is false when it was not delivered, and is not kept any more.
func (l *Log) deliverOwn(sequence uint64, number int64, at Position) (isServed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	isNew := l.own.addNumber(sequence)
	p := l.findKept(sequence)
	if p == nil {
		return !isNew
	}
	p.number = max(p.number, number)
	if !p.isDelivered {
		p.isDelivered, p.isReleased = true, true
		p.cast.Members.Deliver(at)
		p.cast.Members.Release()
	}
	if !p.confirmedAt.IsZero() {
		l.finishWaiting(p)
	}
	return true
}
