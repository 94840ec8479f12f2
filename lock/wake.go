package lock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

const (
	pollEvery = 100 * time.Millisecond // by who is woken otherwise
	pollDeaf  = 10 * time.Millisecond  // by who is not, because nothing is heard of releases
)

// waiters are those of this process who wait for a holder elsewhere: one a name, behind its gate. The first
// starts the listening; it goes on until Close.
type waiters struct {
	ctx   context.Context //nolint:containedctx // the manager's life
	stop  context.CancelFunc
	begin sync.Once
	heard atomic.Int64 // servers whose messages come

	mu sync.Mutex
	m  map[string]chan struct{} // guarded by mu
}

// wait gives a channel that has something when the name may be free.
func (w *waiters) wait(m *Manager, name string) (woken <-chan struct{}, done func()) {
	w.begin.Do(func() {
		for _, c := range m.clients {
			m.background.do(func() { w.listen(c) })
		}
	})
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	w.m[name] = ch
	w.mu.Unlock()
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.m[name] == ch {
			delete(w.m, name)
		}
	}
}

func (w *waiters) wake(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.m[name] <- struct{}{}:
	default: // nobody here, or woken already
	}
}

// hearing tells whether a release anywhere wakes us.
func (w *waiters) hearing() bool { return w.heard.Load() > 0 }

// listen hears of one server's releases until Close; the client comes back to it by itself.
func (w *waiters) listen(client redis.UniversalClient) {
	sub := client.Subscribe(w.ctx, keys.LockReleases)
	ended := context.AfterFunc(w.ctx, func() { _ = sub.Close() }) // Receive ends
	defer ended()
	defer sub.Close()
	up := false
	set := func(is bool) {
		if is != up {
			up = is
			w.heard.Add(map[bool]int64{true: 1, false: -1}[is])
		}
	}
	defer set(false)
	for w.ctx.Err() == nil {
		msg, err := sub.Receive(w.ctx)
		if err != nil {
			set(false)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-w.ctx.Done():
			}
			continue
		}
		switch msg := msg.(type) {
		case *redis.Subscription:
			set(true)
			w.all() // what was released meanwhile was not heard
		case *redis.Message:
			w.wake(msg.Payload)
		}
	}
}

// all wakes everybody.
func (w *waiters) all() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.m {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
