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
	one  lua
	many lua // runs many calls as one; empty when the script can not
}

// A lua is what Redis knows by its hash.
type lua struct{ source, hash string }

func newLua(source string) lua {
	sum := sha1.Sum([]byte(source)) //nolint:gosec
	return lua{source, hex.EncodeToString(sum[:])}
}

// NewScript makes a script of its source.
func NewScript(source string) *Script { return &Script{one: newLua(source)} }

// ScriptParts are the source of a script of which one server may run the calls of many callers as one. That spares
// Redis what a call costs whatever it does, and what is looked up once need not be again: a local of Before lives as
// long as all the calls.
type ScriptParts struct {
	Before string // functions, and what the calls share
	Each   string // one call: it has its own KEYS and ARGV, and returns its own answer
	// After is what is done once, when all calls have run; may be empty. It reads shared locals through functions of Before: where
	// a call failed, the Lua of miniredis shows the script itself an old value.
	After string
}

//go:embed reason.lua
var reasonLua string

//go:embed many.lua
var manyLua string

// manyParts are many.lua, up to where all calls have run, and from there.
var manyParts = strings.SplitAfter(manyLua, "-- here stands After\n")

// NewMergingScript makes a script of its parts.
func NewMergingScript(p ScriptParts) *Script {
	call := reasonLua + p.Before + "local function call(KEYS, ARGV)\n" + p.Each + "end\n"
	alone := p.Before + p.Each
	if p.After != "" {
		alone = call + "local ok, answer = pcall(call, KEYS, ARGV)\n" + p.After + "if not ok then answer = {err = reason(answer)} end\nreturn answer\n"
	}
	return &Script{one: newLua(alone), many: newLua(call + manyParts[0] + p.After + manyParts[1])}
}

// A Call is one run of a script. On a Cluster all its keys lie in one slot.
type Call struct {
	Script *Script
	Keys   []string
	Args   []any

	*redis.Cmd // the reply, once RunScripts has returned
}

// RunScripts sends the calls in one pipeline, in their order, and waits. Each call has its own
// error. A script that the server does not know is sent with its source, in a second
// pipeline; of one script, no call overtakes another.
func RunScripts(ctx context.Context, rdb redis.UniversalClient, calls ...*Call) {
	commands := make([]*command, len(calls))
	for i := range calls {
		commands[i] = &command{calls: calls[i : i+1]}
	}
	run(ctx, rdb, commands)
}

// Do runs one script and gives its reply.
func (s *Script) Do(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) *redis.Cmd {
	c := &Call{Script: s, Keys: keys, Args: args}
	RunScripts(ctx, rdb, c)
	return c.Cmd
}

// Sources are what Redis is given: the script of one call and, when it can, of many.
func (s *Script) Sources() []string {
	if s.many.source == "" {
		return []string{s.one.source}
	}
	return []string{s.one.source, s.many.source}
}

// Command is the call of a script for a pipeline of the caller's own; with load for a server that answered
// NOSCRIPT.
func (s *Script) Command(ctx context.Context, load bool, keys []string, args ...any) *redis.Cmd {
	c := &command{calls: []*Call{{Script: s, Keys: keys, Args: args}}}
	return c.make(ctx, load)
}

// run sends commands in one pipeline, and distributes what comes back.
func run(ctx context.Context, rdb redis.UniversalClient, commands []*command) {
	send(ctx, rdb, commands, false)
	unknown := commands[:0:0]
	for _, c := range commands {
		if redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	send(ctx, rdb, unknown, true)
	for _, c := range commands {
		c.distribute()
	}
}

func send(ctx context.Context, rdb redis.UniversalClient, commands []*command, load bool) {
	switch len(commands) {
	case 0:
	case 1: // it needs no pipeline
		_ = rdb.Process(ctx, commands[0].make(ctx, load)) // the command has its error
	default:
		pipe := rdb.Pipeline()
		for _, c := range commands {
			_ = pipe.Process(ctx, c.make(ctx, load)) // only queues
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
}
