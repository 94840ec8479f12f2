package redisx

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// mergeMost is how many calls go into one command: Redis serves nobody else meanwhile.
const mergeMost = 32

// A CallError is what Redis said about one of several calls.
type CallError string

func (f CallError) Error() string { return string(f) }

// RedisError marks it as an answer of Redis.
func (CallError) RedisError() {}

var errReply = errors.New("redisx: unexpected reply to many calls")

// A command is what is sent to Redis: one call, or several of one script.
type command struct {
	calls []*Call
	cmd   *redis.Cmd
}

// merge puts the calls of one script together, in their order, where that is possible.
func merge(calls []*Call) []*command {
	commands := make([]*command, 0, 4)
	for _, call := range calls {
		i := len(commands) - 1
		for i >= 0 && commands[i].calls[0].Script != call.Script {
			i--
		}
		if i >= 0 && len(commands[i].calls) < mergeMost && mergeable(call) && mergeable(commands[i].calls[0]) {
			commands[i].calls = append(commands[i].calls, call)
		} else {
			commands = append(commands, &command{calls: []*Call{call}})
		}
	}
	return commands
}

// mergeable tells whether many.lua can be told how long a call is.
func mergeable(c *Call) bool {
	return c.Script.many.source != "" && len(c.Keys) < 256 && len(c.Args) < 256
}

// make makes the command anew; with load for a server that does not know the script yet.
func (c *command) make(ctx context.Context, load bool) *redis.Cmd {
	lua, many := c.calls[0].Script.one, len(c.calls) > 1
	if many {
		lua = c.calls[0].Script.many
	}
	ks, n := 0, 4
	for _, call := range c.calls {
		ks += len(call.Keys)
		n += len(call.Keys) + len(call.Args)
	}
	args := make([]any, 0, n)
	if load {
		args = append(args, "eval", lua.source)
	} else {
		args = append(args, "evalsha", lua.hash)
	}
	args = append(args, ks)
	for _, call := range c.calls {
		for i := range call.Keys {
			args = append(args, &call.Keys[i]) // as a string it would be moved to the heap
		}
	}
	if many {
		args = append(args, counts(c.calls))
	}
	for _, call := range c.calls {
		args = append(args, call.Args...)
	}
	c.cmd = redis.NewCmd(ctx, args...)
	return c.cmd
}

// counts is the first argument of many.lua.
func counts(calls []*Call) []byte {
	b := make([]byte, 0, 2*len(calls))
	for _, c := range calls {
		b = append(b, byte(len(c.Keys)), byte(len(c.Args)))
	}
	return b
}

// distribute gives each call its reply.
func (c *command) distribute() {
	if len(c.calls) == 1 {
		c.calls[0].Cmd = c.cmd
		return
	}
	answers, failures, err := c.read()
	for i, call := range c.calls {
		call.Cmd = &redis.Cmd{}
		switch {
		case err != nil:
			call.SetErr(err)
		case answers[i] == nil:
			call.SetErr(redis.Nil)
		default:
			call.SetVal(answers[i])
		}
	}
	for i := 0; i+1 < len(failures); i += 2 {
		n, _ := failures[i].(int64)
		why, _ := failures[i+1].(string)
		if 0 < n && n <= int64(len(c.calls)) {
			c.calls[n-1].SetErr(CallError(why))
		}
	}
}

func (c *command) read() (answers, failures []any, err error) {
	reply, err := c.cmd.Slice()
	if err != nil {
		return nil, nil, err
	}
	if len(reply) == 2 {
		answers, _ = reply[0].([]any)
		failures, _ = reply[1].([]any)
	}
	if len(answers) != len(c.calls) {
		return nil, nil, errReply
	}
	return answers, failures, nil
}
