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
	users int           // guarded by gates.mu
	token chan struct{} // full while somebody is through
}

// enter waits for its turn, or for the context. leave must follow, once.
func (g *gates) enter(ctx context.Context, name string) (leave func(), err error) {
	g.mu.Lock()
	at := g.m[name]
	if at == nil {
		at = &gate{token: make(chan struct{}, 1)}
		g.m[name] = at
	}
	at.users++
	g.mu.Unlock()
	drop := func() {
		g.mu.Lock()
		if at.users--; at.users == 0 {
			delete(g.m, name)
		}
		g.mu.Unlock()
	}
	select {
	case at.token <- struct{}{}:
	default:
		select {
		case at.token <- struct{}{}:
		case <-ctx.Done():
			drop()
			return nil, ctx.Err()
		}
	}
	var once sync.Once
	return func() { once.Do(func() { <-at.token; drop() }) }, nil
}
