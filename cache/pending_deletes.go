package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// pendingDeletes are keys that could not be deleted because Redis did not answer: Redis may still
// have their old values. On this node they are misses, and Run deletes them as soon as it can.
type debts struct {
	n  atomic.Int64 // len(keys), readable without mu
	mu sync.Mutex
	m  map[string]struct{} // guarded by mu
}

// maxPendingDeletes bounds the keys in pendingDeletes.
const maxOwed = 10_000

// addKey adds a key. It returns false if there are too many.
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

// nextBatch returns some of the keys, as many as fit into one pipeline.
func (d *debts) some() []string {
	if d.n.Load() == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Collect(maps.Keys(d.m))
	return all[:min(len(all), chunk)]
}

// retryDeletes deletes a batch of the pending keys. What fails stays pending.
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
		return // Redis still does not answer, which was reported before
	}
	for _, key := range all {
		m.forget(key)
		m.owed.paid(key)
	}
}
