package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
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

	isRefresh bool      // nobody waits for it
	stages    stages    // the context of its steps
	deadline  time.Time // of the lease and of the source
	redis     callInRedis
	token     string            // of the lease; "" without one
	unsure    string            // of a lease that Redis may have given in an answer that was lost; or ""
	versions  map[string]string // of the tags, before the load
	isLoaded  atomic.Bool       // the source has answered, or has taken too long

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

// joinOrStart returns the call in progress for the key, or of a refresh of it. If there is none, it
// starts one in the background, with the values of ctx, but not its end.
func (m *Manager) joinOrStart(ctx context.Context, key string, tags []string, load encodedLoader, o Options, isRefresh bool) *loadCall {
	name := key
	if isRefresh {
		name = "refresh " + key
	}
	m.loads.mu.Lock()
	defer m.loads.mu.Unlock()
	if call := m.loads.byName[name]; call != nil {
		return call
	}
	call := &loadCall{name: name, key: key, tags: tags, load: load, o: o, isRefresh: isRefresh, done: make(chan struct{})}
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
	m.workers.run(func() { m.runCall(call) })
	return call
}

// runCall works on a call. If the source takes too long, concludeLoad finishes the call meanwhile.
func (m *Manager) runCall(call *loadCall) {
	find := m.findEntry
	if call.isRefresh {
		find = m.findStaleEntry
	}
	e, err := find(call)
	if !errors.Is(err, errMustLoad) {
		m.finishCall(call, e, err)
		return
	}
	if call.versions, err = m.ensureTagVersions(call); err != nil { // before the load, so that an invalidation during it counts
		_ = m.reportFailure(&call.stages, "read tags", call.key, err)
		m.releaseLoadLease(call) // without the versions the value must not be stored
	}
	m.counters.forPrefixOf(call.key).loads.Add(1)
	ctx := call.stages.beginStepWith(min(call.o.LoadTimeout, call.remainingTime()), func(err error) {
		m.concludeLoad(call, nil, fmt.Errorf("cache: load: %w", err))
	})
	data, err := runLoader(ctx, call.load)
	m.concludeLoad(call, data, err)
}

// errMustLoad says that the source must be asked.
var errMustLoad = errors.New("cache: must load")

// finishCall gives the result to all callers.
func (m *Manager) finishCall(call *loadCall, e *entry, err error) {
	defer m.background.Done()
	if call.unsure != "" { // else all nodes would wait for a load that nobody runs
		call.token, call.unsure = call.unsure, ""
		defer m.releaseLoadLease(call) // nobody waits for it any more
	}
	call.stages.cancel()
	call.entry, call.err = e, err
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
	m.joinOrStart(ctx, key, tags, load, o, true)
}

// findStaleEntry asks whether a refresh must load.
func (m *Manager) findStaleEntry(call *loadCall) (*entry, error) {
	e, err := m.lookAndLease(call, anyValue)
	if err != nil && !isWrongType(err) || call.token == "" {
		m.releaseLoadLease(call) // of a value whose tags could not be read
		return nil, nil          // a refresh can wait for Redis, and another node may be refreshing
	}
	if e != nil && !call.o.needsRefresh(e) {
		m.releaseLoadLease(call) // another node has refreshed the value already
		return nil, nil
	}
	m.counters.forPrefixOf(call.key).refreshes.Add(1)
	return nil, errMustLoad
}

// leasePollInterval is how often a node checks whether the load of another node has finished.
// Mostly a message tells it sooner.
const leasePollInterval = 50 * time.Millisecond

// waitForLoadLease waits until this node may load, and the call has the lease; or until another
// node has stored the value, and returns that. An error means that Redis does not answer any more.
func (m *Manager) waitForLoadLease(call *loadCall) (e *entry, err error) {
	defer m.keyWaiters.removeWaiter(call.key)
	for {
		news := m.keyWaiters.waitChannel(call.key)
		e, err = m.lookAndLease(call, anyValue)
		switch {
		case err != nil && !isWrongType(err):
			return nil, err
		case e != nil && call.o.remainingFreshTime(e) > 0:
			m.releaseLoadLease(call)
			return e, nil
		case call.token != "":
			return nil, nil
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
			return nil, context.DeadlineExceeded
		}
	}
}

// anyValue makes lookAndLease take the lease whatever it reads.
const anyValue = "any"

// lookAndLease reads the value of a call from Redis, and takes the lease of its load if there is no
// value, or one that lives for at most needsLoad milliseconds, in one round trip. call.token is ""
// if another node has the lease, or if no load is needed. The lease expires a second after
// LoadTimeout. With an error that isWrongType, the call may have the lease.
func (m *Manager) lookAndLease(call *loadCall, needsLoad string) (e *entry, err error) {
	var read readMark
	if m.local != nil {
		read = m.local.markReadStart(call.key)
	}
	call.token = ""
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
		if !errors.As(err, new(redis.Error)) {
			call.unsure = r.token
		}
		return nil, err
	}
	if found.isLeased {
		call.token = r.token
	}
	if !found.hasData || m.pendingDeletes.containsKey(call.key) {
		return nil, err
	}
	e, err = openEnvelope([]byte(found.data))
	if err != nil {
		m.reportUnreadable(call.key)
		return nil, nil //nolint:nilerr // it is reported, and counts as not there
	}
	e.expires = neverExpires
	if found.left >= 0 {
		e.expires = time.Now().Add(time.Duration(found.left) * time.Millisecond)
	}
	if len(e.tags) > 0 {
		if ok, err := m.hasCurrentTags(ctx, e, versions); err != nil || !ok {
			return nil, err
		}
	}
	if m.local != nil {
		m.local.storeReadEntry(call.key, e, read)
	}
	return e, nil
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

// concludeLoad finishes the call with what the source has answered, the first time it is called.
func (m *Manager) concludeLoad(call *loadCall, data []byte, err error) {
	if !call.isLoaded.CompareAndSwap(false, true) {
		return
	}
	e, err := m.storeLoaded(call, data, err)
	m.releaseLoadLease(call) // if nothing was stored
	isAnswer := err == nil || errors.Is(err, ErrNotFound)
	if call.isRefresh && !isAnswer {
		m.cfg.OnError("refresh", err)
	}
	if stale := call.staleEntry(); !isAnswer && stale != nil && time.Now().Before(stale.expires) {
		m.counters.forPrefixOf(call.key).stale.Add(1)
		m.cfg.OnError("load", err)
		e, err = stale, nil
	}
	m.finishCall(call, e, err)
}

// storeLoaded stores what the source has answered, if the call has the lease, which ends with it.
// Errors: those of Aside.
func (m *Manager) storeLoaded(call *loadCall, data []byte, err error) (*entry, error) {
	key, o := call.key, &call.o
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
	e := &entry{data: data, tags: call.versions, expires: time.Now().Add(life)}
	if call.token == "" || life <= 0 {
		return e, nil
	}
	sealed := data
	if len(call.versions) > 0 {
		if sealed, err = sealEnvelope(call.versions, data); err != nil {
			return nil, err
		}
	}
	var read readMark
	if m.local != nil {
		read = m.local.markReadStart(key)
	}
	r := &call.redis
	r.token, r.life, r.message = call.token, life.Milliseconds(), m.changeMessage(key)
	args := append(r.args[:0], &r.token, sealed, &r.life, keys.CacheInvalidations, &r.message)
	stored, err := writeScript.Do(call.stages.beginLastStep(m.cfg.Budget), m.rdb, r.keys[:], args...).Bool()
	if err != nil {
		_ = m.reportFailure(&call.stages, "store", key, err)
	}
	if stored {
		call.token = ""
		if m.local != nil {
			m.local.storeReadEntry(key, e, read)
		}
	}
	return e, nil
}

// releaseLoadLease lets the next caller load, if the call has the lease. Otherwise the lease
// expires by itself.
func (m *Manager) releaseLoadLease(call *loadCall) {
	if call.token == "" {
		return
	}
	ctx := call.stages.beginLastStep(m.cfg.Budget)
	if err := releaseScript.Do(ctx, m.rdb, call.redis.keys[1:2], call.token).Err(); err != nil {
		_ = m.reportFailure(ctx, "release", call.key, err)
	}
	call.token = ""
}

// runLoader turns a panic of a loader into an error.
func runLoader(ctx context.Context, load encodedLoader) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cache: loader panicked: %v", p)
		}
	}()
	return load(ctx)
}
