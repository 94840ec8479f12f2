package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"

	"github.com/aeturnis/realtime/keys"
)

// An attempt is one try at the servers, and what each of them said; then the lease that came of it, until that ends.
// What a server does for it after it has ended is undone.
type attempt struct {
	m       *Manager
	name    string
	value   string // random: whose the lock is
	waits   time.Duration
	servers []*pool
	mutex   *redsync.Mutex // for one caller at a time
	agreed  int64          // the fence that counts; owned by the goroutine that acquires
	ended   atomic.Bool    // nobody wants it any more

	mu     sync.Mutex
	fence  int64         // the highest handed out; guarded by mu
	taken  map[int]bool  // servers that said so; guarded by mu
	failed map[int]error // servers that did not answer; guarded by mu
	left   time.Duration // the least that a holder has left, or 0; guarded by mu
}

// try asks the servers once, for at most Config.Try; when the lock is taken they are told that somebody waits for it
// so long, if any. Each try has a value and answers of its own: what a slow server says of an earlier one must not be
// taken for an answer. Errors: ErrTaken and ErrUnavailable; then it has ended.
func (m *Manager) try(ctx context.Context, name string, opt Options, waits time.Duration) (*attempt, error) {
	a := &attempt{m: m, name: name, value: rand.Text(), waits: waits, taken: make(map[int]bool), failed: make(map[int]error)}
	pools := make([]redsyncredis.Pool, len(m.clients))
	for i, c := range m.clients {
		p := &pool{attempt: a, node: i, client: c}
		a.servers, pools[i] = append(a.servers, p), p
	}
	a.mutex = redsync.New(pools...).NewMutex(keys.Lock(name), redsync.WithExpiry(opt.TTL), redsync.WithTries(1),
		redsync.WithFailFast(len(pools) > 1), redsync.WithTimeoutFactor(1.0/3),
		redsync.WithGenValueFunc(func() (string, error) { return a.value, nil }))

	try, cancel := context.WithTimeout(ctx, m.tryFor(opt))
	defer cancel()
	err := a.mutex.TryLockContext(try)
	if err == nil {
		err = a.agree(try)
	}
	if err == nil {
		return a, nil
	}
	a.end(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if missing := len(a.failed); missing > (len(a.servers)-1)/2 || errors.Is(err, ErrUnavailable) {
		return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return a, ErrTaken
}

// holderHas is how long the holder's lease still runs, or 0 when nobody said.
func (a *attempt) holderHas() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.left
}

// tryFor is how long all servers together may take for an answer.
func (m *Manager) tryFor(opt Options) time.Duration { return min(m.cfg.Try, opt.TTL/3) }

// end frees what the attempt may have got, and will free what it still gets. Nobody waits for that.
func (a *attempt) end(ctx context.Context) {
	a.ended.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.servers {
		if !a.taken[p.node] {
			a.m.background.do(func() { p.free(ctx) })
		}
	}
}

// agree makes the fence of a quorum known to a majority before the lease counts. Any later
// majority shares a server with this one, and counts on from there.
func (a *attempt) agree(ctx context.Context) error {
	a.mu.Lock()
	fence := a.fence // of the majority that answered: a later answer may be higher, and nobody's but its own
	a.agreed = fence
	a.mu.Unlock()
	if len(a.servers) == 1 {
		return nil
	}
	answers := make(chan bool, len(a.servers))
	for _, p := range a.servers {
		a.m.background.do(func() {
			n, err := p.ask(ctx, func(ctx context.Context) (int64, error) {
				return raiseScript.Run(ctx, p.client, []string{keys.Lock(a.name), keys.LockFence(a.name)}, a.value, fence).Int64()
			})
			answers <- err == nil && n == 1
		})
	}
	need := len(a.servers)/2 + 1
	for range a.servers {
		if <-answers {
			if need--; need == 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: no majority knows the fence", ErrUnavailable)
}
