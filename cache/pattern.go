package cache

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// DeletePattern removes all values whose key matches a glob pattern such as "temp:*", and returns
// how many. It scans the keys in batches (SCAN, UNLINK), on every master of a Cluster, and never
// blocks Redis. A load that is in progress does not store its result. Keys that are written
// meanwhile may stay. Config.Budget bounds each batch, and ctx the whole call. A pattern that
// begins with a wildcard is ErrKey. Use Quote for what is not a pattern, such as the id of a user.
func (m *Manager) DeletePattern(ctx context.Context, pattern string) (n int, err error) {
	if err := validatePattern(pattern); err != nil {
		return 0, err
	}
	var deleted atomic.Int64
	err = redisx.ForEachMaster(ctx, m.rdb, func(ctx context.Context, master redis.UniversalClient) error {
		// The leases of loads come first: what such a load has stored before it lost its lease is found
		// after that.
		for _, scanned := range []string{keys.CacheLoad(pattern), pattern} {
			n, err := m.deleteScanned(ctx, master, scanned)
			deleted.Add(int64(n))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("cache: delete pattern: %w", err)
	}
	return int(deleted.Load()), err
}

// deleteScanned removes what a scan of one server finds: values, or, where the pattern is one of
// leases, the leases with the values that they are for.
func (m *Manager) deleteScanned(ctx context.Context, master redis.UniversalClient, pattern string) (n int, err error) {
	for cursor := uint64(0); ; {
		page, next, err := m.scanKeyPage(ctx, master, cursor, pattern)
		if err != nil {
			return n, err
		}
		for i, key := range page {
			page[i] = keyOfLease(key)
		}
		done, err := m.unlinkKeys(ctx, master, page)
		n += done
		if err != nil {
			return n, err
		}
		if cursor = next; cursor == 0 {
			return n, nil
		}
	}
}

// leaseStart and leaseEnd are around the key of a value in the key of its load's lease.
var leaseStart, leaseEnd, _ = strings.Cut(keys.CacheLoad("\x00"), "\x00")

// keyOfLease returns the key of the value whose load has the lease key, or key if it is no lease.
func keyOfLease(key string) string {
	if inner, ok := strings.CutPrefix(key, leaseStart); ok {
		if inner, ok = strings.CutSuffix(inner, leaseEnd); ok {
			return inner
		}
	}
	return key
}

// Quote returns text as a pattern of DeletePattern that matches nothing but that text.
func Quote(text string) string { return patternQuoter.Replace(text) }

var patternQuoter = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `\`, `\\`)

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
	case '*', '?', '[':
		return fmt.Errorf("%w: a pattern must begin with a character that is no wildcard: %.64q", ErrKey, pattern)
	}
	return nil
}
