package jobs

import (
	"context"
	_ "embed"
	"fmt"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

//go:embed remove_without_ttl.lua
var removeWithoutTTLSource string

var removeWithoutTTLScript = redisx.NewScript(removeWithoutTTLSource)

// scanBatch is how many keys one SCAN looks at.
const scanBatch = 500

// RemoveKeysWithoutTTL removes the keys that match a pattern ("temp:*") and have no TTL although
// they must have one. It returns how many it removed, beside an error too. It scans the whole
// keyspace, on every master of a Cluster.
func RemoveKeysWithoutTTL(ctx context.Context, rdb redis.UniversalClient, pattern string) (int, error) {
	var removed atomic.Int64
	err := redisx.ForEachMaster(ctx, rdb, func(ctx context.Context, master redis.UniversalClient) error {
		for cursor := uint64(0); ; {
			page, next, err := master.Scan(ctx, cursor, pattern, scanBatch).Result()
			if err != nil {
				return err
			}
			calls := make([]*redisx.Call, len(page))
			for i, key := range page {
				calls[i] = &redisx.Call{Script: removeWithoutTTLScript, Keys: []string{key}}
			}
			if len(calls) > 0 {
				redisx.RunScripts(ctx, master, calls...)
			}
			for _, call := range calls {
				n, err := call.Int()
				if err != nil {
					return err
				}
				removed.Add(int64(n))
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("remove keys without a TTL %s: %w", pattern, err)
	}
	return int(removed.Load()), err
}
