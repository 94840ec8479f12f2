package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// Config tunes a Manager; its zero value works.
type Config struct {
	// Defaults stand where Options say nothing. Its own zero values are 3 s, 2 s and 10 s.
	Defaults Options
	// Try is how long one try may take, at all servers together. Default 500 ms, and never
	// more than a third of the TTL.
	Try time.Duration
}

// Options of one acquisition. Zero values stand for the manager's defaults.
type Options struct {
	// TTL is how long the lease outlives a holder that died. At least 50 ms. Default 3 s.
	TTL time.Duration
	// Wait is how long to wait for another holder; negative: not at all. Default 2 s.
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
	background sync.WaitGroup // undoing of tries that were given up, and listening
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
	m.background.Wait()
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
	if wait < 0 {
		wait = 0
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	leave, err := m.gates.enter(waiting, name)
	if err != nil {
		return nil, givenUp(ctx, opt)
	}
	kept := false
	defer func() {
		if !kept {
			leave()
		}
	}()

	var woken <-chan struct{}
	for {
		a, mutex := m.try(name, opt)
		if deadline, ok := waiting.Deadline(); ok && woken != nil {
			a.waits = max(time.Until(deadline), time.Millisecond)
		}
		err := mutex.TryLockContext(ctx)
		if err == nil {
			err = m.agree(ctx, a, mutex)
		}
		if err == nil {
			kept = true
			return m.lease(ctx, a, mutex, opt, leave), nil
		}
		if ctx.Err() != nil {
			return nil, givenUp(ctx, opt)
		}
		a.mu.Lock()
		missing, left := len(a.failed), a.left
		a.mu.Unlock()
		if missing > (len(m.clients)-1)/2 || errors.Is(err, ErrUnavailable) {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if waiting.Err() != nil {
			return nil, givenUp(ctx, opt)
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
		if left > 0 && left < delay {
			delay = left
		}
		pause := time.NewTimer(delay)
		select {
		case <-pause.C:
		case <-woken:
			pause.Stop()
		case <-waiting.Done():
			pause.Stop()
			return nil, givenUp(ctx, opt)
		}
	}
}

// try makes what one try needs. Each has its own: what a slow server says of an earlier one
// must not be taken for an answer.
func (m *Manager) try(name string, opt Options) (*attempt, *redsync.Mutex) {
	a := &attempt{m: m, name: name, taken: make(map[int]bool), failed: make(map[int]error)}
	pools := make([]redsyncredis.Pool, len(m.clients))
	for i, c := range m.clients {
		pools[i] = &pool{attempt: a, node: i, client: c}
	}
	return a, redsync.New(pools...).NewMutex(keys.Lock(name),
		redsync.WithExpiry(opt.TTL), redsync.WithTries(1), redsync.WithFailFast(len(pools) > 1),
		redsync.WithTimeoutFactor(min(float64(m.cfg.Try)/float64(opt.TTL), 1.0/3)))
}

// givenUp says why nobody waits any more.
func givenUp(ctx context.Context, opt Options) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case opt.Wait < 0 && ctx.Err() == nil:
		return ErrTaken
	}
	return ErrTimeout
}

// agree makes the fence of a quorum known to a majority before the lease counts. Any later
// majority shares a server with this one, and counts on from there.
func (m *Manager) agree(ctx context.Context, a *attempt, mutex *redsync.Mutex) error {
	a.mu.Lock()
	fence := a.fence // of the majority that answered: a later answer may be higher, and nobody's but its own
	a.agreed = fence
	a.mu.Unlock()
	if len(m.clients) == 1 {
		return nil
	}
	try, cancel := context.WithTimeout(ctx, m.cfg.Try)
	defer cancel()
	answers := make(chan bool, len(m.clients))
	for _, c := range m.clients {
		m.background.Go(func() {
			n, err := raiseScript.Run(try, c, []string{keys.Lock(a.name), keys.LockFence(a.name)}, mutex.Value(), fence).Int64()
			answers <- err == nil && n == 1
		})
	}
	need := len(m.clients)/2 + 1
	for range m.clients {
		if <-answers {
			if need--; need == 0 {
				return nil
			}
		}
	}
	undo, cancelUndo := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Try)
	defer cancelUndo()
	_, _ = mutex.UnlockContext(undo) // it runs out by itself otherwise
	return fmt.Errorf("%w: no majority knows the fence", ErrUnavailable)
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
