package cache

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// changeMessage tells other nodes that a key has changed. It names this manager and the key.
func (m *Manager) changeMessage(key string) string { return m.id + " " + key }

// Run receives the changes of other nodes, and makes the deletes that failed while Redis did not
// answer, until ctx ends; then it returns nil. Call it once. Run resubscribes by itself, and empties
// L1 when messages may have been missed.
func (m *Manager) Run(ctx context.Context) error {
	sub, told := m.subscribeChanges(ctx)
	defer func() { _ = sub.Close() }() // nothing can be done about its error
	var again <-chan time.Time         // when to subscribe again
	debts := time.NewTicker(250 * time.Millisecond)
	defer debts.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-debts.C:
			m.retryDeletes(ctx)
		case <-again:
			_ = sub.Close() // it has ended already
			sub, told = m.subscribeChanges(ctx)
			again = nil
		case x, ok := <-told:
			if !ok { // the client under the subscription was closed, for example of a node that left the Cluster
				if m.local != nil {
					m.local.isSubscribed.Store(false)
				}
				told, again = nil, time.After(time.Second)
				continue
			}
			switch x := x.(type) {
			case *redis.Subscription: // the first subscription, or one after a lost connection
				if m.local != nil {
					m.local.forgetAllKeys()
					m.local.isSubscribed.Store(true)
				}
			case *redis.Message:
				m.handleMessage(x.Payload)
			}
		}
	}
}

func (m *Manager) subscribeChanges(ctx context.Context) (*redis.PubSub, <-chan any) {
	sub := m.rdb.Subscribe(ctx, keys.CacheInvalidations)
	return sub, sub.ChannelWithSubscriptions(
		redis.WithChannelSize(1000), redis.WithChannelHealthCheckInterval(time.Second), redis.WithChannelSendTimeout(time.Second))
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
