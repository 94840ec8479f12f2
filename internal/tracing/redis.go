package tracing

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// RedisHook is a hook of go-redis that makes a span of each command that belongs to a traced event.
// go-redis' own package redisotel is not used: it begins a span for every command, chosen or not,
// and writes the keys, in which ids of sessions stand.
type RedisHook struct{}

// DialHook implements redis.Hook.
func (RedisHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (RedisHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		parent := FromContext(ctx)
		if parent == nil {
			return next(ctx, cmd)
		}
		span := parent.Call("redis " + cmd.Name())
		defer span.End()
		span.Set("db.system.name", "redis")
		err := next(span.Context(ctx), cmd)
		span.FailWith(failureOf(err))
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (RedisHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		parent := FromContext(ctx)
		if parent == nil {
			return next(ctx, cmds)
		}
		span := parent.Call("redis pipeline")
		defer span.End()
		span.Set("db.system.name", "redis")
		err := next(span.Context(ctx), cmds)
		span.FailWith(failureOf(err))
		return err
	}
}

// failureOf returns nil for an answer of Redis that says that there is nothing.
func failureOf(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}
