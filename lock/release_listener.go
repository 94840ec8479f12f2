package lock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	pollIntervalWoken = 100 * time.Millisecond // for a caller that a release wakes; at most twice that
	pollIntervalDeaf  = 10 * time.Millisecond  // while no server's messages arrive
)

// A releaseListener wakes the callers of this process that wait for a holder in another process.
// There is at most one such caller for each name: the others wait behind it in the local queue.
// The first caller starts the listening, which then continues until Close.
type releaseListener struct {
	ctx        context.Context //nolint:containedctx // the life of the manager
	stop       context.CancelFunc
	begin      sync.Once
	subscribed atomic.Int64 // how many servers' messages arrive

	pollInterval time.Duration // pollIntervalWoken, but in a test

	subscriptionFailed func(error) // Config.SubscriptionFailed, or nil

	mu      sync.Mutex
	wakeups map[string]redisx.Signal // by lock; guarded by mu
}

// waitForRelease returns a channel that receives when the lock may be free, until stopWaiting.
func (r *releaseListener) waitForRelease(m *Manager, name string) (woken <-chan struct{}, stopWaiting func()) {
	r.begin.Do(func() {
		for _, c := range m.clients {
			m.tasks.startTask(func() { r.listenForReleases(c) })
		}
	})
	wakeup := redisx.NewSignal()
	r.mu.Lock()
	r.wakeups[name] = wakeup
	r.mu.Unlock()
	return wakeup.C(), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.wakeups[name] == wakeup {
			delete(r.wakeups, name)
		}
	}
}

func (r *releaseListener) wakeWaiter(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeups[name].Notify() // nothing happens if nobody waits here
}

func (r *releaseListener) wakeAllWaiters() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, wakeup := range r.wakeups {
		wakeup.Notify()
	}
}

// isListening tells whether a release in another process wakes the callers here.
func (r *releaseListener) isListening() bool { return r.subscribed.Load() > 0 }

// listenForReleases receives the releases of one server until Close.
func (r *releaseListener) listenForReleases(client redis.UniversalClient) {
	isUp := false
	setUp := func(up bool) {
		if up != isUp {
			isUp = up
			r.subscribed.Add(map[bool]int64{true: 1, false: -1}[up])
		}
	}
	defer setUp(false)
	redisx.Subscribe(r.ctx, client, keys.LockReleases, redisx.SubscriptionHandlers{
		OnUp: func() {
			setUp(true)
			r.wakeAllWaiters() // releases before the subscription were not heard
		},
		OnDown: func(err error) {
			setUp(false) // until it is up again, callers poll more often
			if r.subscriptionFailed != nil {
				r.subscriptionFailed(err)
			}
		},
		OnMessage: r.wakeWaiter,
	})
}
