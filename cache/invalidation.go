package cache

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// changeMessage tells other nodes that a key has changed. It names this manager and the key.
func (m *Manager) changeMessage(key string) string { return m.id + " " + key }

// Run receives the changes of other nodes, and makes the deletes that failed while Redis did not
// answer, until ctx ends; then it returns nil. Call it once. Run resubscribes by itself, and
// empties L1 when messages may have been missed.
func (m *Manager) Run(ctx context.Context) error {
	var subscription sync.WaitGroup
	subscription.Go(func() {
		redisx.Subscribe(ctx, m.rdb, keys.CacheInvalidations, redisx.SubscriptionHandlers{
			OnUp: m.startLocalCache, OnDown: m.stopLocalCache, OnMessage: m.handleMessage,
		})
	})
	defer subscription.Wait()
	retry := time.NewTicker(deleteRetryInterval)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
			m.retryDeletes(ctx)
		}
	}
}

const deleteRetryInterval = 250 * time.Millisecond

// startLocalCache empties L1, because messages before the subscription were missed, and lets it
// store values from now on.
func (m *Manager) startLocalCache() {
	if m.local != nil {
		m.local.forgetAllKeys()
		m.local.isSubscribed.Store(true)
	}
}

// stopLocalCache makes L1 store no more values while changes of them are not heard. What it has, it
// serves for Local.TTL, and after that only as stale values.
func (m *Manager) stopLocalCache(err error) {
	if m.local != nil {
		m.local.isSubscribed.Store(false)
	}
	m.cfg.OnError("subscribe", err)
}

func (m *Manager) handleMessage(payload string) {
	from, key, ok := strings.Cut(payload, " ")
	if !ok || len(key) > maxKey+maxTag {
		return
	}
	if from != m.id { // our own changes are forgotten already
		m.forgetLocal(key)
	}
	m.keyWaiters.wakeWaiters(key)
}

// keyWaiters are the loads that wait until another node has changed their key.
type keyWaiters struct {
	mu    sync.Mutex
	byKey map[string]chan struct{} // closed at the next change of the key; guarded by mu
}

// waitChannel returns a channel that is closed at the next change of the key. A caller that does
// not wait any more calls removeWaiter.
func (a *keyWaiters) waitChannel(key string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.byKey[key]
	if c == nil {
		c = make(chan struct{})
		a.byKey[key] = c
	}
	return c
}

func (a *keyWaiters) removeWaiter(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byKey, key)
}

func (a *keyWaiters) wakeWaiters(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.byKey[key]; c != nil {
		close(c)
		delete(a.byKey, key)
	}
}
