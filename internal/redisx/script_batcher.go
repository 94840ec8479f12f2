package redisx

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// scriptLimits of a batch: Redis goes on with one pipeline while the calls of the next are made,
// and with a second one when as many wait behind the first. The client's own timeouts end a batch
// sooner.
var scriptLimits = BatchLimits{MaxBatch: defaultMaxMerged, MaxWaiting: 16384, MaxWorkers: 2, NextWorkerAt: 32, Timeout: 5 * time.Second}

// A ScriptBatcher runs the scripts of many goroutines in few round trips. Calls that come while a
// pipeline is under way go with the next one. They are merged if one server has all keys and the
// script allows it. While no call waits it has no goroutine, and it needs no closing.
type ScriptBatcher struct{ calls *Batcher[Call] }

// NewScriptBatcher makes a batcher.
func NewScriptBatcher(rdb redis.UniversalClient) *ScriptBatcher {
	run := RunScripts
	if IsSingleServer(rdb) {
		run = RunMerged
	}
	return &ScriptBatcher{NewBatcher(scriptLimits, func(ctx context.Context, calls []*Call) { run(ctx, rdb, calls...) })}
}

// Do runs a script and returns its reply. Errors of the reply, besides those of Redis: ErrBusy when
// too many calls wait; the error of ctx if it ends first, after which the script may still run if
// it was already in a pipeline.
func (b *ScriptBatcher) Do(ctx context.Context, s *Script, keys []string, args ...any) *redis.Cmd {
	served, err := b.calls.Do(ctx, Call{Script: s, Keys: keys, Args: args})
	if err != nil {
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(err)
		return cmd
	}
	return served.Cmd
}
