package redisconn

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// ClockOffset returns how far the clock of this machine is ahead of Redis's: negative when it is
// behind. On a Cluster it is that of the master which differs most. It is exact to half a round
// trip.
func ClockOffset(ctx context.Context, client redis.UniversalClient) (offset time.Duration, err error) {
	var mu sync.Mutex // the masters of a Cluster answer at the same time
	err = redisx.ForEachMaster(ctx, client, func(ctx context.Context, master redis.UniversalClient) error {
		asked := time.Now()
		there, err := master.Time(ctx).Result()
		if err != nil {
			return fmt.Errorf("clock of Redis: %w", err)
		}
		half := time.Since(asked) / 2
		here := asked.Add(half)
		mu.Lock()
		defer mu.Unlock()
		if off := here.Sub(there); off.Abs() > offset.Abs() {
			offset = off
		}
		return nil
	})
	return offset, err
}
