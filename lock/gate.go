package lock

import (
	"context"
	"sync"
)

// gates let those of this process who want one name ask Redis one after the other: they are
// served in order, a release wakes the next at once, and Redis hears of one.
type gates struct {
	mu sync.Mutex
	m  map[string]*gate // guarded by mu; only names that somebody holds or wants
}

type gate struct {
	name  string
	token chan struct{} // full while somebody is through
	users int           // guarded by gates.mu
	taken bool          // what Redis said last: one here or elsewhere has it; guarded by gates.mu
	known chan struct{} // closed while taken; guarded by gates.mu
}

// A turn is that of one who is through a gate.
type turn struct {
	*gate
	g    *gates
	once sync.Once
}

// enter waits for its turn, or for the context; who has no patience waits only until it is known that somebody has the
// name. Without a turn, taken tells whether that is known. leave must follow a turn, once.
func (g *gates) enter(ctx context.Context, name string, patience bool) (t *turn, taken bool) {
	g.mu.Lock()
	at := g.m[name]
	if at == nil {
		at = &gate{name: name, token: make(chan struct{}, 1), known: make(chan struct{})}
		g.m[name] = at
	}
	at.users++
	known := at.known
	g.mu.Unlock()
	if patience {
		known = nil
	}
	select {
	case at.token <- struct{}{}:
		return &turn{gate: at, g: g}, false
	default:
	}
	select {
	case at.token <- struct{}{}:
		return &turn{gate: at, g: g}, false
	case <-known:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(at)
	return nil, at.taken
}

// drop is called with mu held.
func (g *gates) drop(at *gate) {
	if at.users--; at.users == 0 {
		delete(g.m, at.name)
	}
}

// told tells those behind what Redis said: that somebody has the name, the one at the front included; or nothing.
func (t *turn) told(taken bool) {
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	switch {
	case taken == t.taken:
	case taken:
		close(t.known)
	default:
		t.known = make(chan struct{})
	}
	t.taken = taken
}

// leave lets the next one through; a second call does nothing.
func (t *turn) leave() {
	t.once.Do(func() {
		<-t.token
		t.g.mu.Lock()
		defer t.g.mu.Unlock()
		t.g.drop(t.gate)
	})
}
