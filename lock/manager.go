package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config tunes a Manager; its zero value works.
type Config struct {
	// Defaults stand where Options say nothing. Its own zero values are 3 s, 2 s and 10 s.
	Defaults Options
	// Try is how long to wait for an answer to one question (acquire, extend, release), of all servers together and
	// with what an acquisition on a quorum asks twice. What came of one that failed is undone behind the caller's back.
	// Default 500 ms; acquiring and extending take never more than a third of the TTL.
	Try time.Duration
}

// Options of one acquisition. Zero values stand for the manager's defaults.
type Options struct {
	// TTL is how long the lease outlives a holder that died. At least 50 ms. Default 3 s.
	TTL time.Duration
	// Wait is how long to wait for another holder; negative: not at all. Default 2 s. A try that was begun is brought to
	// its end, so Acquire may take that much longer; when Wait is negative it takes up to two.
	Wait time.Duration
	// MaxHold is how long the lease is extended. Default 10 s.
	MaxHold time.Duration
}

func (o Options) or(d Options) Options {
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
	clients    []redis.UniversalClient
	cfg        Config
	gates      gates
	counts     counts
	background background // questions to Redis, also those that nobody waits for any more; and listening
	waiters    waiters
}

// New makes a Manager on one Redis service, or on the majority of several that do not
// depend on each other. It panics without any client.
func New(clients []redis.UniversalClient, cfg Config) *Manager {
	if len(clients) == 0 {
		panic("lock: no Redis")
	}
	cfg.Defaults = cfg.Defaults.or(Options{TTL: 3 * time.Second, Wait: 2 * time.Second, MaxHold: 10 * time.Second})
	if cfg.Try <= 0 {
		cfg.Try = 500 * time.Millisecond
	}
	m := &Manager{clients: clients, cfg: cfg, gates: gates{m: make(map[string]*gate)}}
	m.counts.names = make(map[string]uint64)
	m.counts.waits, m.counts.holds = newTimes(), newTimes()
	m.waiters.m = make(map[string]chan struct{})
	m.waiters.ctx, m.waiters.stop = context.WithCancel(context.Background())
	return m
}

// Close ends what still runs behind the callers' backs, and waits for it. Leases are not its business.
func (m *Manager) Close() {
	m.waiters.stop()
	m.background.wait()
}

// Acquire waits for its turn and returns a lease, which is extended until Release, or until
// MaxHold is over. The lease's context comes from ctx. Errors: ErrTaken, ErrTimeout,
// ErrUnavailable, ErrBadOptions, and context.Canceled when ctx was cancelled.
func (m *Manager) Acquire(ctx context.Context, name string, opt Options) (*Lease, error) {
	opt = opt.or(m.cfg.Defaults)
	if name == "" || len(name) > 256 || strings.ContainsAny(name, "{}") || opt.TTL < 50*time.Millisecond || opt.MaxHold < 0 {
		return nil, fmt.Errorf("%w: %q %+v", ErrBadOptions, name, opt)
	}
	begun := time.Now()
	m.counts.waiting.Add(1)
	l, err := m.acquire(ctx, name, opt)
	m.counts.waiting.Add(-1)
	m.counts.waited.Add(int64(time.Since(begun)))
	m.counts.took(m.counts.waits, time.Since(begun))
	switch {
	case err == nil:
		m.counts.acquired.Add(1)
		return l, nil
	case errors.Is(err, ErrUnavailable):
		m.counts.unavailable.Add(1)
	case errors.Is(err, ErrTaken), errors.Is(err, ErrTimeout):
		m.counts.refused.Add(1)
	}
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

func (m *Manager) acquire(ctx context.Context, name string, opt Options) (*Lease, error) {
	wait := opt.Wait
	if wait < 0 { // not for a holder: as long as it takes to ask, behind others who do
		wait = m.tryFor(opt)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	t, taken := m.gates.enter(waiting, name, opt.Wait >= 0)
	if t == nil {
		return nil, givenUp(ctx, opt, taken)
	}
	kept := false
	defer func() {
		if !kept {
			t.leave()
		}
	}()

	var woken <-chan struct{}
	for {
		var waits time.Duration
		if deadline, ok := waiting.Deadline(); ok && woken != nil {
			waits = max(time.Until(deadline), time.Millisecond)
		}
		a, err := m.try(ctx, name, opt, waits)
		switch {
		case err == nil:
			kept = true
			t.told(true)
			return m.lease(ctx, a, opt, t), nil
		case errors.Is(err, ErrTaken):
			taken = true
			t.told(true)
		case ctx.Err() == nil:
			t.told(false)
			return nil, err
		}
		if opt.Wait < 0 || waiting.Err() != nil {
			return nil, givenUp(ctx, opt, taken)
		}
		m.counts.contended(name)
		if woken == nil { // from now on a release wakes us; it may have come before
			var done func()
			woken, done = m.waiters.wait(m, name)
			defer done()
			continue
		}
		// A message may be lost, and a holder may die: then we ask by ourselves.
		delay := pollEvery + rand.N(pollEvery) //nolint:gosec // spreads, hides nothing
		if !m.waiters.hearing() {
			delay = pollDeaf + rand.N(pollDeaf) //nolint:gosec // the same
		}
		if left := a.holderHas(); left > 0 && left < delay {
			delay = left
		}
		pause := time.NewTimer(delay)
		select {
		case <-pause.C:
		case <-woken:
			pause.Stop()
		case <-waiting.Done():
			pause.Stop()
			return nil, givenUp(ctx, opt, taken)
		}
	}
}

// givenUp says why nobody waits any more. When Redis has not said that somebody has the lock, it has said nothing.
func givenUp(ctx context.Context, opt Options, taken bool) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case !taken:
		return fmt.Errorf("%w: no answer in time", ErrUnavailable)
	case opt.Wait < 0:
		return ErrTaken
	}
	return ErrTimeout
}

// Do runs fn while holding the lock. fn's context ends with the lease. Errors: those of
// Acquire, and fn's; with ErrLost or ErrMaxHold before it when that is why fn's context ended.
// That the lease was lost while fn came to a good end is fn's to judge, by its fence.
func (m *Manager) Do(ctx context.Context, name string, opt Options, fn func(ctx context.Context, l *Lease) error) error {
	l, err := m.Acquire(ctx, name, opt)
	if err != nil {
		return err
	}
	defer func() { _ = l.Release(ctx) }() // Release counts what went wrong; the lease runs out by itself
	err = fn(l.Context(), l)
	if cause := context.Cause(l.Context()); errors.Is(err, context.Canceled) && (errors.Is(cause, ErrLost) || errors.Is(cause, ErrMaxHold)) {
		return fmt.Errorf("lock %s: %w: %w", name, cause, err)
	}
	return err
}
