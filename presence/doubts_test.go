package presence_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/presence"
)

// A lateCall is a hook that keeps one call of a script about bob in a channel. The caller gets a
// timeout, and the call runs when the test says so, as with a Redis that was paused.
type lateCall struct {
	isEnter bool
	armed   atomic.Bool
	kept    chan []any
}

func (l *lateCall) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *lateCall) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if l.keepsCall(cmd) {
			cmd.SetErr(context.DeadlineExceeded)
			return context.DeadlineExceeded
		}
		return next(ctx, cmd)
	}
}

func (l *lateCall) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !slices.ContainsFunc(cmds, l.keepsCall) {
			return next(ctx, cmds)
		}
		for _, c := range cmds {
			c.SetErr(context.DeadlineExceeded)
		}
		return context.DeadlineExceeded
	}
}

func (l *lateCall) keepsCall(c redis.Cmder) bool {
	args := c.Args()
	isAboutBob, shows := false, false
	for _, a := range args {
		text := fmt.Sprintf("%s", a)
		isAboutBob, shows = isAboutBob || text == "bob", shows || strings.Contains(text, `"userId":"bob"`)
	}
	if c.Name() != "evalsha" || !isAboutBob || shows != l.isEnter { // leave.lua is not told what is shown
		return false
	}
	key, _ := args[3].(*string)
	if key == nil || *key != keys.PresenceUsers("zone:1") || !l.armed.CompareAndSwap(true, false) {
		return false
	}
	l.kept <- args
	return true
}

// run lets Redis run the call at last.
func (l *lateCall) run(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	require.NotEmpty(t, l.kept, "the first call was lost")
	args := slices.Clone(<-l.kept)
	for i, a := range args {
		if text, ok := a.(*string); ok {
			args[i] = *text
		}
	}
	require.NoError(t, rdb.Do(t.Context(), args...).Err())
}

type hookedClient struct{ *redis.Client }

// A call whose answer was lost may run after later ones. What it does then is put right.
func TestALateCallIsPutRight(t *testing.T) {
	t.Parallel()
	for title, isEnter := range map[string]bool{"enters": true, "leaves": false} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			server, late := redistest.Server(t), &lateCall{isEnter: isEnter, kept: make(chan []any, 1)}
			rdb, own := server.Client(), redis.NewClient(&redis.Options{Addr: server.Addr()})
			own.AddHook(late)
			n := start(t, hookedClient{own}, &hall{}, presence.Config{Grace: short})
			n.come("ann", "1", "zone:1")
			bob := n.come("bob", "1")
			there := func(want string) {
				t.Helper()
				require.Eventually(t, func() bool { return fmt.Sprint(n.ids("zone:1", 0)) == want }, soon, tick)
			}
			there("[ann]")
			if !isEnter {
				n.Joined(bob, "zone:1")
				there("[ann bob]")
				late.armed.Store(true)
				n.Left(bob, "zone:1")
				there("[ann]")
				n.Joined(bob, "zone:1")
				there("[ann bob]")
				late.run(t, rdb)
				require.Equal(t, "[ann]", fmt.Sprint(n.ids("zone:1", 0)), "the late call does harm")
				there("[ann bob]")
			} else {
				late.armed.Store(true)
				n.Joined(bob, "zone:1")
				there("[ann bob]")
				n.Left(bob, "zone:1")
				there("[ann]")
				late.run(t, rdb)
				require.Contains(t, n.ids("zone:1", 0), "bob", "the late call does harm")
				there("[ann]")
			}
		})
	}
}
