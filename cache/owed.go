package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// debts are keys whose old value Redis may still have, because it was away when they had to
// be deleted. Here they are misses; Run deletes them as soon as it can.
type debts struct {
	n  atomic.Int64 // len(m)
	mu sync.Mutex
	m  map[string]struct{} // guarded by mu
}

// maxOwed bounds them.
const maxOwed = 10_000

// owe remembers a key; false when there are too many.
func (d *debts) owe(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.m) >= maxOwed {
		return false
	}
	d.m[key] = struct{}{}
	d.n.Store(int64(len(d.m)))
	return true
}

func (d *debts) paid(key string) {
	if d.n.Load() == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, key)
	d.n.Store(int64(len(d.m)))
}

func (d *debts) has(key string) bool {
	if d.n.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, owed := d.m[key]
	return owed
}

// some are up to a chunk of them.
func (d *debts) some() []string {
	if d.n.Load() == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Collect(maps.Keys(d.m))
	return all[:min(len(all), chunk)]
}

// pay deletes what is owed. What fails is tried again.
func (m *Manager) pay(ctx context.Context) {
	all := m.owed.some()
	if len(all) == 0 {
		return
	}
	writes := make([]write, len(all))
	for i, key := range all {
		writes[i].key = key
	}
	if _, err := m.writePart(ctx, writes); err != nil {
		return // Redis is still away, which has been told
	}
	for _, key := range all {
		m.forget(key)
		m.owed.paid(key)
	}
}
