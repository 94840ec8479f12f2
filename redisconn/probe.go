package redisconn

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// probeWrites asks whether Redis takes writes, without writing: SET XX on a key that nobody
// makes is refused wherever a write is (replica, full memory, broken disk, Cluster down).
// One round trip.
func probeWrites(ctx context.Context, client redis.UniversalClient) error {
	err := client.Do(ctx, "set", keys.Temp("redisconn", "probe"), "", "px", 1, "xx").Err()
	var reply redis.Error
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "NOPERM"):
		return nil // it answers; what we may write is the operator's affair
	}
	return err
}
