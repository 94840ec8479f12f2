package throttle

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// patient waits for Redis as long as a busy machine needs, so that only Redis decides.
var patient = Config{Budget: 20 * time.Second}

func newLimiter(t testing.TB, rdb redis.UniversalClient, cfg Config, policies ...Policy) *Limiter {
	t.Helper()
	l, err := New(rdb, policies, cfg)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

func spend(t testing.TB, l *Limiter, sub Subject, policies ...string) Decision {
	t.Helper()
	d, err := l.Spend(t.Context(), policies, sub)
	require.NoError(t, err)
	return d
}

// counter counts the commands that a client sends.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add(n int) {
	c.mu.Lock()
	c.n += n
	c.mu.Unlock()
}

func (c *counter) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.add(1); return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.add(len(cmds)); return next(ctx, cmds) }
}
