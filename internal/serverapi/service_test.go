package serverapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// Where Redis is away, casts do not ask again and again which nodes are silent, and a caller whose
// time is over does not wait for another one that asks.
func TestSilentNodesAreAskedForOnceASecond(t *testing.T) {
	t.Parallel()
	var dials atomic.Int32
	rdb := redis.NewClient(&redis.Options{MaxRetries: -1, DialerRetries: 1, Dialer: func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		return nil, errors.New("Redis is away")
	}})
	t.Cleanup(func() { _ = rdb.Close() })
	s := New(Config{Redis: rdb, Log: zap.NewNop()})
	require.Empty(t, s.findSilentNodes(t.Context(), Caller{}))
	asked := dials.Load()
	require.Positive(t, asked)
	before := s.silent.at
	for range 3 {
		require.Empty(t, s.findSilentNodes(t.Context(), Caller{}))
	}
	if s.silent.at.Equal(before) { // else the machine was so busy that a second is over
		require.Equal(t, asked, dials.Load())
	}

	s.silentTurn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Empty(t, s.findSilentNodes(ctx, Caller{}))
}

// An INTERNAL is logged, also one that was cancelled inside of the gateway; only the end of a call
// whose program has gone is not.
func TestWhatIsOurFaultIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.ErrorLevel)
	s := New(Config{Log: zap.New(core)})
	cancelled := fmt.Errorf("read: %w", context.Canceled)
	require.Equal(t, "INTERNAL", s.noteFailure("shop", "cast", cancelled).Code)
	require.Equal(t, 1, logs.Len())
	s.noteFailure("shop", "history", fmt.Errorf("%w: %w", errProgramGone, cancelled))
	require.Equal(t, 1, logs.Len())
}
