// Package script runs Lua scripts of Redis, many of them in one round trip.
package script

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// A Script is a Lua script. Its file says in a header what it takes and returns.
type Script struct{ lua *redis.Script }

// New makes a script of its source.
func New(source string) *Script { return &Script{redis.NewScript(source)} }

// Lua is the script for a pipeline of the caller's own.
func (s *Script) Lua() *redis.Script { return s.lua }

// A Call is one run of a script. On a Cluster all its keys lie in one slot.
type Call struct {
	Script *Script
	Keys   []string
	Args   []any

	*redis.Cmd // the reply, once Run has returned
}

// Run sends the calls in one pipeline, in their order, and waits. Each call has its own
// error. A script that the server does not know is sent with its source, in a second
// pipeline; of one script, no call overtakes another.
func Run(ctx context.Context, rdb redis.UniversalClient, calls ...*Call) {
	if len(calls) == 1 { // it needs no pipeline
		c := calls[0]
		c.Cmd = c.Script.lua.Run(ctx, rdb, c.Keys, c.Args...)
		return
	}
	pipe := rdb.Pipeline()
	for _, c := range calls {
		c.Cmd = c.Script.lua.EvalSha(ctx, pipe, c.Keys, c.Args...)
	}
	_, _ = pipe.Exec(ctx) // each call has its own error

	unknown := rdb.Pipeline()
	for _, c := range calls {
		if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
			c.Cmd = c.Script.lua.Eval(ctx, unknown, c.Keys, c.Args...)
		}
	}
	if unknown.Len() > 0 {
		_, _ = unknown.Exec(ctx)
	}
}

// Do runs one script and gives its reply.
func (s *Script) Do(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) *redis.Cmd {
	c := &Call{Script: s, Keys: keys, Args: args}
	Run(ctx, rdb, c)
	return c.Cmd
}
