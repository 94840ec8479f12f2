//go:build crashhook

package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/usage"
)

// crashVariable makes this process kill or stop itself at one of its commands to Redis that concern
// trades, so that a test can show what is left then: "kill before 7", "kill after 7", "stop before
// 7", "stop after 7". With "any" behind it, as in "kill before 7 any", the commands that concern
// any event with an idempotency key count. It is no setting: only builds with the tag crashhook,
// for internal/chaos, look at it. Commands count from when the first player has connected: what the
// node does by itself before that would end it, or stop it, before the test knows its address.
const crashVariable = "REALTIME_CRASH_AT"

// crashHook is a hook of the Redis client.
type crashHook struct {
	signal syscall.Signal
	after  bool
	at     int64
	seen   atomic.Int64 // commands that count

	prefixes []string // of the keys of commands that count

	node     *node
	hasBegun atomic.Bool // a player has connected
}

var (
	tradePrefixes = []string{"trade:", "{trade:", "temp:trade:", "lock:trade:", "char:"}
	eventPrefixes = append([]string{"once:", "combat:", "user:", "ratelimit:", "chat:", "{chat:"}, tradePrefixes...)
)

// armCrashHook arms the hook when the environment asks for it.
func (n *node) armCrashHook() error {
	v := os.Getenv(crashVariable) //nolint:forbidigo // no setting: tests of one special build use it
	if v == "" {
		return nil
	}
	c := &crashHook{prefixes: tradePrefixes, node: n}
	if rest, ok := strings.CutSuffix(v, " any"); ok {
		v, c.prefixes = rest, eventPrefixes
	}
	var how, when string
	if _, err := fmt.Sscanf(v, "%s %s %d", &how, &when, &c.at); err != nil || c.at < 1 {
		return usage.Errorf("%s: %q", crashVariable, v)
	}
	signals := map[string]syscall.Signal{"kill": syscall.SIGKILL, "stop": syscall.SIGSTOP}
	if c.signal = signals[how]; c.signal == 0 || when != "before" && when != "after" {
		return usage.Errorf("%s: %q", crashVariable, v)
	}
	c.after = when == "after"
	n.log.Warn("this process will hurt itself: " + crashVariable + " is set")
	n.redis.client.AddHook(c)
	return nil
}

// counts reports whether a command is about what the hook looks at.
func (c *crashHook) counts(cmd redis.Cmder) bool {
	if !c.hasBegun.Load() {
		if !c.node.isServing.Load() || c.node.gateway.Connections() == 0 {
			return false
		}
		c.hasBegun.Store(true)
	}
	for _, arg := range cmd.Args() {
		key, _ := arg.(string)
		if p, ok := arg.(*string); ok {
			key = *p
		}
		for _, prefix := range c.prefixes {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
		if strings.HasPrefix(key, "user:") && strings.HasSuffix(key, ":outcomes") {
			return true
		}
	}
	return false
}

// runAndCrash runs the command, and ends this process when it is the one to end at.
func (c *crashHook) runAndCrash(concerned bool, next func() error) error {
	if !concerned || c.seen.Add(1) != c.at {
		return next()
	}
	var err error
	if c.after {
		err = next()
	}
	_ = syscall.Kill(os.Getpid(), c.signal)
	if !c.after {
		err = next() // stopped, and gone on
	}
	return err
}

func (c *crashHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *crashHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return c.runAndCrash(c.counts(cmd), func() error { return next(ctx, cmd) })
	}
}

func (c *crashHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		concerned := false
		for _, cmd := range cmds {
			concerned = concerned || c.counts(cmd)
		}
		return c.runAndCrash(concerned, func() error { return next(ctx, cmds) })
	}
}
