package redisconn

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// probeWrites asks whether Redis accepts writes, and writes nothing: SET XX on a key that never
// exists is refused whenever a write is (replica, full memory, broken disk, Cluster down). It takes
// one round trip.
func probeWrites(ctx context.Context, client redis.UniversalClient) error {
	err := client.Do(ctx, "set", keys.Temp("redisconn", "probe"), "", "px", 1, "xx").Err()
	var reply redis.Error
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "NOPERM"):
		return nil // it answers; the operator decides what we may write
	}
	return err
}
