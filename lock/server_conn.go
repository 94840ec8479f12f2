package lock

import (
	"context"
	_ "embed"
	"errors"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

var (
	//go:embed next_fence.lua
	nextFenceLua string
	//go:embed acquire.lua
	acquireLua string
	//go:embed raise_fence.lua
	raiseFenceLua string
	//go:embed extend.lua
	extendLua string
	//go:embed release.lua
	releaseLua string

	acquireScript    = redisx.NewMergingScript(redisx.ScriptParts{Before: nextFenceLua, Each: acquireLua})
	raiseFenceScript = redisx.NewScript(raiseFenceLua)
	extendScript     = redisx.NewScript(extendLua)
	releaseScript    = redisx.NewMergingScript(redisx.ScriptParts{Each: releaseLua})

	releaseScriptWithoutRetry = releaseScript.WithoutRetry()
)

// A serverPool is one server as one attempt uses it. redsync asks for connections through it, and
// runs our scripts instead of its own.
type serverPool struct {
	*attempt
	index  int // among the servers of the manager
	client redis.UniversalClient
}

// Get implements the Pool interface of redsync.
func (p *serverPool) Get(ctx context.Context) (redsyncredis.Conn, error) {
	return &serverConn{serverPool: p, ctx: ctx}, nil
}

// A serverConn is one call of redsync to one server.
type serverConn struct {
	*serverPool
	ctx context.Context //nolint:containedctx // the Conn interface of redsync passes none
}

// SetNX acquires the lock on this server, and gets a fence.
func (c *serverConn) SetNX(key, value string, ttl time.Duration) (bool, error) {
	n, err := c.acquireOnServer([]string{key, keys.LockFence(c.name), keys.LockWanted(c.name)}, value, ttl.Milliseconds(), c.waitsFor.Milliseconds())
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.failedOn[c.index] = err
		return false, err
	case n > 0:
		c.highestFence = max(c.highestFence, n)
		return true, nil
	}
	c.takenOn[c.index] = true
	if left := time.Duration(-n) * time.Millisecond; c.holderLeft == 0 || left < c.holderLeft {
		c.holderLeft = left
	}
	return false, nil
}

func (c *serverConn) acquireOnServer(lockKeys []string, args ...any) (int64, error) {
	if c.manager.questions != nil {
		return c.askBatch(false, nil, acquireScript, lockKeys, args...)
	}
	return c.askServer(c.ctx, func(ctx context.Context) (int64, error) {
		n, err := acquireScript.Do(ctx, c.client, lockKeys, args...).Int64()
		if (n > 0 || err != nil) && c.ended.Load() { // the release of the attempt may have overtaken this call
			c.freeOnServer(ctx)
		}
		return n, err
	})
}

// Eval extends or releases the lock. redsync passes a TTL as the third value only to extend.
func (c *serverConn) Eval(_ *redsyncredis.Script, keysAndArgs ...any) (any, error) {
	switch {
	case len(keysAndArgs) == 3:
		return c.askServer(c.ctx, func(ctx context.Context) (int64, error) {
			return extendScript.Do(ctx, c.client, []string{keys.Lock(c.name), keys.LockFence(c.name)}, keysAndArgs[1:]...).Int64()
		})
	case !c.ended.Load():
		return int64(0), nil // redsync undoes a failed attempt: endAndFreeLocks does so, in the background
	}
	n, err := c.releaseOnServer()
	if n == releasedWhileWanted {
		c.isWanted.Store(true)
		n = 1
	}
	return n, err
}

// releasedWhileWanted is the answer of release.lua when another process waits for the lock.
const releasedWhileWanted = 2

func (c *serverConn) releaseOnServer() (int64, error) {
	if c.manager.questions != nil {
		return c.askBatch(true, c.releaseQueued, releaseScriptWithoutRetry, []string{keys.Lock(c.name), keys.LockWanted(c.name)}, c.value, keys.LockReleases, c.name)
	}
	return c.askServer(c.ctx, c.releaseOnce)
}

// releaseOnce releases the lock. The client must not repeat the command by itself: whether a
// missing lock was ours depends on whether we have asked before.
func (c *serverConn) releaseOnce(ctx context.Context) (int64, error) {
	n, err := c.runReleaseScript(ctx, releaseScriptWithoutRetry)
	var reply redis.Error
	if err == nil || errors.As(err, &reply) || ctx.Err() != nil {
		return n, err
	}
	n, err = c.runReleaseScript(ctx, releaseScript)
	return judgeRetriedRelease(n, err), err
}

// judgeRetriedRelease returns what the answer to a release means that was asked again because the
// first answer was lost. If the retry finds no lock, or that of another holder, either our first
// call released it or the lease had expired, in which case nobody could have released it.
func judgeRetriedRelease(n int64, err error) int64 {
	if err == nil && n <= 0 {
		return 1
	}
	return n
}

// askServer waits for the answer of a server until the context ends, whether the client respects
// contexts or not. The call itself continues until the deadline of the context, also when ctx is
// cancelled: a majority may not need the answer, but the server must still get the command.
func (p *serverPool) askServer(ctx context.Context, call func(context.Context) (int64, error)) (int64, error) {
	type answer struct {
		n   int64
		err error
	}
	answers := make(chan answer, 1)
	p.manager.tasks.startTask(func() {
		calling, cancel := context.WithoutCancel(ctx), context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			calling, cancel = context.WithDeadline(calling, deadline)
		}
		defer cancel()
		n, err := call(calling)
		answers <- answer{n, err}
	})
	select {
	case a := <-answers:
		return a.n, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// freeOnServer releases what the attempt may have on this server, also after the end of ctx. What
// it cannot release expires by itself.
func (p *serverPool) freeOnServer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, _ = p.runReleaseScript(ctx, releaseScript)
}

func (p *serverPool) runReleaseScript(ctx context.Context, script *redisx.Script) (int64, error) {
	lockKeys := []string{keys.Lock(p.name), keys.LockWanted(p.name)}
	return script.Do(ctx, p.client, lockKeys, p.value, keys.LockReleases, p.name).Int64()
}

// Get implements the Conn interface of redsync.
func (c *serverConn) Get(key string) (string, error) { return c.client.Get(c.ctx, key).Result() }

// Set implements the Conn interface of redsync.
func (c *serverConn) Set(key, value string) (bool, error) {
	s, err := c.client.Set(c.ctx, key, value, 0).Result()
	return s == "OK", err
}

// PTTL implements the Conn interface of redsync.
func (c *serverConn) PTTL(key string) (time.Duration, error) {
	return c.client.PTTL(c.ctx, key).Result()
}

// ScriptLoad implements the Conn interface of redsync.
func (c *serverConn) ScriptLoad(s *redsyncredis.Script) error {
	return c.client.ScriptLoad(c.ctx, s.Src).Err()
}

// Close implements the Conn interface of redsync.
func (c *serverConn) Close() error { return nil }
