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
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// A loadCall is a singleflight call: the search for one value, shared by all callers of this
// process that ask for it.
type loadCall struct {
	name string // of the call, in loadCalls
	key  string
	tags []string
	load encodedLoader
	o    Options

	stages   stages    // the context of its steps
	deadline time.Time // of the lease and of the source
	redis    callInRedis

	done  chan struct{} // closed once entry and err are set
	entry *entry
	err   error

	mu       sync.Mutex
	stale    *entry        // the value that may be served meanwhile; guarded by mu
	hasStale chan struct{} // closed once stale is set; nil while nobody waits for it; guarded by mu
}

// A callInRedis is what a call sends to Redis, all in one piece of memory.
type callInRedis struct {
	keys      [3]string // the value, its lease, and the mark of those who wait; see look.lua
	args      [5]any
	token     string
	message   string
	leaseLife int64 // ms
	life      int64 // of the value, ms
}

// loadCalls are the calls in progress.
type loadCalls struct {
	mu       sync.Mutex
	byName   map[string]*loadCall // guarded by mu
	isClosed bool                 // guarded by mu
}

// joinOrStart returns the call in progress of that name. If there is none, it starts one that run
// works on, in the background; run has the values of ctx, but not its end.
func (m *Manager) joinOrStart(ctx context.Context, name, key string, tags []string, load encodedLoader, o Options, run func(*Manager, *loadCall) (*entry, error)) *loadCall {
	m.loads.mu.Lock()
	defer m.loads.mu.Unlock()
	if call := m.loads.byName[name]; call != nil {
		return call
	}
	call := &loadCall{name: name, key: key, tags: tags, load: load, o: o, done: make(chan struct{})}
	lease := keys.CacheLoad(key)
	call.redis.keys = [3]string{key, lease, keys.CacheLoadAwaited(lease)}
	call.redis.leaseLife = (o.LoadTimeout + time.Second).Milliseconds()
	call.stages.init(ctx)
	call.deadline = time.Now().Add(2*o.LoadTimeout + time.Second)
	if m.loads.isClosed {
		call.stages.cancel()
	}
	m.loads.byName[name] = call
	m.background.Add(1)
	go m.runCall(call, run)
	return call
}

// runCall works on a call and gives the result to all callers.
func (m *Manager) runCall(call *loadCall, run func(*Manager, *loadCall) (*entry, error)) {
	defer m.background.Done()
	call.entry, call.err = run(m, call)
	call.stages.cancel()
	m.loads.mu.Lock()
	delete(m.loads.byName, call.name)
	m.loads.mu.Unlock()
	close(call.done)
}

// cancelAll ends the contexts of all calls, also of later ones.
func (c *loadCalls) cancelAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isClosed = true
	for _, call := range c.byName {
		call.stages.cancel()
	}
}

// remainingTime returns how long the call may still wait for its lease or for the source.
func (call *loadCall) remainingTime() time.Duration { return time.Until(call.deadline) }

// offerStaleEntry names the value that may be served meanwhile. It is called at most once.
func (call *loadCall) offerStaleEntry(e *entry) {
	call.mu.Lock()
	defer call.mu.Unlock()
	call.stale = e
	if call.hasStale != nil {
		close(call.hasStale)
	}
}

// staleEntry returns the value that may be served meanwhile, or nil.
func (call *loadCall) staleEntry() *entry {
	call.mu.Lock()
	defer call.mu.Unlock()
	return call.stale
}

// waitForStale returns a channel that is closed once there is a value that may be served meanwhile.
func (call *loadCall) waitForStale() <-chan struct{} {
	call.mu.Lock()
	defer call.mu.Unlock()
	if call.hasStale == nil {
		call.hasStale = make(chan struct{})
		if call.stale != nil {
			close(call.hasStale)
		}
	}
	return call.hasStale
}

// refreshInBackground loads a value again, unless this or another node is doing so. Nobody waits
// for it.
func (m *Manager) refreshInBackground(ctx context.Context, key string, tags []string, load encodedLoader, o Options) {
	m.joinOrStart(ctx, "refresh "+key, key, tags, load, o, (*Manager).refreshEntry)
}

// refreshEntry is the work of such a call.
func (m *Manager) refreshEntry(call *loadCall) (*entry, error) {
	token, e, err := m.lookAndLease(call, anyValue)
	if err != nil && !isWrongType(err) || token == "" {
		return nil, nil // a refresh can wait for Redis, and another node may be refreshing
	}
	if e != nil && !call.o.needsRefresh(e) {
		m.releaseLoadLease(call, token) // another node has refreshed the value already
		return nil, nil
	}
	m.counters.forPrefixOf(call.key).refreshes.Add(1)
	if _, err := m.loadAndStore(call, token); err != nil && !errors.Is(err, ErrNotFound) {
		m.cfg.OnError("refresh", err)
	}
	return nil, nil
}

// leasePollInterval is how often a node checks whether the load of another node has finished.
// Mostly a message tells it sooner.
const leasePollInterval = 50 * time.Millisecond

// waitForLoadLease waits until this node may load, and returns its token; or until another node has
// stored the value, and returns that. An error means that Redis does not answer any more.
func (m *Manager) waitForLoadLease(call *loadCall) (token string, e *entry, err error) {
	defer m.keyWaiters.removeWaiter(call.key)
	for {
		news := m.keyWaiters.waitChannel(call.key)
		token, e, err = m.lookAndLease(call, anyValue)
		switch {
		case err != nil && !isWrongType(err):
			return "", nil, err
		case e != nil && call.o.remainingFreshTime(e) > 0:
			if token != "" {
				m.releaseLoadLease(call, token)
			}
			return "", e, nil
		case token != "":
			return token, nil, nil
		}
		ctx := call.stages.beginStep(call.remainingTime())
		pause := time.NewTimer(leasePollInterval)
		select {
		case <-news:
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
		if left := call.remainingTime(); left <= 0 || errors.Is(ctx.Err(), context.Canceled) {
			return "", nil, context.DeadlineExceeded
		}
	}
}

// anyValue makes lookAndLease take the lease whatever it reads.
const anyValue = "any"

// lookAndLease reads the value of a call from Redis, and takes the lease of its load if there is no
// value, or one that lives for at most needsLoad milliseconds, in one round trip. token is "" if
// another node has the lease, or if no load is needed. The lease expires a second after
// LoadTimeout. An error that isWrongType comes with the token.
func (m *Manager) lookAndLease(call *loadCall, needsLoad string) (token string, e *entry, err error) {
	var read readMark
	if m.local != nil {
		read = m.local.markReadStart(call.key)
	}
	r := &call.redis
	r.token = strconv.FormatUint(rand.Uint64(), 36)
	args := append(r.args[:0], &r.token, &r.leaseLife, needsLoad)
	ctx := call.stages.beginStep(min(m.cfg.Budget, call.remainingTime()))
	var reply *redis.Cmd
	var versions map[string]versionRead
	if len(call.tags) == 0 {
		reply = lookScript.Do(ctx, m.rdb, r.keys[:], args...)
	} else {
		look := &redisx.Call{Script: lookScript, Keys: r.keys[:], Args: args}
		redisx.RunScriptsWith(ctx, m.rdb, func(pipe redis.Pipeliner) { versions = m.queueVersionReads(ctx, pipe, call.tags) }, look)
		reply = look.Cmd
	}
	found, err := readLook(reply)
	if err != nil && !isWrongType(err) {
		return "", nil, err
	}
	if found.isLeased {
		token = r.token
	}
	if !found.hasData || m.pendingDeletes.containsKey(call.key) {
		return token, nil, err
	}
	e, err = openEnvelope([]byte(found.data))
	if err != nil {
		m.reportUnreadable(call.key)
		return token, nil, nil
	}
	e.expires = neverExpires
	if found.left >= 0 {
		e.expires = time.Now().Add(time.Duration(found.left) * time.Millisecond)
	}
	if len(e.tags) > 0 {
		if ok, err := m.hasCurrentTags(ctx, e, versions); err != nil || !ok {
			return token, nil, err
		}
	}
	if m.local != nil {
		m.local.storeReadEntry(call.key, e, read)
	}
	return token, e, nil
}

// A lookReply is the answer of look.lua.
type lookReply struct {
	data     string
	hasData  bool
	left     int64 // ms, -1 without a TTL
	isLeased bool
}

func readLook(reply *redis.Cmd) (lookReply, error) {
	value, err := reply.Result()
	if err != nil {
		return lookReply{}, err
	}
	switch v := value.(type) {
	case int64:
		if v >= 2 {
			return lookReply{isLeased: v == 3}, errWrongType
		}
		return lookReply{isLeased: v == 1}, nil
	case []any:
		if len(v) == 3 {
			data, isString := v[0].(string)
			left, isNumber := v[1].(int64)
			if isString && isNumber {
				return lookReply{data: data, hasData: true, left: left, isLeased: v[2] == int64(1)}, nil
			}
		}
	}
	return lookReply{}, fmt.Errorf("cache: unexpected answer %T", value)
}

// loadAndStore loads the value from the source, and stores it if it has a token. Errors: those of
// Aside.
func (m *Manager) loadAndStore(call *loadCall, token string) (*entry, error) {
	key, o := call.key, &call.o
	stored := false
	if held := token; held != "" {
		defer func() {
			if !stored {
				m.releaseLoadLease(call, held)
			}
		}()
	}
	versions, err := m.ensureTagVersions(call) // before the load, so that an invalidation during it counts
	if err != nil {
		_ = m.reportFailure(&call.stages, "read tags", key, err)
		token = "" // without the versions the value must not be stored
	}
	m.counters.forPrefixOf(key).loads.Add(1)
	data, err := runLoader(call.stages.beginStep(min(o.LoadTimeout, call.remainingTime())), call.load)
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
	stored, err = m.storeLoaded(call, token, sealed, life)
	if err != nil {
		_ = m.reportFailure(&call.stages, "store", key, err)
	}
	if stored && m.local != nil {
		m.local.storeReadEntry(key, e, read)
	}
	return e, nil
}

// storeLoaded is writeValue for a loaded value. It does not remove the key from L1, because the
// caller stores the new value there.
func (m *Manager) storeLoaded(call *loadCall, token string, data []byte, life time.Duration) (bool, error) {
	r := &call.redis
	r.token, r.life, r.message = token, life.Milliseconds(), m.changeMessage(call.key)
	ctx := call.stages.beginStep(m.cfg.Budget)
	return writeScript.Do(ctx, m.rdb, r.keys[:], append(r.args[:0], &r.token, data, &r.life, keys.CacheInvalidations, &r.message)...).Bool()
}

// releaseLoadLease lets the next caller load. Without it the lease expires by itself.
func (m *Manager) releaseLoadLease(call *loadCall, token string) {
	ctx := call.stages.beginStep(m.cfg.Budget)
	if err := releaseScript.Do(ctx, m.rdb, call.redis.keys[1:2], token).Err(); err != nil {
		_ = m.reportFailure(ctx, "release", call.key, err)
	}
}

// runLoader runs a loader until ctx ends, and turns a panic into an error.
func runLoader(ctx context.Context, load encodedLoader) (data []byte, err error) {
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
