package redisx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
)

// reply is an error as a server sends it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// What Redis answers, and what the player is told of it; redisconn's tests have the kinds of
// errors.
func TestFault(t *testing.T) {
	t.Parallel()
	late, cancel := context.WithCancel(context.Background())
	cancel()
	taken := fault.New("TAKEN", "Somebody was quicker.")
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		code string
	}{
		"nothing":                 {t.Context(), nil, ""},
		"the connection is lost":  {t.Context(), fmt.Errorf("chat: %w", io.EOF), "UNAVAILABLE"},
		"read-only":               {t.Context(), reply("READONLY You can't write against a read only replica."), "UNAVAILABLE"},
		"a fault stays":           {t.Context(), taken.Because(io.EOF), "TAKEN"},
		"no such key":             {t.Context(), redis.Nil, "INTERNAL"},
		"our own mistake":         {t.Context(), reply("WRONGTYPE Operation against a key"), "INTERNAL"},
		"the caller's time is up": {late, io.EOF, "INTERNAL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := redisx.FaultFor(c.ctx, "chat", c.err)
			require.True(t, errors.Is(err, c.err))
			f := fault.Of(err)
			if c.code == "" {
				require.Nil(t, f)
				return
			}
			require.Equal(t, c.code, f.Code)
			if c.code == "UNAVAILABLE" {
				require.Equal(t, "chat", f.Detail("feature"))
				require.Equal(t, int64(1000), f.Detail("retryAfterMs"))
			}
		})
	}
}

// The error of a step names the feature and the step; without an error there is none.
func TestDuring(t *testing.T) {
	t.Parallel()
	require.NoError(t, redisx.WrapFault(t.Context(), "chat", "history of global", nil))
	err := redisx.WrapFault(t.Context(), "chat", "history of global", io.EOF)
	require.ErrorIs(t, err, fault.ErrUnavailable)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "UNAVAILABLE: chat: history of global: EOF", err.Error())
}
