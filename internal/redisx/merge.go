package redisx

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"
)

// defaultMaxMerged is how many calls go into one command: Redis serves nobody else meanwhile.
const defaultMaxMerged = 32

// maxListed is how many keys or arguments of a call, and how many lists of arguments, merge.lua can
// be told: each number is one byte.
const maxListed = 255

// A CallError is the error of Redis for one of several merged calls.
type CallError string

// Error implements error.
func (e CallError) Error() string { return string(e) }

// RedisError marks it as an answer of Redis.
func (CallError) RedisError() {}

var errUnexpectedReply = errors.New("redisx: unexpected reply to many calls")

// A command is what is sent to Redis: one call, or several of one script.
type command struct {
	calls []*Call
	end   int     // calls are those of the input before this index; 0 when they are not adjacent there
	lists []*Call // of a script that shares arguments: the calls whose arguments are sent
	plan  []byte  // and for each call, which of these has its arguments, from 1
	cmd   *redis.Cmd
}

// mergeCalls puts the calls of one script together, in their order, where that is possible.
func mergeCalls(calls []*Call) []*command {
	commands := make([]*command, 0, 4)
	for i, call := range calls {
		last := len(commands) - 1
		for last >= 0 && commands[last].calls[0].Script != call.Script {
			last--
		}
		if last >= 0 && commands[last].addCall(calls, i) {
			continue
		}
		c := &command{calls: calls[i : i+1 : i+1], end: i + 1}
		if call.Script.shares {
			c.lists, c.plan = c.calls, append(make([]byte, 0, 32), 1)
		}
		commands = append(commands, c)
	}
	return commands
}

// addCall takes one more call, calls[i], of the command's script, unless it would be one too many.
func (c *command) addCall(calls []*Call, i int) bool {
	call := calls[i]
	if len(c.calls) >= call.Script.most || !isMergeable(call) || !isMergeable(c.calls[0]) {
		return false
	}
	if call.Script.shares {
		n := slices.IndexFunc(c.lists, func(other *Call) bool { return hasSameArgs(call, other) })
		if n < 0 {
			if n = len(c.lists); n == maxListed {
				return false
			}
			c.lists = append(c.lists, call)
		}
		c.plan = append(c.plan, byte(n+1))
	}
	if c.end == i { // no copy is needed: calls[0:i] ends with ours
		c.calls, c.end = calls[i-len(c.calls):i+1:i+1], i+1
	} else {
		c.calls, c.end = append(c.calls, call), 0
	}
	return true
}

// isMergeable tells whether merge.lua can be told how long a call is.
func isMergeable(c *Call) bool {
	return c.Script.merged.text != "" && len(c.Keys) <= maxListed && len(c.Args) <= maxListed
}

// hasSameArgs tells whether two calls have as many keys, and equal arguments.
func hasSameArgs(a, b *Call) bool {
	return len(a.Keys) == len(b.Keys) && len(a.Args) == len(b.Args) &&
		(len(a.Args) == 0 || &a.Args[0] == &b.Args[0] || slices.Equal(a.Args, b.Args))
}

// buildCommand makes the command anew; with load for a server that does not know the script yet.
func (c *command) buildCommand(ctx context.Context, load bool) redis.Cmder {
	script, isMerged := c.calls[0].Script, len(c.calls) > 1
	source, lists := script.single, c.calls
	if isMerged {
		source = script.merged
		if c.plan != nil {
			lists = c.lists
		}
	}
	keyCount, n := 0, 5
	for _, call := range c.calls {
		keyCount += len(call.Keys)
	}
	for _, call := range lists {
		n += len(call.Args)
	}
	args := make([]any, 0, n+keyCount)
	if load {
		args = append(args, "eval", source.text)
	} else {
		args = append(args, "evalsha", source.hash)
	}
	args = append(args, keyCount)
	for _, call := range c.calls {
		for i := range call.Keys {
			args = append(args, &call.Keys[i]) // as a string it would be moved to the heap
		}
	}
	if isMerged {
		args = append(args, countLists(lists), c.plan)
	}
	for _, call := range lists {
		args = append(args, call.Args...)
	}
	c.cmd = redis.NewCmd(ctx, args...)
	return script.asSent(c.cmd)
}

// An unrepeatedCmd is a command that go-redis sends once.
type unrepeatedCmd struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (unrepeatedCmd) NoRetry() bool { return true }

// countLists is the first argument of merge.lua.
func countLists(lists []*Call) []byte {
	b := make([]byte, 0, 2*len(lists))
	for _, c := range lists {
		b = append(b, byte(len(c.Keys)), byte(len(c.Args)))
	}
	return b
}

// isUnknownScript tells whether the server does not know the script.
func (c *command) isUnknownScript() bool { return isUnknownScript(c.cmd) }

func isUnknownScript(cmd *redis.Cmd) bool {
	return cmd.Err() != nil && redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT")
}

// distributeReplies gives each call its reply.
func (c *command) distributeReplies() {
	if len(c.calls) == 1 {
		c.calls[0].Cmd = c.cmd
		return
	}
	answers, failures, err := c.readReply()
	replies := make([]redis.Cmd, len(c.calls))
	for i, call := range c.calls {
		call.Cmd = &replies[i]
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

// readReply takes the reply of merge.lua apart.
func (c *command) readReply() (answers, failures []any, err error) {
	reply, err := c.cmd.Slice()
	if err != nil {
		return nil, nil, err
	}
	if len(reply) == 2 {
		answers, _ = reply[0].([]any)
		failures, _ = reply[1].([]any)
	}
	if len(answers) != len(c.calls) {
		return nil, nil, errUnexpectedReply
	}
	return answers, failures, nil
}
