package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/aeturnis/realtime/fault"
)

// A Loader reads a value from the source. An error that is fault.ErrNotFound, or a value that
// encodes to null, means that the source has no value.
type Loader[T any] func(ctx context.Context) (T, error)

// Options of Aside and Tagged. The zero value works.
type Options struct {
	// TTL is how long a value is fresh; 0 means Config.TTL.
	TTL time.Duration
	// RefreshThreshold is the last part of the TTL in which a value is loaded again while the old one
	// is still served: 0.1 means the last tenth. Of all nodes, one loads. 0 means never.
	RefreshThreshold float64
	// NegativeTTL is how long the cache remembers that the source has no value; 0 means 30 s, and a
	// negative value means not at all.
	NegativeTTL time.Duration
	// Jitter is the largest random part of the TTL by which it is shortened, so that values that were
	// loaded together do not expire together; 0 means 0.1, and a negative value means none.
	Jitter float64
	// StaleFor is how long after its TTL a value may still be served, if the source fails or takes
	// longer than SoftTimeout. 0 means not at all.
	StaleFor time.Duration
	// SoftTimeout is how long callers wait for the source if there is a stale value; 0 means until
	// the source answers.
	SoftTimeout time.Duration
	// LoadTimeout bounds one load; 0 means 5 s. A load continues when its callers leave.
	LoadTimeout time.Duration
}

func (o Options) withDefaults(c Config) Options {
	if o.TTL <= 0 {
		o.TTL = c.TTL
	}
	if o.NegativeTTL == 0 {
		o.NegativeTTL = 30 * time.Second
	}
	if o.Jitter == 0 {
		o.Jitter = 0.1
	}
	o.Jitter = min(max(o.Jitter, 0), 1)
	o.StaleFor = max(o.StaleFor, 0)
	if o.LoadTimeout <= 0 {
		o.LoadTimeout = 5 * time.Second
	}
	return o
}

// jitteredTTL returns the TTL in Redis of a value that was loaded now.
func (o *Options) jitteredTTL() time.Duration {
	fresh := o.TTL - time.Duration(o.Jitter*rand.Float64()*float64(o.TTL))
	return max(fresh, time.Millisecond) + o.StaleFor
}

// remainingFreshTime returns how long an entry is still fresh.
func (o *Options) remainingFreshTime(e *entry) time.Duration {
	left := time.Until(e.expires)
	if !e.isAbsentValue() {
		left -= o.StaleFor
	}
	return left
}

// needsRefresh tells whether a fresh entry should be loaded again.
func (o *Options) needsRefresh(e *entry) bool {
	return o.RefreshThreshold > 0 && !e.isAbsentValue() && o.remainingFreshTime(e) < time.Duration(o.RefreshThreshold*float64(o.TTL))
}

// Aside returns the value of a key from the cache. If there is none, it loads the value from the
// source and stores it: one load, for all callers on all nodes.
//
// A stored value that does not decode to T is reported, and loaded and stored anew.
//
// Errors: ErrNotFound; a fault of the source, as it is; any other error of the source as the fault
// UNAVAILABLE; ErrKey, ErrValue and ErrTooLarge; and the error of ctx. If a stale value may be
// served, Aside returns that instead of an error of the source.
func Aside[T any](ctx context.Context, m *Manager, key string, load Loader[T], o Options) (T, error) {
	return asideWithTags(ctx, m, key, nil, load, o)
}

func asideWithTags[T any](ctx context.Context, m *Manager, key string, tags []string, load Loader[T], o Options) (v T, err error) {
	if err := validateKey(key); err != nil {
		return v, err
	}
	source := func(ctx context.Context) ([]byte, error) {
		v, err := load(ctx)
		if err != nil {
			return nil, err
		}
		return m.encodeValue(key, v)
	}
	o = o.withDefaults(m.cfg)
	e, err := m.getOrLoadEntry(ctx, key, tags, source, o)
	if err != nil {
		return v, err
	}
	v, ok, err := decodeValue[T](m, key, e.data)
	if err != nil { // what is stored is of no use: it is a miss
		m.reportUnreadable(key)
		m.removeUnreadable(ctx, key, e)
		if e, err = m.getOrLoadEntry(ctx, key, tags, source, o); err != nil {
			return v, err
		}
		v, ok, err = decodeValue[T](m, key, e.data)
	}
	if err == nil && !ok {
		err = ErrNotFound
	}
	return v, err
}

// An encodedLoader is a Loader that returns the encoded value.
type encodedLoader func(ctx context.Context) ([]byte, error)

// getOrLoadEntry is Aside for encoded values.
func (m *Manager) getOrLoadEntry(ctx context.Context, key string, tags []string, load encodedLoader, o Options) (*entry, error) {
	if m.local != nil {
		if e := m.local.freshEntry(key); e != nil && o.remainingFreshTime(e) > 0 && m.local.hasCurrentTags(e) {
			m.counters.forPrefixOf(key).localHits.Add(1)
			if o.needsRefresh(e) {
				m.refreshInBackground(ctx, key, tags, load, o)
			}
			return e, nil
		}
	}
	call := m.joinOrStart(ctx, key, tags, load, o, false)
	return m.waitForCall(ctx, call, key, o)
}

// waitForCall waits until the call has finished. If the call has a stale value, it waits for
// SoftTimeout only.
func (m *Manager) waitForCall(ctx context.Context, call *loadCall, key string, o Options) (*entry, error) {
	var soft <-chan time.Time
	var stale <-chan struct{}
	if o.SoftTimeout > 0 {
		timer := time.NewTimer(o.SoftTimeout)
		defer timer.Stop()
		soft = timer.C
	}
	for {
		select {
		case <-call.done:
			return call.entry, call.err
		case <-soft:
			soft, stale = nil, call.waitForStale() // closed once the call has a stale value
		case <-stale:
			m.counters.forPrefixOf(key).stale.Add(1)
			return call.staleEntry(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// findEntry asks Redis for the value of a call, and waits for the load of another node. The error
// errMustLoad means that the source must be asked.
func (m *Manager) findEntry(call *loadCall) (*entry, error) {
	key, o := call.key, &call.o
	e, err := m.lookAndLease(call, strconv.FormatInt(o.StaleFor.Milliseconds(), 10))
	if isWrongType(err) { // another program's value of another type: a load replaces it
		m.reportUnreadable(key)
		err = nil
	}
	redisFailed := err != nil
	switch {
	case redisFailed:
		_ = m.reportFailure(&call.stages, "read", key, err) // the failure is counted and reported; the source answers
	case e != nil && o.remainingFreshTime(e) > 0:
		m.counters.forPrefixOf(key).hits.Add(1)
		m.releaseLoadLease(call) // the script thought that a load was needed
		if o.needsRefresh(e) {
			m.refreshInBackground(&call.stages, key, call.tags, call.load, *o)
		}
		return e, nil
	}
	m.counters.forPrefixOf(key).misses.Add(1)
	stale := e
	if redisFailed && m.local != nil {
		stale = m.local.staleEntry(key)
	}
	if stale != nil && !stale.isAbsentValue() {
		call.offerStaleEntry(stale)
	}

	if !redisFailed && call.token == "" {
		e, err = m.waitForLoadLease(call)
		if e != nil {
			return e, nil
		}
		if err != nil && call.remainingTime() > 0 {
			_ = m.reportFailure(&call.stages, "wait for the lease", key, err)
		}
	}
	return nil, errMustLoad
}

// faultOfSource turns an error of the source into the error that callers get.
func faultOfSource(err error) error {
	var f *fault.Fault
	switch {
	case errors.As(err, &f), errors.Is(err, ErrValue), errors.Is(err, ErrTooLarge):
		return err
	}
	return fault.Unavailable("cache", time.Second, err)
}
