package server

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/throttle"
)

// countedCommands counts what a client sends.
type countedCommands struct {
	mu    sync.Mutex
	names []string // guarded by mu
}

func (c *countedCommands) add(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cmd := range cmds {
		c.names = append(c.names, cmd.Name())
	}
}

// take returns how many commands were sent since it was called last.
func (c *countedCommands) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.names)
	c.names = nil
	return n
}

func (c *countedCommands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *countedCommands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.add(cmd); return next(ctx, cmd) }
}

func (c *countedCommands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.add(cmds...); return next(ctx, cmds) }
}

// everywhere is a gateway in whose rooms everybody is.
type everywhere struct{ chat.Gateway }

func (everywhere) In(string, string) bool                          { return true }
func (everywhere) Cast(context.Context, string, string, any) error { return nil }

// A key costs no round trip: the script of the limit looks and claims, and the script of the
// history writes the answer. A repeat costs one on another node, and none on its own.
func TestAKeyCostsNoRoundTrip(t *testing.T) {
	t.Parallel()
	rdb, counted := redistest.Server(t).Client(), &countedCommands{}
	limits, err := throttle.New(rdb, []throttle.Policy{{Name: "chat", Limit: 100, Window: time.Minute, Scope: throttle.ByUser}},
		throttle.Config{Budget: 10 * time.Second})
	require.NoError(t, err)
	defer limits.Close()
	talk := chat.New(rdb, everywhere{}, chat.Config{RedisTimeout: 10 * time.Second})
	var route event.Route
	for _, r := range talk.Routes() {
		if r.Name == "chat:message" {
			route = r
		}
	}
	p := event.Player{UserID: "ann", Conn: "1"}
	send := func(k *once.Keeper, raw string) {
		serve := func(ctx context.Context, dst []byte) ([]byte, error) { return route.Serve(ctx, &p, []byte(raw), dst) }
		subject := gateway.Subject{User: p.UserID, Conn: p.Conn}
		request, err := route.OnceRule.Identify(&p, []byte(raw), "")
		require.NoError(t, err)
		if request.Key == "" {
			v, err := limiter{limits}.Spend(t.Context(), route.Limits, subject)
			require.NoError(t, err)
			require.True(t, v.Allowed)
			_, err = serve(t.Context(), nil)
			require.NoError(t, err)
			return
		}
		_, err = k.Do(t.Context(), &once.Event{
			UserID: p.UserID, Route: route.Name, Rule: route.OnceRule, Request: request, Serve: serve,
			Spend: func(ctx context.Context, look record.Look) (record.Found, error) {
				_, found, err := limiter{limits}.SpendOnce(ctx, route.Limits, subject, look)
				return found, err
			},
		}, nil)
		require.NoError(t, err)
	}
	a, b := once.New(rdb, once.Config{}), once.New(rdb, once.Config{})
	send(a, `{"channel":"global","text":"x"}`) // Redis learns the scripts
	send(a, `{"channel":"global","text":"x","idempotencyKey":"first"}`)
	rdb.AddHook(counted)

	send(a, `{"channel":"global","text":"x"}`)
	require.Eventually(t, func() bool { counted.mu.Lock(); defer counted.mu.Unlock(); return len(counted.names) == 2 }, 10*time.Second, time.Millisecond,
		"without a key: the limit, and the history in the background")
	counted.take()
	send(a, `{"channel":"global","text":"x","idempotencyKey":"k"}`)
	require.Equal(t, 2, counted.take(), "with a key: the limit and the history")
	send(b, `{"channel":"global","text":"x","idempotencyKey":"k"}`)
	require.Equal(t, 1, counted.take(), "a repeat on another node: the script of the limit")
	send(a, `{"channel":"global","text":"x","idempotencyKey":"k"}`)
	require.Zero(t, counted.take(), "a repeat on the same node")
	a.Close()
	b.Close()
	talk.Close()
	require.Zero(t, counted.take(), "nothing in the background")
}
