package lock

import "sync"

// background is what goes on behind the callers' backs. Unlike a sync.WaitGroup it may be given more while somebody
// waits: a lease may end at any time.
type background struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	idle chan struct{} // closed when n comes back to 0, nil when nobody waits; guarded by mu
}

func (b *background) do(f func()) {
	b.mu.Lock()
	b.n++
	b.mu.Unlock()
	go func() {
		defer b.done()
		f()
	}()
}

func (b *background) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n--; b.n == 0 && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
}

// wait returns when nothing goes on.
func (b *background) wait() {
	b.mu.Lock()
	if b.n == 0 {
		b.mu.Unlock()
		return
	}
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()
	<-idle
}
