package lock

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
)

// runOnce runs a script, and the client does not repeat it if no answer comes.
func runOnce(ctx context.Context, client redis.UniversalClient, script *redisx.Script, keys []string, args ...any) *redis.Cmd {
	cmd := script.Command(ctx, false, keys, args...)
	_ = client.Process(ctx, unrepeated{cmd}) // cmd has the error
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd = script.Command(ctx, true, keys, args...)
		_ = client.Process(ctx, unrepeated{cmd}) // cmd has the error
	}
	return cmd
}

type unrepeated struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (unrepeated) NoRetry() bool { return true }
