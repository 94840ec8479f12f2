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

// A flight is the search for one value, which all who ask for it in this process share.
type flight struct {
	done   chan struct{} // closed when entry and err are there
	entry  *entry
	err    error
	hasOld chan struct{} // closed when old is there
	old    *entry
}

// flights are those that are in the air.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight // by key; guarded by mu
}

// join returns the flight of the key, and starts one when there is none. start does not wait;
// what it starts calls land.
func (s *flights) join(key string, start func(f *flight)) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.m[key]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{}), hasOld: make(chan struct{})}
	s.m[key] = f
	start(f)
	return f
}

// land gives everybody aboard what was found.
func (s *flights) land(key string, f *flight, e *entry, err error) {
	s.mu.Lock()
	delete(s.m, key)
	s.mu.Unlock()
	f.entry, f.err = e, err
	close(f.done)
}

// offer names what may be served meanwhile; at most once.
func (f *flight) offer(e *entry) {
	f.old = e
	close(f.hasOld)
}

// fly runs fn with the values of ctx, but not with its end: for limit, or until Close.
func (m *Manager) fly(ctx context.Context, limit time.Duration, fn func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(m.ctx, cancel)
	m.background.Go(func() {
		defer cancel()
		defer stop()
		fn(ctx)
	})
}

// refresh loads a value anew, unless this or another node does so already. Nobody waits.
func (m *Manager) refresh(ctx context.Context, key string, tags []string, load source, o Options) {
	name := "refresh " + key
	m.loads.join(name, func(f *flight) {
		m.fly(ctx, o.Hard+time.Second, func(ctx context.Context) {
			defer m.loads.land(name, f, nil, nil)
			token, e, err := m.lease(ctx, key, tags, o)
			if err != nil || token == "" {
				return // Redis can wait, and another node has its turn
			}
			if e != nil && !o.due(e) {
				m.release(ctx, key, token) // another node had its turn already
				return
			}
			m.counts.of(key).refreshes.Add(1)
			if _, err := m.load(ctx, key, token, tags, load, o); err != nil && !errors.Is(err, ErrNotFound) {
				m.cfg.Failed("refresh", err)
			}
		})
	})
}

// poll is how often a node looks whether another one's load has ended; it is told, mostly.
const poll = 50 * time.Millisecond

// turn waits until this node may load, and is given a token, or until another node has
// stored the value. An error means that Redis no longer answers: no token, no turns.
func (m *Manager) turn(ctx context.Context, key string, tags []string, o Options) (token string, e *entry, err error) {
	defer m.arrive.leave(key)
	for {
		news := m.arrive.of(key)
		token, e, err = m.lease(ctx, key, tags, o)
		switch {
		case err != nil:
			return "", nil, err
		case e != nil && o.left(e) > 0:
			if token != "" {
				m.release(ctx, key, token)
			}
			return "", e, nil
		case token != "":
			return token, nil, nil
		}
		pause := time.NewTimer(poll)
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

// lease asks to be the one who loads, and what is there now, in one round trip. token is ""
// when somebody else has the lease. It ends by itself soon after the load must have.
func (m *Manager) lease(ctx context.Context, key string, tags []string, o Options) (token string, e *entry, err error) {
	mine := strconv.FormatUint(rand.Uint64(), 36)
	var taken *redis.StatusCmd
	e, err = m.fetchAfter(ctx, key, tags, func(ctx context.Context, pipe redis.Pipeliner) {
		taken = pipe.SetArgs(ctx, keys.CacheLoad(key), mine, redis.SetArgs{Mode: "NX", TTL: o.Hard + time.Second})
	})
	switch {
	case err != nil:
		return "", nil, err
	case errors.Is(taken.Err(), redis.Nil):
		return "", e, nil
	}
	return mine, e, taken.Err()
}

// load asks the source and stores what it says, when it has a token. Errors: those of Aside.
func (m *Manager) load(ctx context.Context, key, token string, tags []string, load source, o Options) (*entry, error) {
	stored := false
	if held := token; held != "" {
		defer func() {
			if !stored {
				m.release(ctx, key, held)
			}
		}()
	}
	versions, err := m.versions(ctx, tags) // before the source is asked: an invalidation meanwhile counts
	if err != nil {
		_ = m.failed(ctx, "read tags", key, err)
		token = "" // without versions it may not be stored
	}
	m.counts.of(key).loads.Add(1)
	data, err := call(ctx, load, o.Hard)
	life := o.life()
	switch {
	case errors.Is(err, fault.ErrNotFound):
		data, life = nothing, o.NegativeTTL
	case err != nil:
		m.counts.of(key).loadErrors.Add(1)
		return nil, unavailable(err)
	case string(data) == string(nothing):
		life = o.NegativeTTL
	}
	e := &entry{data: data, tags: versions, expires: time.Now().Add(life)}
	if token == "" || life <= 0 {
		return e, nil
	}
	sealed := data
	if len(versions) > 0 {
		if sealed, err = seal(versions, data); err != nil {
			return nil, err
		}
	}
	var read mark
	if m.local != nil {
		read = m.local.mark(key)
	}
	stored, err = m.fill(ctx, key, token, sealed, life)
	if err != nil {
		_ = m.failed(ctx, "store", key, err)
	}
	if stored && m.local != nil {
		m.local.keep(key, e, read)
	}
	return e, nil
}

// fill is write for what was loaded: L1 need not forget, because it is about to learn.
func (m *Manager) fill(ctx context.Context, key, token string, data []byte, life time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Budget)
	defer cancel()
	return writeScript.Do(ctx, m.rdb, writeKeys(key), m.writeArgs(key, token, data, life)...).Bool()
}

// release lets the next one load. It ends by itself otherwise.
func (m *Manager) release(ctx context.Context, key, token string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Budget)
	defer cancel()
	if err := releaseScript.Do(ctx, m.rdb, []string{keys.CacheLoad(key)}, token).Err(); err != nil {
		_ = m.failed(ctx, "release", key, err)
	}
}

// call runs a loader, for at most limit; a panic is an error.
func call(ctx context.Context, load source, limit time.Duration) (data []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		data []byte
		err  error
	}
	out := make(chan result, 1)
	go func() { // a loader that ignores its context goes on alone
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
