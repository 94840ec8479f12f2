package cache

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// message tells other nodes that a key changed: who says so, and the key.
func (m *Manager) message(key string) string { return m.id + " " + key }

// Run hears what other nodes change, and pays what was owed to Redis while it was away, until
// ctx ends; then it returns nil. It is called once.
// The subscription comes back by itself; what may have been missed meanwhile is forgotten.
func (m *Manager) Run(ctx context.Context) error {
	sub, told := m.listen(ctx)
	defer func() { _ = sub.Close() }() // nothing is left to tell it
	var again <-chan time.Time         // when to subscribe anew
	debts := time.NewTicker(250 * time.Millisecond)
	defer debts.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-debts.C:
			m.pay(ctx)
		case <-again:
			_ = sub.Close() // it has ended
			sub, told = m.listen(ctx)
			again = nil
		case x, ok := <-told:
			if !ok { // the client under it was closed, as of a node that left a Cluster
				if m.local != nil {
					m.local.heard.Store(false)
				}
				told, again = nil, time.After(time.Second)
				continue
			}
			switch x := x.(type) {
			case *redis.Subscription: // the first, or one after the connection was lost
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
	if from != m.id { // what we wrote ourselves is forgotten already
		m.forget(key)
	}
	m.arrive.tell(key)
}

// arrivals are those who wait for news of a key.
type arrivals struct {
	mu sync.Mutex
	m  map[string]chan struct{} // by key; closed when there is news; guarded by mu
}

// of is closed at the next news. Whoever waits no longer calls leave.
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
