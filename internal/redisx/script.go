package redisx

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts so
	_ "embed"
	"encoding/hex"
	"strings"

	"github.com/redis/go-redis/v9"
)

// A Script is a Lua script. Its file says in a header what it takes and returns.
type Script struct {
	single  source
	merged  source // runs many calls as one; its text is empty when the script cannot
	most    int    // calls of one merged command
	shares  bool   // calls with equal arguments send them once
	noRetry bool
}

// A source is what Redis knows by its hash.
type source struct{ text, hash string }

func newScriptSource(text string) source {
	sum := sha1.Sum([]byte(text)) //nolint:gosec
	return source{text, hex.EncodeToString(sum[:])}
}

// NewScript makes a script from its source.
func NewScript(text string) *Script { return &Script{single: newScriptSource(text)} }

// ScriptParts are the source of a script whose calls can be merged: one server runs the calls of
// many callers as one command. That spares Redis the fixed cost of a call, and what one call looked
// up the next need not look up again: a local of Before lives as long as all the calls.
type ScriptParts struct {
	// Before has functions, and locals that the calls share.
	Before string
	// Each is one call: it has its own KEYS and ARGV, and returns its own answer. It must not keep
	// KEYS beyond its return.
	Each string
	// After is what is done once, when all calls have run; it may be empty. It reads shared locals
	// through functions of Before: where a call failed, the Lua of miniredis shows the script itself
	// an old value.
	After string
	// MaxMerged is how many calls go into one command, during which Redis serves nobody else.
	// Default 32.
	MaxMerged int
	// SharesArgs says that many calls have equal arguments, which are sent once then. These calls have
	// one ARGV: what Each changes in it, the next of them sees. The arguments must be comparable.
	SharesArgs bool
}

//go:embed reason.lua
var reasonLua string

//go:embed merge.lua
var mergeLua string

// mergeParts are merge.lua, up to where all calls have run, and from there.
var mergeParts = strings.SplitAfter(mergeLua, "-- here stands After\n")

// NewMergingScript makes a script from its parts.
func NewMergingScript(p ScriptParts) *Script {
	call := reasonLua + p.Before + "local function call(KEYS, ARGV)\n" + p.Each + "end\n"
	single := p.Before + p.Each
	if p.After != "" {
		single = call + "local ok, answer = pcall(call, KEYS, ARGV)\n" + p.After + "if not ok then answer = {err = reason(answer)} end\nreturn answer\n"
	}
	most := p.MaxMerged
	if most <= 0 {
		most = defaultMaxMerged
	}
	return &Script{single: newScriptSource(single), merged: newScriptSource(call + mergeParts[0] + p.After + mergeParts[1]), most: most, shares: p.SharesArgs}
}

// WithoutRetry returns the same script as one that go-redis must not repeat when the connection
// breaks before the answer has come: the caller gets the error, and the script may have run. It is
// for scripts of which a second run is not the same as the first. A pipeline with a call of it is
// not repeated either. (A script that the server does not know has not run, and is sent with its
// source.)
func (s *Script) WithoutRetry() *Script {
	once := *s
	once.noRetry = true
	return &once
}

// Sources are what Redis is given: the script of one call and, when it has one, of many.
func (s *Script) Sources() []string {
	if s.merged.text == "" {
		return []string{s.single.text}
	}
	return []string{s.single.text, s.merged.text}
}

// A Call is one run of a script. On a Cluster all its keys lie in one slot.
type Call struct {
	Script *Script
	Keys   []string
	Args   []any

	*redis.Cmd // the reply, once the call has run
}

// Do runs one script and gives its reply.
func (s *Script) Do(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) *redis.Cmd {
	c := &Call{Script: s, Keys: keys, Args: args}
	runCommands(ctx, rdb, []*command{{calls: []*Call{c}}}, nil)
	return c.Cmd
}

// DoThen runs one script and, over the same connection, the command that follows: WAIT, which waits
// for what its own connection has written. server is one server, not a Cluster.
func (s *Script) DoThen(ctx context.Context, server redis.UniversalClient, follow []any, keys []string, args ...any) (reply, followed *redis.Cmd) {
	c := &command{calls: []*Call{{Script: s, Keys: keys, Args: args}}}
	send := func(load bool) {
		pipe := server.Pipeline()
		_ = pipe.Process(ctx, c.buildCommand(ctx, load)) // only queues
		followed = pipe.Do(ctx, follow...)
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
	if send(false); c.isUnknownScript() {
		send(true)
	}
	return c.cmd, followed
}

// RunScripts sends the calls in one pipeline, in their order, and waits. Each call has its own
// error. A script that the server does not know is sent with its source, in a second pipeline; of
// one script, no call overtakes another.
func RunScripts(ctx context.Context, rdb redis.UniversalClient, calls ...*Call) {
	runCommands(ctx, rdb, singleCommands(calls), nil)
}

// RunScriptsWith is RunScripts with commands of the caller's own, which come last in the first
// pipeline: addCommands adds them and keeps them, because they have their replies.
func RunScriptsWith(ctx context.Context, rdb redis.UniversalClient, addCommands func(redis.Pipeliner), calls ...*Call) {
	runCommands(ctx, rdb, singleCommands(calls), addCommands)
}

// RunMerged is RunScripts where one server has all keys: the calls of a script that allows it are
// merged into one command. Calls of one script run in their order.
func RunMerged(ctx context.Context, rdb redis.UniversalClient, calls ...*Call) {
	runCommands(ctx, rdb, mergeCalls(calls), nil)
}

// singleCommands makes one command of each call.
func singleCommands(calls []*Call) []*command {
	commands := make([]*command, len(calls))
	for i := range calls {
		commands[i] = &command{calls: calls[i : i+1]}
	}
	return commands
}

// runCommands sends commands in one pipeline, with what addCommands adds, and hands out the
// replies.
func runCommands(ctx context.Context, rdb redis.UniversalClient, commands []*command, addCommands func(redis.Pipeliner)) {
	sendCommands(ctx, rdb, commands, false, addCommands)
	var unknown []*command
	for _, c := range commands {
		if c.isUnknownScript() {
			unknown = append(unknown, c)
		}
	}
	sendCommands(ctx, rdb, unknown, true, nil)
	for _, c := range commands {
		c.distributeReplies()
	}
}

func sendCommands(ctx context.Context, rdb redis.UniversalClient, commands []*command, load bool, addCommands func(redis.Pipeliner)) {
	switch {
	case len(commands) == 0 && addCommands == nil:
		return
	case len(commands) == 1 && addCommands == nil: // it needs no pipeline
		_ = rdb.Process(ctx, commands[0].buildCommand(ctx, load)) // the command has its error
		return
	}
	pipe := rdb.Pipeline()
	for _, c := range commands {
		_ = pipe.Process(ctx, c.buildCommand(ctx, load)) // only queues
	}
	if addCommands != nil {
		addCommands(pipe)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
}
