package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// A loadCall is a singleflight call: the search for one value, shared by all callers of this
// process that ask for it.
type loadCall struct {
	done     chan struct{} // closed once entry and err are set
	entry    *entry
	err      error
	hasStale chan struct{} // closed once stale is set
	stale    *entry
}

// loadCalls are the calls in progress.
type loadCalls struct {
	mu    sync.Mutex
	byKey map[string]*loadCall // guarded by mu
}

// joinOrStart returns the call in progress for the key, or starts a new one. start must not block;
// the goroutine that it starts calls finishCall.
func (c *loadCalls) joinOrStart(key string, start func(call *loadCall)) *loadCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.byKey[key]; call != nil {
		return call
	}
	call := &loadCall{done: make(chan struct{}), hasStale: make(chan struct{})}
	c.byKey[key] = call
	start(call)
	return call
}

// finishCall gives the result to all callers.
func (c *loadCalls) finishCall(key string, call *loadCall, e *entry, err error) {
	c.mu.Lock()
	delete(c.byKey, key)
	c.mu.Unlock()
	call.entry, call.err = e, err
	close(call.done)
}

// offerStaleEntry names the value that may be served meanwhile. It is called at most once.
func (call *loadCall) offerStaleEntry(e *entry) {
	call.stale = e
	close(call.hasStale)
}

// runInBackground runs fn in the background with the values of ctx, but not with its end: for
// limit, or until Close.
func (m *Manager) runInBackground(ctx context.Context, limit time.Duration, fn func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(m.ctx, cancel)
	m.background.Go(func() {
		defer cancel()
		defer stop()
		fn(ctx)
	})
}

// refreshInBackground loads a value again, unless this or another node is doing so. Nobody waits
// for it.
func (m *Manager) refreshInBackground(ctx context.Context, key string, tags []string, load encodedLoader, o Options) {
	name := "refresh " + key
	m.loads.joinOrStart(name, func(call *loadCall) {
		m.runInBackground(ctx, o.LoadTimeout+time.Second, func(ctx context.Context) {
			defer m.loads.finishCall(name, call, nil, nil)
			token, e, err := m.tryLoadLease(ctx, key, tags, o)
			if err != nil || token == "" {
				return // a refresh can wait for Redis, and another node may be refreshing
			}
			if e != nil && !o.needsRefresh(e) {
				m.releaseLoadLease(ctx, key, token) // another node has refreshed the value already
				return
			}
			m.counters.forPrefixOf(key).refreshes.Add(1)
			if _, err := m.loadAndStore(ctx, key, token, tags, load, o); err != nil && !errors.Is(err, ErrNotFound) {
				m.cfg.OnError("refresh", err)
			}
		})
	})
}

// leasePollInterval is how often a node checks whether the load of another node has finished.
// Mostly a message tells it sooner.
const leasePollInterval = 50 * time.Millisecond

// waitForLoadLease waits until this node may load, and returns its token; or until another node has
// stored the value, and returns that. An error means that Redis does not answer any more.
func (m *Manager) waitForLoadLease(ctx context.Context, key string, tags []string, o Options) (token string, e *entry, err error) {
	defer m.keyWaiters.removeWaiter(key)
	for {
		news := m.keyWaiters.waitChannel(key)
		token, e, err = m.tryLoadLease(ctx, key, tags, o)
		switch {
		case err != nil:
			return "", nil, err
		case e != nil && o.remainingFreshTime(e) > 0:
			if token != "" {
				m.releaseLoadLease(ctx, key, token)
			}
			return "", e, nil
		case token != "":
			return token, nil, nil
		}
		pause := time.NewTimer(leasePollInterval)
		select {
		case <-news:
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
	}
}

// tryLoadLease asks Redis for the lease of a load and reads the current value, in one round trip.
// token is "" if another node has the lease. The lease expires a second after LoadTimeout.
func (m *Manager) tryLoadLease(ctx context.Context, key string, tags []string, o Options) (token string, e *entry, err error) {
	mine := strconv.FormatUint(rand.Uint64(), 36)
	var taken *redis.StatusCmd
	e, err = m.fetchEntryAfter(ctx, key, tags, func(ctx context.Context, pipe redis.Pipeliner) {
		taken = pipe.SetArgs(ctx, keys.CacheLoad(key), mine, redis.SetArgs{Mode: "NX", TTL: o.LoadTimeout + time.Second})
	})
	switch {
	case isWrongType(err):
		e = nil
	case err != nil:
		return "", nil, err
	}
	switch {
	case errors.Is(taken.Err(), redis.Nil):
		return "", e, nil
	}
	return mine, e, taken.Err()
}

// loadAndStore loads the value from the source, and stores it if it has a token. Errors: those of
// Aside.
func (m *Manager) loadAndStore(ctx context.Context, key, token string, tags []string, load encodedLoader, o Options) (*entry, error) {
	stored := false
	if held := token; held != "" {
		defer func() {
			if !stored {
				m.releaseLoadLease(ctx, key, held)
			}
		}()
	}
	versions, err := m.ensureTagVersions(ctx, tags) // before the load, so that an invalidation during it counts
	if err != nil {
		_ = m.reportFailure(ctx, "read tags", key, err)
		token = "" // without the versions the value must not be stored
	}
	m.counters.forPrefixOf(key).loads.Add(1)
	data, err := runLoaderWithin(ctx, load, o.LoadTimeout)
	life := o.jitteredTTL()
	switch {
	case errors.Is(err, fault.ErrNotFound):
		data, life = absentValue, o.NegativeTTL
	case err != nil:
		m.counters.forPrefixOf(key).loadErrors.Add(1)
		return nil, faultOfSource(err)
	case string(data) == string(absentValue):
		life = o.NegativeTTL
	}
	e := &entry{data: data, tags: versions, expires: time.Now().Add(life)}
	if token == "" || life <= 0 {
		return e, nil
	}
	sealed := data
	if len(versions) > 0 {
		if sealed, err = sealEnvelope(versions, data); err != nil {
			return nil, err
		}
	}
	var read readMark
	if m.local != nil {
		read = m.local.markReadStart(key)
	}
	stored, err = m.storeLoaded(ctx, key, token, sealed, life)
	if err != nil {
		_ = m.reportFailure(ctx, "store", key, err)
	}
	if stored && m.local != nil {
		m.local.storeReadEntry(key, e, read)
	}
	return e, nil
}

// storeLoaded is writeValue for a loaded value. It does not remove the key from L1, because the
// caller stores the new value there.
func (m *Manager) storeLoaded(ctx context.Context, key, token string, data []byte, life time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Budget)
	defer cancel()
	return writeScript.Do(ctx, m.rdb, writeScriptKeys(key), m.writeScriptArgs(key, token, data, life)...).Bool()
}

// releaseLoadLease lets the next caller load. Without it the lease expires by itself.
func (m *Manager) releaseLoadLease(ctx context.Context, key, token string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Budget)
	defer cancel()
	if err := releaseScript.Do(ctx, m.rdb, []string{keys.CacheLoad(key)}, token).Err(); err != nil {
		_ = m.reportFailure(ctx, "release", key, err)
	}
}

// runLoaderWithin runs a loader for at most limit, and turns a panic into an error.
func runLoaderWithin(ctx context.Context, load encodedLoader, limit time.Duration) (data []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		data []byte
		err  error
	}
	out := make(chan result, 1)
	go func() { // a loader that ignores its context continues alone
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("cache: loader panicked: %v", p)
			}
			out <- r
		}()
		r.data, r.err = load(ctx)
	}()
	select {
	case r := <-out:
		return r.data, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("cache: load: %w", ctx.Err())
	}
}
