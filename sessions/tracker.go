package sessions

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// TrackerConfig of a Tracker; the zero value works.
type TrackerConfig struct {
	// Gather is how long a due touch waits for others to share its pipeline; 10 ms when zero.
	Gather time.Duration
	// Timeout bounds each question to Redis; 2 s when zero.
	Timeout time.Duration
	// CatchUp is how often the log of revocations is read, for messages that were not heard.
	// When zero it is the touch interval of the store's TTL.
	CatchUp time.Duration
}

// A Listener is told what happens to the session of a Handle, on a goroutine of Run and
// under no lock. Its functions must not wait, for others are told by the same goroutine; each may be nil.
type Listener struct {
	// Ended is called once, when the session ends before Close.
	Ended func(Revocation)
	// Expiring is called when a tenth of the TTL is left, or less: once, and again after the
	// session was slid. What the client does then slides it, unless its absolute lifetime ends.
	Expiring func(left time.Duration)
}

const (
	maxInterval   = 15 * time.Second
	rememberFor   = 10 * time.Second
	rememberMost  = 1024
	endGrace      = 250 * time.Millisecond // for a revocation that is on its way
	retryFirst    = 50 * time.Millisecond
	retryMost     = time.Second
	flushFor      = time.Second
	askAgainAfter = time.Second
)

// A Tracker follows the sessions that are connected to this process: it slides them, and
// ends them when they run out or are revoked anywhere. It may be used by any number of
// goroutines.
type Tracker struct {
	store   *Store
	cfg     TrackerConfig
	base    time.Time // times are kept as durations since then
	metrics *metrics

	wakeBatch, wakeWatch, wakeCatchUp chan struct{} // capacity 1
	running                           atomic.Bool

	mu       sync.Mutex
	sessions map[string]*live // by session id, guarded by mu
	checks   checks           // every live session once, guarded by mu
	pending  map[string]*live // whose touch is due, by session id, guarded by mu
	recent   memory           // guarded by mu
	handles  int              // guarded by mu
	took     latencies        // guarded by mu
}

// NewTracker makes a tracker; it follows nothing until Run.
func NewTracker(store *Store, cfg TrackerConfig) *Tracker {
	if cfg.Gather <= 0 {
		cfg.Gather = 10 * time.Millisecond
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.CatchUp <= 0 {
		cfg.CatchUp = max(TouchInterval(store.cfg.TTL), 50*time.Millisecond)
	}
	t := &Tracker{
		store: store, cfg: cfg, base: store.now(),
		wakeBatch: make(chan struct{}, 1), wakeWatch: make(chan struct{}, 1), wakeCatchUp: make(chan struct{}, 1),
		sessions: make(map[string]*live), pending: make(map[string]*live),
		recent: memory{by: make(map[memoryKey]remembered)},
	}
	t.metrics = newMetrics(t)
	return t
}

// Run listens for revocations, sends touches and watches deadlines until ctx ends. Then it
// stops all of that, sends the touches that are still pending (for a second at most) and
// returns nil. Listeners are called on its goroutines. A tracker runs once.
func (t *Tracker) Run(ctx context.Context) error {
	if !t.running.CompareAndSwap(false, true) {
		return errors.New("sessions: this tracker ran already")
	}
	var wg sync.WaitGroup
	wg.Go(func() { t.subscribe(ctx) })
	wg.Go(func() { t.catchUp(ctx) })
	wg.Go(func() { t.batch(ctx) })
	wg.Go(func() { t.watch(ctx) })
	wg.Wait()
	t.flush(ctx)
	return nil
}

// Open follows a session that was just read, for one socket. It counts as activity. See the
// package's documentation for what happens to sessions that end between Get and Open.
func (t *Tracker) Open(s Session, on Listener) *Handle {
	h := &Handle{tracker: t, on: on}
	t.mu.Lock()
	l := t.sessions[s.ID]
	if l == nil {
		l = t.follow(s)
	}
	h.live = l
	l.handles = append(l.handles, h)
	t.handles++
	t.mu.Unlock()
	h.Touch()
	return h
}

// follow begins to follow a session; mu is held.
func (t *Tracker) follow(s Session) *live {
	now := t.clock()
	l := &live{id: s.ID, userID: s.UserID, character: s.CharacterID}
	l.due.Store(int64(now))
	l.setTTL(s.TTL)
	l.deadline.Store(int64(s.ExpiresAt.Sub(t.base)))
	if !s.AbsoluteExpiresAt.IsZero() {
		l.absolute = s.AbsoluteExpiresAt.Sub(t.base)
	}
	l.alive.Store(true)
	at := l.next()
	if rev, ok := t.recent.find(memoryKey{session: s.ID}, now); ok {
		l.alive.Store(false)
		l.ending, at = &rev, now
	}
	t.sessions[s.ID] = l
	t.checks.add(l, at)
	t.wake(t.wakeWatch)
	return l
}

// forget stops following a session; mu is held.
func (t *Tracker) forget(l *live) {
	if t.sessions[l.id] == l {
		delete(t.sessions, l.id)
		t.checks.remove(l)
	}
}

// clock is the time since base; it does not jump with the wall clock.
func (t *Tracker) clock() time.Duration { return t.store.now().Sub(t.base) }

func (t *Tracker) wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
