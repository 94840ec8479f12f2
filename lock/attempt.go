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

// An attempt asks all servers once for a lock, and keeps what each of them answered. If it
// succeeds, it belongs to the lease until that ends. What a server does for an attempt that has
// ended is undone.
type attempt struct {
	manager  *Manager
	name     string
	value    string // the value of the lock's key: random, with who holds it; it identifies the holder
	waitsFor time.Duration
	servers  []*serverPool
	mutex    *redsync.Mutex // used by one goroutine at a time
	fence    int64          // the fence of the lease; owned by the goroutine that acquires
	// releaseQueued, if not nil, is called when the release comes before all that is asked later.
	releaseQueued func()
	isWanted      atomic.Bool // the release found that another process waits
	ended         atomic.Bool // the caller does not want the lock any more

	mu           sync.Mutex
	highestFence int64         // of those that the servers handed out; guarded by mu
	takenOn      map[int]bool  // the servers on which another holder has the lock; guarded by mu
	failedOn     map[int]error // the servers that did not answer; guarded by mu
	holderLeft   time.Duration // the shortest TTL of another holder, or 0; guarded by mu
}

// attemptAcquire asks the servers once, within Config.Timeout. If waitsFor is positive, servers on
// which the lock is taken remember for that long that a caller waits for it. Each attempt has a
// value and answers of its own, so that a slow server's answer to an earlier one is not mistaken
// for an answer to this one.
//
// Errors: ErrTaken and ErrUnavailable; then the attempt has ended.
func (m *Manager) attemptAcquire(ctx context.Context, name string, opt Options, waitsFor time.Duration) (*attempt, error) {
	a := &attempt{
		manager: m, name: name, value: newHolder(m.cfg.Node, opt).encode(rand.Text()), waitsFor: waitsFor,
		takenOn: make(map[int]bool, 1), failedOn: make(map[int]error, 1),
	}
	pools := make([]redsyncredis.Pool, len(m.clients))
	for i, c := range m.clients {
		p := &serverPool{attempt: a, index: i, client: c}
		a.servers, pools[i] = append(a.servers, p), p
	}
	a.mutex = redsync.New(pools...).NewMutex(keys.Lock(name), redsync.WithExpiry(opt.TTL), redsync.WithTries(1),
		redsync.WithFailFast(len(pools) > 1), redsync.WithTimeoutFactor(float64(m.answerTimeout(opt))/float64(opt.TTL)),
		redsync.WithGenValueFunc(func() (string, error) { return a.value, nil }))

	bounded := ctx
	if len(pools) > 1 { // of one server, redsync's own timeout is enough: it need not agree on a fence
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, m.answerTimeout(opt))
		defer cancel()
	}
	err := a.mutex.TryLockContext(bounded)
	if err == nil {
		err = a.agreeOnFence(bounded)
	}
	if err == nil {
		return a, nil
	}
	a.endAndFreeLocks(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if missing := len(a.failedOn); missing > (len(a.servers)-1)/2 || errors.Is(err, ErrUnavailable) {
		return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return a, ErrTaken
}

// holderTimeLeft is how long the lease of another holder still runs, or 0 if no server said so.
func (a *attempt) holderTimeLeft() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.holderLeft
}

// answerTimeout is how long all servers together may take to answer.
func (m *Manager) answerTimeout(opt Options) time.Duration { return min(m.cfg.Timeout, opt.TTL/3) }

// endAndFreeLocks frees in the background what the attempt may have got, on every server. What a
// server still grants after that is freed when its answer comes.
func (a *attempt) endAndFreeLocks(ctx context.Context) {
	a.ended.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.servers {
		if !a.takenOn[p.index] {
			a.manager.tasks.startTask(func() { p.freeOnServer(ctx) })
		}
	}
}

// agreeOnFence raises the fence on a majority of a quorum before the lease counts. Every later
// majority shares a server with this one, so its fence will be higher.
func (a *attempt) agreeOnFence(ctx context.Context) error {
	a.mu.Lock()
	fence := a.highestFence // a later answer may raise it, but that fence is nobody's
	a.mu.Unlock()
	a.fence = fence
	if len(a.servers) == 1 {
		return nil
	}
	answers := make(chan bool, len(a.servers))
	for _, p := range a.servers {
		a.manager.tasks.startTask(func() {
			n, err := p.askServer(ctx, func(ctx context.Context) (int64, error) {
				return raiseFenceScript.Do(ctx, p.client, []string{keys.Lock(a.name), keys.LockFence(a.name)}, a.value, fence).Int64()
			})
			answers <- err == nil && n == 1
		})
	}
	missing := len(a.servers)/2 + 1
	for range a.servers {
		if <-answers {
			if missing--; missing == 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: no majority knows the fence", ErrUnavailable)
}
