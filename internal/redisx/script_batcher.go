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

// A ScriptBatcher runs the scripts of many goroutines in few round trips: what is asked for while
// its pipelines are under way goes with the next, merged where one server has all keys and the
// script allows it. While nobody waits it has no goroutine, and it needs no closing.
type ScriptBatcher struct{ calls *Batcher[Call] }

// NewScriptBatcher makes a batcher.
func NewScriptBatcher(rdb redis.UniversalClient) *ScriptBatcher {
	run := RunScripts
	if IsSingleServer(rdb) {
		run = RunMerged
	}
	return &ScriptBatcher{NewBatcher(scriptLimits, func(ctx context.Context, calls []*Call) { run(ctx, rdb, calls...) })}
}

// Do runs one script and gives its reply. When ctx ends before, its error is the reply's: the
// script may run all the same, unless it was still waiting. ErrBusy when too many wait.
func (b *ScriptBatcher) Do(ctx context.Context, s *Script, keys []string, args ...any) *redis.Cmd {
	served, err := b.calls.Do(ctx, Call{Script: s, Keys: keys, Args: args})
	if err != nil {
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(err)
		return cmd
	}
	return served.Cmd
}
