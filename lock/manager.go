package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// Config tunes a Manager. The zero value works.
type Config struct {
	// Defaults replace the zero values of the Options of each call. Where a field of Defaults is
	// zero, it is a TTL of 3 s, a Wait of 2 s and a MaxHold of 10 s.
	Defaults Options
	// Timeout bounds one step (acquire, extend or release): all servers together, including the
	// second round trip that an acquisition on a quorum needs. If a step fails, its effects are
	// undone in the background. Default 500 ms; acquiring and extending never take longer than
	// a third of the TTL.
	Timeout time.Duration
	// Node is the name of this process, which List shows with its locks. May be empty.
	Node string
	// SubscriptionFailed, when set, is called once for each outage of the subscription to releases,
	// when Redis refuses it or the connection is lost. Callers who wait for a holder in another
	// process ask Redis more often then. It must not block.
	SubscriptionFailed func(err error)
}

// Options of one acquisition. A zero value means the default of the manager.
type Options struct {
	// TTL is how long the lease outlives a holder that died. At least 50 ms. Default 3 s.
	TTL time.Duration
	// Wait is how long to wait for another holder. Default 2 s. Acquire finishes an attempt that
	// it has begun, so it may take longer by one attempt (see Config.Timeout). TryAcquire
	// ignores Wait.
	Wait time.Duration
	// MaxHold is how long the lease is extended. Default 10 s.
	MaxHold time.Duration
	// Conn and Purpose say for whom the lock is held, and for what: List shows them. Of each, 128
	// bytes are kept.
	Conn, Purpose string
}

func (o Options) withDefaults(d Options) Options {
	if o.TTL == 0 {
		o.TTL = d.TTL
	}
	if o.Wait == 0 {
		o.Wait = d.Wait
	}
	if o.MaxHold == 0 {
		o.MaxHold = d.MaxHold
	}
	return o
}

// A Manager hands out leases. Its methods may be called from any goroutine.
type Manager struct {
	clients  []redis.UniversalClient
	cfg      Config
	queues   localQueues
	counters counters
	listener releaseListener
	// questions are those to the only server; nil if there are several, or a Cluster.
	questions *redisx.Batcher[*question]
	tasks     tasks // calls to Redis, also those that nobody waits for any more, and the listener
}

// New returns a Manager that keeps its locks in one Redis, or on the majority of several servers
// that do not depend on each other. It panics without a client. The caller closes the Manager,
// and then the clients.
func New(cfg Config, clients ...redis.UniversalClient) *Manager {
	if len(clients) == 0 {
		panic("lock: New needs at least one client")
	}
	cfg.Defaults = cfg.Defaults.withDefaults(Options{TTL: 3 * time.Second, Wait: 2 * time.Second, MaxHold: 10 * time.Second})
	if cfg.Timeout <= 0 {
		cfg.Timeout = 500 * time.Millisecond
	}
	m := &Manager{clients: clients, cfg: cfg}
	m.queues.byName = make(map[string]*localQueue)
	m.counters.contentions = make(map[string]uint64)
	m.counters.waitSeconds = newClassHistogram("gateway_lock_wait_seconds", "How long acquisitions took, including those that failed, by class of the name: what stands before its colon.")
	m.counters.holdSeconds = newClassHistogram("gateway_lock_hold_seconds", "How long leases were held until their release, by class of the name.")
	m.counters.classes = make(map[string]*classTimes)
	m.counters.waits, m.counters.holds = newHistogram(), newHistogram()
	m.listener.wakeups = make(map[string]redisx.Signal)
	m.listener.subscriptionFailed = cfg.SubscriptionFailed
	m.listener.pollInterval = pollIntervalWoken
	m.listener.ctx, m.listener.stop = context.WithCancel(context.Background())
	m.questions = m.newQuestionBatcher()
	return m
}

// Close stops what runs in the background and waits for it. It does not release leases.
func (m *Manager) Close() {
	m.listener.stop()
	if m.questions != nil {
		m.questions.Close()
	}
	m.tasks.waitUntilIdle()
}

// Acquire waits until the name is free and returns a lease of it. The lease is extended until
// Release, or until MaxHold is over, and its context is derived from ctx.
//
// Errors: ErrTimeout, ErrUnavailable, ErrBadOptions, and context.Canceled if ctx was cancelled.
func (m *Manager) Acquire(ctx context.Context, name string, opt Options) (*Lease, error) {
	return m.acquireAndCount(ctx, name, opt, true)
}

// TryAcquire is Acquire without waiting for another holder: if there is one, it returns ErrTaken.
// It takes as long as Redis needs to answer, at most Config.Timeout, and up to twice that if
// other callers of this process ask for the name at the same time.
//
// Errors: ErrTaken, ErrUnavailable, ErrBadOptions, and context.Canceled if ctx was cancelled.
func (m *Manager) TryAcquire(ctx context.Context, name string, opt Options) (*Lease, error) {
	return m.acquireAndCount(ctx, name, opt, false)
}

// acquireAndCount checks the options, acquires the lock, and counts the outcome.
func (m *Manager) acquireAndCount(ctx context.Context, name string, opt Options, mayWait bool) (*Lease, error) {
	opt = opt.withDefaults(m.cfg.Defaults)
	if !isValidName(name) || opt.TTL < 50*time.Millisecond || mayWait && opt.Wait < 0 || opt.MaxHold < 0 {
		return nil, fmt.Errorf("%w: %q %+v", ErrBadOptions, name, opt)
	}
	begun := time.Now()
	m.counters.waiting.Add(1)
	l, err := m.acquireLease(ctx, name, opt, mayWait)
	m.counters.waiting.Add(-1)
	m.counters.waited.Add(int64(time.Since(begun)))
	m.counters.recordWait(name, time.Since(begun))
	switch {
	case err == nil:
		m.counters.acquired.Add(1)
		return l, nil
	case errors.Is(err, ErrUnavailable):
		m.counters.unavailable.Add(1)
	case errors.Is(err, ErrTaken), errors.Is(err, ErrTimeout):
		m.counters.refused.Add(1)
	}
	return nil, fmt.Errorf("acquire %s: %w", name, err)
}

// isValidName refuses braces: a hash tag would put the lock and its fence into different slots of
// a Cluster.
func isValidName(name string) bool {
	return name != "" && len(name) <= 256 && !strings.ContainsAny(name, "{}")
}

func (m *Manager) acquireLease(ctx context.Context, name string, opt Options, mayWait bool) (*Lease, error) {
	wait := opt.Wait
	if !mayWait { // not for a holder; only until Redis has answered those before us in the queue
		wait = m.answerTimeout(opt)
	}
	deadline := time.Now().Add(wait)
	waiting, cancel := ctx, context.CancelFunc(func() {}) // most callers do not wait
	defer func() { cancel() }()
	isWaiting := false
	startWaiting := func() {
		if !isWaiting {
			isWaiting = true
			waiting, cancel = context.WithDeadline(ctx, deadline) //nolint:gosec // it is called at the end
		}
	}
	isContended := false // counted once for each caller
	countOnce := func() {
		if !isContended {
			isContended = true
			m.counters.countContention(name)
		}
	}
	ticket, queue := m.queues.takeFreeTicket(name)
	taken := false
	if ticket == nil {
		startWaiting()
		countOnce()
		ticket, taken = m.queues.waitForTicket(waiting, queue, mayWait)
	}
	if ticket == nil {
		return nil, errorAfterWait(ctx, mayWait, taken)
	}
	leaseHasTicket := false
	defer func() {
		if !leaseHasTicket {
			ticket.done()
		}
	}()

	var woken <-chan struct{} // nil until this caller listens for the release
	for {
		var waitsFor time.Duration // how long Redis remembers that we wait, so that the holder publishes its release
		if deadline, ok := waiting.Deadline(); ok && woken != nil {
			waitsFor = max(time.Until(deadline), time.Millisecond)
		}
		a, err := m.attemptAcquire(ctx, name, opt, waitsFor)
		switch {
		case err == nil:
			leaseHasTicket = true
			ticket.markTaken(true)
			return m.newLease(ctx, a, opt, ticket), nil
		case errors.Is(err, ErrTaken):
			taken = true
			ticket.markTaken(true)
			countOnce()
		case !hasEnded(ctx):
			ticket.markTaken(false)
			return nil, err
		}
		if startWaiting(); !mayWait || waiting.Err() != nil {
			return nil, errorAfterWait(ctx, mayWait, taken)
		}
		if woken == nil { // listen first, then ask again: the release may have come before
			var stopWaiting func()
			woken, stopWaiting = m.listener.waitForRelease(m, name)
			defer stopWaiting()
			continue
		}
		poll := time.NewTimer(m.nextPollDelay(a))
		select {
		case <-poll.C:
		case <-woken:
			poll.Stop()
		case <-waiting.Done():
			poll.Stop()
			return nil, errorAfterWait(ctx, mayWait, taken)
		}
	}
}

// hasEnded reports whether a context has ended, or its deadline is over: a connection has the same
// deadline, and may notice it a moment before the context does.
func hasEnded(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// nextPollDelay is how long to wait for a wake-up before asking Redis again: a message may be lost,
// and a holder that died publishes none.
func (m *Manager) nextPollDelay(a *attempt) time.Duration {
	delay := m.listener.pollInterval
	if !m.listener.isListening() {
		delay = pollIntervalDeaf
	}
	delay += rand.N(delay) //nolint:gosec // spreads the load, hides nothing
	if left := a.holderTimeLeft(); left > 0 && left < delay {
		return left
	}
	return delay
}

// errorAfterWait returns why a caller stopped waiting: the error of a cancelled ctx; ErrUnavailable
// if Redis did not answer; else the lock is taken, and it is ErrTaken or, after a wait, ErrTimeout.
func errorAfterWait(ctx context.Context, mayWait, taken bool) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case !taken:
		return fmt.Errorf("%w: no answer in time", ErrUnavailable)
	case !mayWait:
		return ErrTaken
	}
	return ErrTimeout
}

// Do runs fn while it holds the lock. The context of fn ends with the lease.
//
// Errors: those of Acquire, and the error of fn. If fn fails because its context ended, the error
// also wraps the reason, ErrLost or ErrMaxHold. If the lease is lost but fn returns nil, Do
// returns nil: fn must check the fence itself.
func (m *Manager) Do(ctx context.Context, name string, opt Options, fn func(ctx context.Context, l *Lease) error) error {
	l, err := m.Acquire(ctx, name, opt)
	if err != nil {
		return err
	}
	defer func() { _ = l.Release(ctx) }() // Release counts its failures, and the lease expires by itself
	err = fn(l.Context(), l)
	if cause := context.Cause(l.Context()); errors.Is(err, context.Canceled) && (errors.Is(cause, ErrLost) || errors.Is(cause, ErrMaxHold)) {
		return fmt.Errorf("hold %s: %w: %w", name, cause, err)
	}
	return err
}
