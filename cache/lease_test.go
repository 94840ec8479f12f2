package cache_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// losesAnswer is a hook that loses the answer of the first script that Redis has run.
type losesAnswer struct{ hasLost atomic.Bool }

func (l *losesAnswer) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *losesAnswer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *losesAnswer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.HasPrefix(cmd.Name(), "eval") && err == nil && l.hasLost.CompareAndSwap(false, true) {
			cmd.SetErr(io.ErrUnexpectedEOF)
			return io.ErrUnexpectedEOF
		}
		return err
	}
}

// A miss whose answer is lost may have taken the lease of the load. It is given back, so that other
// nodes do not wait for a load that nobody runs.
func TestALeaseWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb, answers := server.Client(), &losesAnswer{}
	rdb.AddHook(answers)
	m := manager(t, rdb, slow())
	_, err := cache.Aside(t.Context(), m, "far", levels().load, cache.Options{TTL: time.Minute, LoadTimeout: time.Minute})
	require.NoError(t, err)
	require.True(t, answers.hasLost.Load())
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), keys.CacheLoad("far")).Val() == 0 }, 10*time.Second, 10*time.Millisecond)
}

// A manager that is closed while it loads gives the lease back.
func TestALeaseOfAManagerThatIsClosed(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	m := cache.New(rdb, cache.Config{})
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = cache.Aside(t.Context(), m, "closing", func(ctx context.Context) (hero, error) {
			close(begun)
			<-ctx.Done()
			return hero{}, ctx.Err()
		}, cache.Options{TTL: time.Minute, LoadTimeout: 20 * time.Second})
	}()
	<-begun
	require.EqualValues(t, 1, rdb.Exists(t.Context(), keys.CacheLoad("closing")).Val())
	m.Close()
	<-ended
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), keys.CacheLoad("closing")).Val() == 0 }, 10*time.Second, 10*time.Millisecond)
}
