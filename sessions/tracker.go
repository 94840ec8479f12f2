package sessions

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// TrackerConfig of a Tracker. The zero value works.
type TrackerConfig struct {
	// Gather is how long a touch waits for others, to share their pipeline; 10 ms when zero.
	Gather time.Duration
	// Timeout bounds each request to Redis; 2 s when zero.
	Timeout time.Duration
	// CatchUp is how often the tracker reads the log of revocations, for messages that it missed on
	// the channel. When zero it is four fifths of the touch interval of the store's TTL, so that
	// with the time of the read a player is told within the interval.
	CatchUp time.Duration
	// SubscriptionRefused, when set, is called once each time Redis begins to refuse the
	// subscription to the revocation channel, as for a user without the right to it. The tracker
	// goes on trying, and until then finds revocations in the log. It must not block.
	SubscriptionRefused func(err error)
}

// A Listener is called when something happens to the session of a Handle. It is called on a
// goroutine of Run, under no lock, and must not block, since the same goroutine calls the other
// listeners. Each function may be nil.
type Listener struct {
	// Ended is called once, when the session ends before Close.
	Ended func(Revocation)
	// Expiring is called once when a tenth of the TTL or less is left, and again after the session
	// was slid. Activity of the client then slides the session, unless its absolute lifetime ends.
	Expiring func(left time.Duration)
}

const (
	maxTouchInterval     = 15 * time.Second
	recentRevocationsFor = 10 * time.Second
	maxRecentRevocations = 1024
	reasonGrace          = 250 * time.Millisecond // that a missing session waits for its revocation
	minRetryPause        = 50 * time.Millisecond
	maxRetryPause        = time.Second
	flushTimeout         = time.Second
	askAgainPause        = time.Second
	minVerifyInterval    = 50 * time.Millisecond
	maxDeadlineError     = time.Second // of the deadline of a session, as this process knows it
)

// A Tracker follows the sessions that are connected to this process. It slides them, and ends them
// when they expire or are revoked on any node. Any number of goroutines may use it.
type Tracker struct {
	store   *Store
	cfg     TrackerConfig
	base    time.Time // all times are kept as durations since then
	metrics *metrics

	touchDue   redisx.Signal // a touch is pending
	checkMoved redisx.Signal // a check is due earlier than before
	logGrown   redisx.Signal // the log may have new entries

	running  atomic.Bool
	logTried chan struct{} // closed once the end of the log was looked for
	ready    chan struct{} // closed once isSubscribed and hasLogCursor

	mu        sync.Mutex
	sessions  map[string]*trackedSession // by session id; guarded by mu
	checks    checkQueue                 // every session of sessions once; guarded by mu
	pending   map[string]*trackedSession // sessions with a due touch, by session id; guarded by mu
	recent    recentRevocations          // guarded by mu
	handles   int                        // guarded by mu
	latencies revocationLatencies        // guarded by mu

	isSubscribed bool // the channel was subscribed to at least once; guarded by mu
	hasLogCursor bool // the end of the log was found at least once; guarded by mu
}

// NewTracker returns a tracker. It follows nothing until Run.
func NewTracker(store *Store, cfg TrackerConfig) *Tracker {
	if cfg.Gather <= 0 {
		cfg.Gather = 10 * time.Millisecond
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.CatchUp <= 0 {
		cfg.CatchUp = max(TouchInterval(store.cfg.TTL)*4/5, 50*time.Millisecond) // with the time to read, within the interval
	}
	t := &Tracker{
		store: store, cfg: cfg, base: store.now(), ready: make(chan struct{}), logTried: make(chan struct{}),
		touchDue: redisx.NewSignal(), checkMoved: redisx.NewSignal(), logGrown: redisx.NewSignal(),
		sessions: make(map[string]*trackedSession), pending: make(map[string]*trackedSession),
		recent: recentRevocations{byKey: make(map[revocationKey]rememberedRevocation)},
	}
	t.metrics = newMetrics(t)
	return t
}

// Run listens for revocations, sends touches and watches deadlines until ctx ends. Then it stops
// all of that, sends the pending touches (for a second at most) and returns nil. It calls listeners
// on its goroutines. Run may be called once; another call returns an error.
func (t *Tracker) Run(ctx context.Context) error {
	if !t.running.CompareAndSwap(false, true) {
		return errors.New("sessions: Run was already called on this tracker")
	}
	var wg sync.WaitGroup
	wg.Go(func() { t.listenForRevocations(ctx) })
	wg.Go(func() { t.listenForDeletions(ctx) })
	wg.Go(func() { t.catchUpFromLog(ctx) })
	wg.Go(func() { t.runTouchSender(ctx) })
	wg.Go(func() { t.watchDeadlines(ctx) })
	wg.Wait()
	t.flushTouches(ctx)
	return nil
}

// Follows reports whether a socket of this process uses the session, and it is not known to have
// ended.
func (t *Tracker) Follows(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	tracked := t.sessions[id]
	return tracked != nil && tracked.isAlive.Load()
}

// Ready returns a channel that is closed once Run misses no revocation any more: Redis has
// confirmed its first subscription, and Run knows its position in the log. The channel stays open
// before Run and while Redis does not answer, so a server should not refuse to start because of it.
// Once closed it stays closed, since Run catches up after each lost subscription. Open works before
// it.
func (t *Tracker) Ready() <-chan struct{} { return t.ready }

// markReady sets isSubscribed or hasLogCursor, and closes ready once both are set.
func (t *Tracker) markReady(condition *bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if *condition {
		return
	}
	*condition = true
	if t.isSubscribed && t.hasLogCursor {
		close(t.ready)
	}
}

// Open follows a session that was just read, for one socket, and counts as activity. The package
// documentation says what happens to a session that ends between Get and Open.
func (t *Tracker) Open(s Session, listener Listener) *Handle {
	h := &Handle{tracker: t, listener: listener}
	t.mu.Lock()
	tracked := t.sessions[s.ID]
	if tracked == nil {
		tracked = t.trackSession(s)
	}
	h.session = tracked
	tracked.handles = append(tracked.handles, h)
	t.handles++
	t.mu.Unlock()
	h.Touch()
	return h
}

// trackSession begins to follow a session. The caller holds mu.
func (t *Tracker) trackSession(s Session) *trackedSession {
	now := t.sinceBase()
	tracked := &trackedSession{id: s.ID, userID: s.UserID, character: s.CharacterID, verifiedAt: now}
	tracked.touchDue.Store(int64(now))
	tracked.setTTL(s.TTL)
	tracked.deadline.Store(int64(s.ExpiresAt.Sub(t.base)))
	if !s.AbsoluteExpiresAt.IsZero() {
		tracked.absoluteDeadline = s.AbsoluteExpiresAt.Sub(t.base)
	}
	tracked.isAlive.Store(true)
	at := tracked.nextCheck()
	if _, ok := t.recent.lookup(revocationKey{session: s.ID}, now); ok {
		tracked.isAccused, tracked.mustAskRedis, at = true, true, now
	}
	t.sessions[s.ID] = tracked
	t.checks.add(tracked, at)
	t.checkMoved.Notify()
	return tracked
}

// untrackSession stops following a session. The caller holds mu.
func (t *Tracker) untrackSession(tracked *trackedSession) {
	if t.sessions[tracked.id] == tracked {
		delete(t.sessions, tracked.id)
		t.checks.remove(tracked)
	}
}

// sinceBase is the time since base. It does not jump with the wall clock.
func (t *Tracker) sinceBase() time.Duration { return t.store.now().Sub(t.base) }
