package lock

import (
	"context"
	_ "embed"
	"errors"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

//go:embed fence.lua
var fenceSource string

//go:embed acquire.lua
var acquireSource string

//go:embed raise.lua
var raiseSource string

//go:embed extend.lua
var extendSource string

//go:embed release.lua
var releaseSource string

var (
	acquireScript = redis.NewScript(fenceSource + acquireSource)
	raiseScript   = redis.NewScript(raiseSource)
	extendScript  = redis.NewScript(extendSource)
	releaseScript = redis.NewScript(releaseSource)
)

// A pool is one server, as one attempt sees it: redsync asks through pools and conns. The scripts are ours.
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
	n, err := c.ask(c.ctx, func(ctx context.Context) (int64, error) {
		n, err := acquireScript.Run(ctx, c.client, []string{key, keys.LockFence(c.name), keys.LockWanted(c.name)},
			value, ttl.Milliseconds(), c.waits.Milliseconds()).Int64()
		if (n > 0 || err != nil) && c.ended.Load() { // and was released here, perhaps before this
			c.free(ctx)
		}
		return n, err
	})
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

// Eval extends or releases, whose scripts redsync tells by their arguments.
func (c *conn) Eval(_ *redsyncredis.Script, keysAndArgs ...any) (any, error) {
	switch {
	case len(keysAndArgs) == 3:
		return c.ask(c.ctx, func(ctx context.Context) (int64, error) {
			return extendScript.Run(ctx, c.client, []string{keys.Lock(c.name), keys.LockFence(c.name)}, keysAndArgs[1:]...).Int64()
		})
	case !c.ended.Load():
		return int64(0), nil // redsync undoes a try that failed: end does so, and nobody waits for it
	}
	return c.ask(c.ctx, func(ctx context.Context) (int64, error) {
		n, err := c.release(ctx, once{c.client})
		var answer redis.Error
		if err == nil || errors.As(err, &answer) || ctx.Err() != nil {
			return n, err
		}
		// The answer was lost. Who asks again and finds the lock gone has freed it, or could not have.
		if n, err = c.release(ctx, c.client); n == -1 {
			n = 1
		}
		return n, err
	})
}

// ask waits for the answer of a server as long as the context lets it, whatever the client does with contexts. The question
// goes on until the context's deadline: a majority may do without the answer, but must not keep it from being given.
func (p *pool) ask(ctx context.Context, question func(context.Context) (int64, error)) (int64, error) {
	type answer struct {
		n   int64
		err error
	}
	got := make(chan answer, 1)
	p.m.background.do(func() {
		asking, cancel := context.WithoutCancel(ctx), context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			asking, cancel = context.WithDeadline(asking, deadline)
		}
		defer cancel()
		n, err := question(asking)
		got <- answer{n, err}
	})
	select {
	case a := <-got:
		return a.n, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// free releases what may be left here, also when ctx is over. What can not be freed runs out by itself.
func (p *pool) free(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, _ = p.release(ctx, p.client)
}

func (p *pool) release(ctx context.Context, client redis.Scripter) (int64, error) {
	return releaseScript.Run(ctx, client, []string{keys.Lock(p.name), keys.LockWanted(p.name)}, p.value, keys.LockReleases, p.name).Int64()
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
