package redisconn_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// otherClock is a hook with which Redis's clock is off.
type otherClock struct{ ahead time.Duration }

func (otherClock) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c otherClock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if asked, ok := cmd.(*redis.TimeCmd); ok && err == nil {
			asked.SetVal(asked.Val().Add(c.ahead))
		}
		return err
	}
}

func (otherClock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestClockOffset(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	for _, ahead := range []time.Duration{0, 3 * time.Second, -3 * time.Second} {
		c := open(t, server.URL())
		c.AddHook(otherClock{ahead})
		offset, err := redisconn.ClockOffset(t.Context(), c)
		require.NoError(t, err)
		require.InDelta(t, -ahead.Seconds(), offset.Seconds(), 0.5, "this machine is behind what is ahead of it")
	}
	c := open(t, server.URL())
	server.Kill()
	_, err := redisconn.ClockOffset(t.Context(), c)
	require.Error(t, err)
}
