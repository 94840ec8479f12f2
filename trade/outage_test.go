package trade_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/trade"
)

func TestWithoutRedisItIsUnavailable(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	w := newTown(t, server.Client())
	w.mint("anna", "apple", 10, 0)
	first, err := w.Execute(t.Context(), ann, gift("bob", "k1", 0, some("apple", 1)))
	require.NoError(t, err)

	server.Kill()
	unavailable := func(err error) {
		t.Helper()
		require.Equal(t, "UNAVAILABLE", code(err))
		require.Equal(t, "trade", fault.Of(err).Detail("feature"))
		require.Positive(t, fault.Of(err).Detail("retryAfterMs"))
	}
	_, err = w.Execute(t.Context(), ann, gift("bob", "k2", 0, some("apple", 2)))
	unavailable(err)
	_, err = w.State(t.Context(), ann, trade.Ask{TradeID: first.TradeID})
	unavailable(err)
	_, err = w.Inventory(t.Context(), ann, event.None{})
	unavailable(err)
	_, err = w.Mint(t.Context(), grant("anna", "apple", 1, 0))
	unavailable(err)
	_, err = w.Audit(t.Context())
	unavailable(err)

	server.Restart()
	again, err := w.Execute(t.Context(), ann, gift("bob", "k1", 0, some("apple", 1)))
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = w.Execute(t.Context(), ann, gift("bob", "k2", 0, some("apple", 2)))
	require.NoError(t, err)
	w.has("bobo", "3 apple, 0 gold")
	w.clean()
}

func TestAServerThatHangsIsUnavailable(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	w := newTown(t, server.Client())
	w.mint("anna", "apple", 10, 0)
	server.Pause()
	_, err := w.Execute(t.Context(), ann, gift("bob", "k1", 0, some("apple", 1)))
	require.Equal(t, "UNAVAILABLE", code(err))
	server.Resume()
	require.Eventually(t, func() bool { return w.rdb.Ping(t.Context()).Err() == nil }, waitFor, tick)
	_, err = w.Execute(t.Context(), ann, gift("bob", "k1", 0, some("apple", 1)))
	require.NoError(t, err)
	w.has("bobo", "1 apple, 0 gold")
	w.clean()
}

func TestAReadOnlyServerIsUnavailable(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	w := newTown(t, server.Client())
	w.mint("anna", "apple", 10, 0)
	require.NoError(t, w.rdb.Do(t.Context(), "CONFIG", "SET", "min-replicas-to-write", "1").Err())
	before := w.everything()
	_, err := w.Execute(t.Context(), ann, gift("bob", "k1", 0, some("apple", 1)))
	require.Equal(t, "UNAVAILABLE", code(err))
	require.Equal(t, before, w.everything())
}

// The answer to the script is lost on its way: the player is told to ask again, and asking
// again moves nothing more.
func TestALostAnswer(t *testing.T) {
	t.Parallel()
	timeout := &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
	for name, c := range map[string]struct {
		lost error
		code string
	}{
		"connection reset": {errors.New("EOF"), "UNAVAILABLE"},
		"read timeout":     {timeout, "UNAVAILABLE"},
		"deadline":         {context.DeadlineExceeded, "TIMEOUT"},
		"lease lost":       {context.Canceled, "UNAVAILABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			w := newTown(t, rdb)
			w.mint("anna", "apple", 10, 0)
			_, err := w.Execute(t.Context(), ann, gift("bob", "warm", 0, some("apple", 1)))
			require.NoError(t, err)
			lost := &lose{err: c.lost}
			rdb.AddHook(lost)
			_, err = w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 2)))
			require.Equal(t, int64(1), lost.n.Load())
			require.Equal(t, c.code, code(err), err)
			w.has("bobo", "3 apple, 0 gold")
			_, err = w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 2)))
			require.NoError(t, err)
			w.has("bobo", "3 apple, 0 gold")
			w.clean()
		})
	}
}

// lose is a hook that loses the answer of the first script.
type lose struct {
	err error
	n   atomic.Int64
}

func (l *lose) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *lose) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.EqualFold(cmd.Name(), "evalsha") && l.n.Add(1) == 1 {
			cmd.SetErr(l.err)
			return l.err
		}
		return err
	}
}

func (l *lose) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestARingIsRefused(t *testing.T) {
	t.Parallel()
	rdb := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer rdb.Close()
	require.ErrorIs(t, trade.New(rdb, open{}, plays{}, &casts{}, trade.Config{}).Check(t.Context()), trade.ErrRing)
}
