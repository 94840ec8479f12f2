package lock

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// once sends a script without the client's repeating it when the answer does not come: who asks must know whether it
// is for the first time.
type once struct{ redis.UniversalClient }

// EvalSha implements redis.Scripter.
func (o once) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return o.eval(ctx, "evalsha", sha, keys, args)
}

// Eval implements redis.Scripter.
func (o once) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return o.eval(ctx, "eval", script, keys, args)
}

func (o once) eval(ctx context.Context, name, script string, keys []string, args []any) *redis.Cmd {
	all := append(make([]any, 0, 3+len(keys)+len(args)), name, script, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	_ = o.Process(ctx, unrepeated{cmd}) // which cmd has
	return cmd
}

type unrepeated struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (unrepeated) NoRetry() bool { return true }
