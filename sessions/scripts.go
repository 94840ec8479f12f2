package sessions

import (
	"context"
	_ "embed"
	"strconv"

	"github.com/redis/go-redis/v9"
)

//go:embed create.lua
var createSource string

//go:embed touch.lua
var touchSource string

//go:embed extend.lua
var extendSource string

//go:embed update.lua
var updateSource string

//go:embed destroy.lua
var destroySource string

//go:embed index.lua
var indexSource string

// Every other script takes exactly one key, so that each runs on a Cluster too.
var (
	createScript  = newScript(createSource)
	touchScript   = newScript(touchSource)
	extendScript  = newScript(extendSource)
	updateScript  = newScript(updateSource)
	destroyScript = newScript(destroySource)
	indexScript   = newScript(indexSource)
)

type script struct{ sha, source string }

func newScript(source string) script {
	return script{sha: redis.NewScript(source).Hash(), source: source}
}

// A call is one run of a script on one key; cmd holds the reply.
type call struct {
	script script
	key    string
	args   []any
	cmd    *redis.Cmd
}

// run sends the calls, and what more adds, in one pipeline. Where the server does not
// know a script yet, these calls are sent once more with their text. Each call has its
// own error.
func run(ctx context.Context, rdb redis.UniversalClient, calls []call, more func(redis.Pipeliner)) {
	pipe := rdb.Pipeline()
	for i := range calls {
		c := &calls[i]
		c.cmd = pipe.EvalSha(ctx, c.script.sha, []string{c.key}, c.args...)
	}
	if more != nil {
		more(pipe)
	}
	_, _ = pipe.Exec(ctx) // each command carries its own error

	unknown := rdb.Pipeline()
	for i := range calls {
		c := &calls[i]
		if redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			c.cmd = unknown.Eval(ctx, c.script.source, []string{c.key}, c.args...)
		}
	}
	if unknown.Len() > 0 {
		_, _ = unknown.Exec(ctx)
	}
}

func call1(ctx context.Context, rdb redis.UniversalClient, s script, key string, args ...any) *redis.Cmd {
	calls := []call{{script: s, key: key, args: args}}
	run(ctx, rdb, calls, nil)
	return calls[0].cmd
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }

// isWrongType tells that the key holds something that is not a session at all.
func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }
