package cache

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// DeletePattern removes all values whose key matches a glob pattern such as "temp:*", and returns
// how many. It scans the keys in batches (SCAN, UNLINK), on every master of a Cluster, and never
// blocks Redis. Keys that are written meanwhile may stay. Config.Budget bounds each batch, and ctx
// the whole call. A pattern that begins with a wildcard is ErrKey.
func (m *Manager) DeletePattern(ctx context.Context, pattern string) (n int, err error) {
	if err := validatePattern(pattern); err != nil {
		return 0, err
	}
	var deleted atomic.Int64
	err = redisx.ForEachMaster(ctx, m.rdb, func(ctx context.Context, master redis.UniversalClient) error {
		for cursor := uint64(0); ; {
			page, next, err := m.scanKeyPage(ctx, master, cursor, pattern)
			if err != nil {
				return err
			}
			done, err := m.unlinkKeys(ctx, master, page)
			deleted.Add(int64(done))
			if err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("cache: delete pattern: %w", err)
	}
	return int(deleted.Load()), err
}

// unlinkKeys removes keys of one server. Other nodes are told of those that this package can have
// stored.
func (m *Manager) unlinkKeys(ctx context.Context, c redis.Cmdable, page []string) (n int, err error) {
	var changes []keyChange
	pipe := c.Pipeline()
	for _, key := range page {
		if validateKey(key) == nil {
			changes = append(changes, keyChange{key: key})
		} else {
			pipe.Unlink(ctx, key)
		}
	}
	if n, err = m.applyChanges(ctx, "delete pattern", changes); err != nil || pipe.Len() == 0 {
		return n, err
	}
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	cmds, err := pipe.Exec(ctx)
	for _, cmd := range cmds {
		n += int(cmd.(*redis.IntCmd).Val())
	}
	return n, err
}

func (m *Manager) scanKeyPage(ctx context.Context, c redis.Cmdable, cursor uint64, pattern string) ([]string, uint64, error) {
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	return c.Scan(ctx, cursor, pattern, batchSize).Result()
}

// validatePattern requires that the pattern begins with a character that is not a wildcard.
func validatePattern(pattern string) error {
	if err := validateKey(pattern); err != nil {
		return err
	}
	switch pattern[0] {
	case '*', '?', '[', '\\':
		return fmt.Errorf("%w: a pattern must begin with a character that is no wildcard: %.64q", ErrKey, pattern)
	}
	return nil
}
