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
type pendingDeletes struct {
	count atomic.Int64 // len(keys), readable without mu
	mu    sync.Mutex
	keys  map[string]struct{} // guarded by mu
}

// maxPendingDeletes bounds the keys in pendingDeletes.
const maxPendingDeletes = 10_000

// addPendingKey adds a key. It returns false if there are too many.
func (d *pendingDeletes) addPendingKey(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.keys) >= maxPendingDeletes {
		return false
	}
	d.keys[key] = struct{}{}
	d.count.Store(int64(len(d.keys)))
	return true
}

func (d *pendingDeletes) removePendingKey(key string) {
	if d.count.Load() == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.keys, key)
	d.count.Store(int64(len(d.keys)))
}

func (d *pendingDeletes) containsKey(key string) bool {
	if d.count.Load() == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.keys[key]
	return ok
}

// nextDeleteBatch returns some of the keys, as many as fit into one pipeline.
func (d *pendingDeletes) nextDeleteBatch() []string {
	if d.count.Load() == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Collect(maps.Keys(d.keys))
	return all[:min(len(all), batchSize)]
}

// retryDeletes deletes a batch of the pending keys. What fails stays pending.
func (m *Manager) retryDeletes(ctx context.Context) {
	all := m.pendingDeletes.nextDeleteBatch()
	if len(all) == 0 {
		return
	}
	changes := make([]keyChange, len(all))
	for i, key := range all {
		changes[i].key = key
	}
	if _, err := m.applyChangeBatch(ctx, changes); err != nil {
		return // Redis still does not answer, which was reported before
	}
	for _, key := range all {
		m.forgetLocal(key)
		m.pendingDeletes.removePendingKey(key)
	}
}
