package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// WriteThrough stores a value with the source first, then under key for ttl (as Set takes it).
// When the source fails nothing is cached and its error is returned. When Redis fails the key is
// deleted, so that no old value stays: now, or as soon as Redis is back, for as long as this process lives; until then
// the key is a miss here. ErrOutdated when too many keys wait for that.
func WriteThrough[T any](ctx context.Context, m *Manager, key string, value T, store func(ctx context.Context, value T) error, ttl time.Duration) error {
	if err := checkKey(key); err != nil {
		return err
	}
	data, err := m.encode(key, value)
	if err != nil {
		return err
	}
	if err := store(ctx, value); err != nil {
		return err
	}
	// The source has it: the cache follows, also when the caller leaves now.
	ctx = context.WithoutCancel(ctx)
	if _, err = m.write(ctx, key, "", data, m.life(ttl)); err == nil {
		return nil
	}
	_ = m.failed(ctx, "write through", key, err)
	if _, err := m.write(ctx, key, "", nil, 0); err != nil && !m.owed.owe(key) {
		return fmt.Errorf("%w: %w", ErrOutdated, err)
	}
	return nil
}

// ErrOutdated is what WriteThrough returns, with the cause, when the source has the new value and the cache
// may have the old one.
var ErrOutdated = errors.New("cache: the value is stored, and may be cached as it was")

// Warm loads a value and stores it for ttl, whatever was there. When the source fails, what
// was there stays. Errors: the source's, and those of Set.
func Warm[T any](ctx context.Context, m *Manager, key string, load Loader[T], ttl time.Duration) error {
	return m.warm(ctx, WarmItem{Key: key, TTL: ttl, Load: func(ctx context.Context) (any, error) { return load(ctx) }})
}

// A WarmItem is one value to warm.
type WarmItem struct {
	Key  string
	Load func(ctx context.Context) (any, error)
	TTL  time.Duration // as Set takes it
}

// WarmBulk warms many values, four at a time. One that fails keeps nobody else from it; the
// error joins theirs.
func (m *Manager) WarmBulk(ctx context.Context, items ...WarmItem) error {
	errs := make([]error, len(items))
	var g errgroup.Group
	g.SetLimit(4)
	for i, item := range items {
		g.Go(func() error {
			errs[i] = m.warm(ctx, item)
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return errors.Join(errs...)
}

func (m *Manager) warm(ctx context.Context, item WarmItem) error {
	if err := checkKey(item.Key); err != nil {
		return err
	}
	m.counts.of(item.Key).loads.Add(1)
	v, err := item.Load(ctx)
	if err != nil {
		m.counts.of(item.Key).loadErrors.Add(1)
		return fmt.Errorf("cache: warm %s: %w", item.Key, err)
	}
	return m.Set(ctx, item.Key, v, item.TTL)
}
