package sessions

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// scanKeys passes all keys of a pattern and type to each, page by page, every key once. On a
// Cluster it scans every master, and may call each from several goroutines at once.
func (s *Store) scanKeys(ctx context.Context, pattern, kind string, each func(page []string) error) error {
	return redisx.ForEachMaster(ctx, s.rdb, func(ctx context.Context, master redis.UniversalClient) error {
		seen := make(map[string]struct{}) // SCAN may return a key twice
		for cursor := uint64(0); ; {
			page, next, err := master.ScanType(ctx, cursor, pattern, pipelineSize, kind).Result()
			if err != nil {
				return err
			}
			fresh := page[:0]
			for _, key := range page {
				if _, again := seen[key]; !again {
					seen[key] = struct{}{}
					fresh = append(fresh, key)
				}
			}
			if len(fresh) > 0 {
				if err := each(fresh); err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
}
