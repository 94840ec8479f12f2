package lock

import "sync"

// tasks are the goroutines of a Manager. Unlike a sync.WaitGroup, tasks accept new ones while
// somebody waits: a lease may end at any time.
type tasks struct {
	mu      sync.Mutex
	running int           // guarded by mu
	idle    chan struct{} // closed when running comes back to 0; nil when nobody waits; guarded by mu
}

func (t *tasks) startTask(f func()) {
	t.mu.Lock()
	t.running++
	t.mu.Unlock()
	go func() {
		defer t.finishTask()
		f()
	}()
}

func (t *tasks) finishTask() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running--; t.running == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// waitUntilIdle returns when no task runs.
func (t *tasks) waitUntilIdle() {
	t.mu.Lock()
	if t.running == 0 {
		t.mu.Unlock()
		return
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	<-idle
}
