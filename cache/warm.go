package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// WriteThrough stores a value in the source, and then in the cache for ttl (see Set). If the source
// fails, WriteThrough caches nothing and returns the error. If Redis fails, it deletes the key, so
// that the old value does not stay: now, or as soon as Redis answers again, as long as this process
// lives. Until then the key is a miss on this node. If too many keys wait for that, the error is
// ErrOutdated.
func WriteThrough[T any](ctx context.Context, m *Manager, key string, value T, store func(ctx context.Context, value T) error, ttl time.Duration) error {
	if err := validateKey(key); err != nil {
		return err
	}
	data, err := m.encodeValue(key, value)
	if err != nil {
		return err
	}
	if err := store(ctx, value); err != nil {
		return err
	}
	// The source has the new value: the cache must follow, also if the caller leaves now.
	ctx = context.WithoutCancel(ctx)
	if _, err = m.writeValue(ctx, key, "", data, m.ttlInRedis(ttl)); err == nil {
		return nil
	}
	_ = m.reportFailure(ctx, "write through", key, err)
	if _, err := m.writeValue(ctx, key, "", nil, 0); err != nil && !m.pendingDeletes.addPendingKey(key) {
		return fmt.Errorf("%w: %w", ErrOutdated, err)
	}
	return nil
}

// ErrOutdated means that WriteThrough stored the value in the source, but the cache may still have
// the old one. It is returned with its cause.
var ErrOutdated = errors.New("cache: the source has the new value, but the old one may still be cached")

// Warm loads a value and stores it for ttl, replacing what was there. If the load fails, the old
// value stays. Errors: the error of the source, and those of Set.
func Warm[T any](ctx context.Context, m *Manager, key string, load Loader[T], ttl time.Duration) error {
	return m.loadAndSet(ctx, WarmItem{Key: key, TTL: ttl, Load: func(ctx context.Context) (any, error) { return load(ctx) }})
}

// A WarmItem is one value for WarmBulk.
type WarmItem struct {
	Key  string
	Load func(ctx context.Context) (any, error)
	TTL  time.Duration // as for Set
}

// WarmBulk warms many values, four at a time. A failure does not stop the others; the error joins
// all failures.
func (m *Manager) WarmBulk(ctx context.Context, items ...WarmItem) error {
	errs := make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(4)
	for i, item := range items {
		g.Go(func() error {
			errs[i] = m.loadAndSet(ctx, item)
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return errors.Join(errs...)
}

func (m *Manager) loadAndSet(ctx context.Context, item WarmItem) error {
	if err := validateKey(item.Key); err != nil {
		return err
	}
	m.counters.forPrefixOf(item.Key).loads.Add(1)
	v, err := item.Load(ctx)
	if err != nil {
		m.counters.forPrefixOf(item.Key).loadErrors.Add(1)
		return fmt.Errorf("cache: warm %s: %w", item.Key, err)
	}
	return m.Set(ctx, item.Key, v, item.TTL)
}
