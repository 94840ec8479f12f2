package lock

import (
	"context"
	_ "embed"
	"strings"
	"sync"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

//go:embed acquire.lua
var acquireSource string

//go:embed raise.lua
var raiseSource string

//go:embed release.lua
var releaseSource string

var (
	acquireScript = redis.NewScript(fenceSource + acquireSource)
	raiseScript   = redis.NewScript(raiseSource)
	releaseScript = redis.NewScript(releaseSource)
)

// An attempt is one try of redsync's at the servers, and what each of them said. Redsync asks
// through pools and conns; ours take the fence with the lock, in one script.
type attempt struct {
	m      *Manager
	name   string
	waits  time.Duration // for another holder; 0 when it does not
	agreed int64         // the fence that counts; owned by the goroutine that acquires

	mu     sync.Mutex
	fence  int64         // the highest handed out; guarded by mu
	taken  map[int]bool  // servers that said so; guarded by mu
	failed map[int]error // servers that did not answer; guarded by mu
	left   time.Duration // the least that a holder has left, or 0; guarded by mu
}

type pool struct {
	*attempt
	node   int
	client redis.UniversalClient
}

// Get implements redsync's Pool.
func (p *pool) Get(ctx context.Context) (redsyncredis.Conn, error) {
	return &conn{pool: p, ctx: ctx}, nil
}

// A conn is one call of redsync's to one server; the context is that call's.
type conn struct {
	*pool
	ctx context.Context //nolint:containedctx // redsync's Conn has no context of its own
}

// SetNX acquires the lock here, with a fence.
func (c *conn) SetNX(key, value string, ttl time.Duration) (bool, error) {
	n, err := acquireScript.Run(c.ctx, c.client, []string{key, keys.LockFence(c.name), keys.LockWanted(c.name)},
		value, ttl.Milliseconds(), c.waits.Milliseconds()).Int64()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.failed[c.node] = err
		return false, err
	case n > 0:
		c.fence = max(c.fence, n)
		return true, nil
	}
	c.taken[c.node] = true
	if left := time.Duration(-n) * time.Millisecond; c.left == 0 || left < c.left {
		c.left = left
	}
	return false, nil
}

// Eval runs redsync's scripts: release and extend.
func (c *conn) Eval(s *redsyncredis.Script, keysAndArgs ...any) (any, error) {
	c.mu.Lock()
	taken := c.taken[c.node]
	c.mu.Unlock()
	if taken {
		return int64(0), nil // redsync releases where it did not get the lock: nothing to do
	}
	if undoing := len(keysAndArgs) == 2; c.ctx.Err() == nil || !undoing {
		return c.eval(c.ctx, s, keysAndArgs)
	}
	// Redsync undoes a try with the context that ended it. What may have been set must go all
	// the same, and nobody need wait for it.
	c.m.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), time.Second)
		defer cancel()
		_, _ = c.eval(ctx, s, keysAndArgs) // it runs out by itself otherwise
	})
	return nil, c.ctx.Err()
}

func (c *conn) eval(ctx context.Context, s *redsyncredis.Script, keysAndArgs []any) (any, error) {
	if len(keysAndArgs) == 2 { // a release: ours wakes who waits
		key, _ := keysAndArgs[0].(string)
		return releaseScript.Run(ctx, c.client, []string{key, keys.LockWanted(c.name)}, keysAndArgs[1], keys.LockReleases, c.name).Result()
	}
	ks := make([]string, s.KeyCount)
	for i := range ks {
		ks[i], _ = keysAndArgs[i].(string)
	}
	args := keysAndArgs[s.KeyCount:]
	v, err := c.client.EvalSha(ctx, s.Hash, ks, args...).Result()
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		v, err = c.client.Eval(ctx, s.Src, ks, args...).Result()
	}
	return v, err
}

// Get, Set, PTTL, ScriptLoad and Close complete redsync's Conn.
func (c *conn) Get(key string) (string, error) { return c.client.Get(c.ctx, key).Result() }

func (c *conn) Set(key, value string) (bool, error) {
	s, err := c.client.Set(c.ctx, key, value, 0).Result()
	return s == "OK", err
}

func (c *conn) PTTL(key string) (time.Duration, error) { return c.client.PTTL(c.ctx, key).Result() }

func (c *conn) ScriptLoad(s *redsyncredis.Script) error {
	return c.client.ScriptLoad(c.ctx, s.Src).Err()
}

func (c *conn) Close() error { return nil }
