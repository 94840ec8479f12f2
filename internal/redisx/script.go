package redisx

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts so
	_ "embed"
	"encoding/hex"
	"strings"

	"github.com/redis/go-redis/v9"
)

// A Script is a Lua script. The header of its file lists its KEYS, its ARGV and what it returns.
type Script struct {
	single  source
	merged  source // runs many calls as one; its text is empty when the script cannot
	most    int    // calls of one merged command
	shares  bool   // calls with equal arguments send them once
	noRetry bool
}

// A source is the text of a script, and the hash under which Redis knows it.
type source struct{ text, hash string }

func newScriptSource(text string) source {
	sum := sha1.Sum([]byte(text)) //nolint:gosec
	return source{text, hex.EncodeToString(sum[:])}
}

// NewScript makes a script from its source.
func NewScript(text string) *Script { return &Script{single: newScriptSource(text)} }

// ScriptParts are the source of a script whose calls can be merged: one server runs the calls of
// many callers as one command. That spares Redis the fixed cost of a call. Calls can also share
// what they looked up, because a local of Before lives until the last call has run.
type ScriptParts struct {
	// Before is Lua that runs once, before the calls: functions, and locals that the calls share.
	Before string
	// Prepare is Lua that runs once, before the first call; it may be empty. KEYS are the keys of all
	// calls, one call after the other, and lists has the ARGV of each call. So one command can look up
	// what all calls need. An error of it is the error of all calls. It can not be used with
	// SharesArgs.
	Prepare string
	// Each is Lua that runs once for each call, with the call's own KEYS and ARGV, and returns its
	// answer. It must not keep KEYS after its return.
	Each string
	// After is Lua that runs once, when all calls have run; it may be empty. It must read shared
	// locals through functions of Before, because after a failed call miniredis shows old values to
	// Lua that reads them directly.
	After string
	// MaxMerged is how many calls go into one command, during which Redis serves nobody else.
	// Default 32.
	MaxMerged int
	// SharesArgs says that many calls have equal arguments, so that these are sent only once. Calls
	// with equal arguments share one ARGV: if Each changes it, the next call sees the change. The
	// arguments must be comparable with ==.
	SharesArgs bool
}

//go:embed reason.lua
var reasonLua string

//go:embed merge.lua
var mergeLua string

// mergeParts are merge.lua up to where the calls begin, from there to where all have run, and the
// rest.
var mergeParts = splitMergeLua()

func splitMergeLua() (parts [3]string) {
	var rest string
	parts[0], rest, _ = strings.Cut(mergeLua, "-- here stands Prepare\n")
	parts[1], parts[2], _ = strings.Cut(rest, "-- here stands After\n")
	return parts
}

// NewMergingScript makes a script from its parts.
func NewMergingScript(p ScriptParts) *Script {
	call := reasonLua + p.Before + "local function call(KEYS, ARGV)\n" + p.Each + "end\n"
	prepare := ""
	if p.Prepare != "" {
		call += "local function prepare(KEYS, lists)\n" + p.Prepare + "end\n"
		prepare = "prepare(KEYS, lists)\n"
	}
	single := p.Before + p.Each
	if p.After != "" || p.Prepare != "" {
		single = call + strings.Replace(prepare, "lists", "{ARGV}", 1) + "local ok, answer = pcall(call, KEYS, ARGV)\n" + p.After + "if not ok then answer = {err = reason(answer)} end\nreturn answer\n"
	}
	most := p.MaxMerged
	if most <= 0 {
		most = defaultMaxMerged
	}
	return &Script{single: newScriptSource(single), merged: newScriptSource(call + mergeParts[0] + prepare + mergeParts[1] + p.After + mergeParts[2]), most: most, shares: p.SharesArgs}
}

// WithoutRetry returns a variant of the script that go-redis never repeats. If the connection
// breaks before the answer has come, the caller gets the error, and the script may have run or not.
// Use it for a script that must not run twice. A pipeline with a call of it is not repeated either.
// (A script that the server does not know has not run, so it is still sent once more, with its
// source.)
func (s *Script) WithoutRetry() *Script {
	once := *s
	once.noRetry = true
	return &once
}

// Sources returns the texts that are sent to Redis: the script for one call and, if it can merge
// calls, the script for many.
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

// A Processor is a client, or one connection of it.
type Processor interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

// Do runs the script once and returns its reply.
func (s *Script) Do(ctx context.Context, rdb Processor, keys []string, args ...any) *redis.Cmd {
	cmd := s.newCommand(ctx, false, keys, args)
	_ = rdb.Process(ctx, s.asSent(cmd)) // the command has its error
	if isUnknownScript(cmd) {
		cmd = s.newCommand(ctx, true, keys, args)
		_ = rdb.Process(ctx, s.asSent(cmd))
	}
	return cmd
}

// newCommand makes the command of one call; with load for a server that does not know the script.
func (s *Script) newCommand(ctx context.Context, load bool, keys []string, callArgs []any) *redis.Cmd {
	args := make([]any, 3, 3+len(keys)+len(callArgs))
	args[0], args[1], args[2] = "evalsha", &s.single.hash, len(keys)
	if load {
		args[0], args[1] = "eval", &s.single.text
	}
	for i := range keys {
		args = append(args, &keys[i]) // as a string it would be moved to the heap
	}
	return redis.NewCmd(ctx, append(args, callArgs...)...)
}

// asSent returns the command with the script's rule of repeating.
func (s *Script) asSent(cmd *redis.Cmd) redis.Cmder {
	if s.noRetry {
		return unrepeatedCmd{cmd}
	}
	return cmd
}

// DoThen runs the script and then the command follow over the same connection. It is for WAIT and
// WAITAOF, which wait only for the writes of their own connection. server must be one server, not a
// Cluster.
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

// RunScripts sends the calls in one pipeline, in their order, and waits for the replies. Each call
// has its own error. The calls of a script that the server does not know are sent again with the
// source, in a second pipeline. Calls of one script keep their order.
func RunScripts(ctx context.Context, rdb redis.UniversalClient, calls ...*Call) {
	runCommands(ctx, rdb, singleCommands(calls), nil)
}

// RunScriptsWith is RunScripts with other commands at the end of the first pipeline. addCommands
// adds them, and keeps them to read their replies.
func RunScriptsWith(ctx context.Context, rdb redis.UniversalClient, addCommands func(redis.Pipeliner), calls ...*Call) {
	runCommands(ctx, rdb, singleCommands(calls), addCommands)
}

// RunMerged is RunScripts that merges the calls of a script into one command, if the script allows
// it. One server must have all keys. Calls of one script run in their order.
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
