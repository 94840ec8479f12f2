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
func (m *Manager) message(key string) string { return m.id + " " + key }

// Run receives the changes of other nodes, and makes the deletes that failed while Redis did not
// answer, until ctx ends; then it returns nil. Call it once. Run resubscribes by itself, and empties
// L1 when messages may have been missed.
func (m *Manager) Run(ctx context.Context) error {
	sub, told := m.listen(ctx)
	defer func() { _ = sub.Close() }() // nothing can be done about its error
	var again <-chan time.Time         // when to subscribe again
	debts := time.NewTicker(250 * time.Millisecond)
	defer debts.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-debts.C:
			m.pay(ctx)
		case <-again:
			_ = sub.Close() // it has ended already
			sub, told = m.listen(ctx)
			again = nil
		case x, ok := <-told:
			if !ok { // the client under the subscription was closed, for example of a node that left the Cluster
				if m.local != nil {
					m.local.heard.Store(false)
				}
				told, again = nil, time.After(time.Second)
				continue
			}
			switch x := x.(type) {
			case *redis.Subscription: // the first subscription, or one after a lost connection
				if m.local != nil {
					m.local.forgetAll()
					m.local.heard.Store(true)
				}
			case *redis.Message:
				m.hear(x.Payload)
			}
		}
	}
}

func (m *Manager) listen(ctx context.Context) (*redis.PubSub, <-chan any) {
	sub := m.rdb.Subscribe(ctx, keys.CacheInvalidations)
	return sub, sub.ChannelWithSubscriptions(
		redis.WithChannelSize(1000), redis.WithChannelHealthCheckInterval(time.Second), redis.WithChannelSendTimeout(time.Second))
}

func (m *Manager) hear(payload string) {
	from, key, ok := strings.Cut(payload, " ")
	if !ok || len(key) > maxKey+maxTag {
		return
	}
	if from != m.id { // our own changes are forgotten already
		m.forget(key)
	}
	m.arrive.tell(key)
}

// keyWaiters are the loads that wait until another node has changed their key.
type arrivals struct {
	mu sync.Mutex
	m  map[string]chan struct{} // closed at the next change of the key; guarded by mu
}

// waitChannel returns a channel that is closed at the next change of the key. A caller that does
// not wait any more calls removeWaiter.
func (a *arrivals) of(key string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.m[key]
	if c == nil {
		c = make(chan struct{})
		a.m[key] = c
	}
	return c
}

func (a *arrivals) leave(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.m, key)
}

func (a *arrivals) tell(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.m[key]; c != nil {
		close(c)
		delete(a.m, key)
	}
}
