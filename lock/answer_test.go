package lock_test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
)

// A cutter stands before a server, and cuts one connection when it is told: just before the answer.
type cutter struct {
	redis.UniversalClient
	next atomic.Bool
}

func cut(t *testing.T, server *redistest.Instance) *cutter {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{UniversalClient: redis.NewClient(&redis.Options{Addr: listener.Addr().String(), MaxRetries: 1})}
	t.Cleanup(func() { _ = c.Close(); _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go c.serve(near, server.Addr())
		}
	}()
	return c
}

func (c *cutter) serve(near net.Conn, addr string) {
	defer near.Close()
	far, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	}()
	answer := make([]byte, 4096)
	for {
		n, err := far.Read(answer)
		if err != nil || c.next.CompareAndSwap(true, false) {
			return
		}
		if _, err := near.Write(answer[:n]); err != nil {
			return
		}
	}
}

// Redis does what it was asked, the answer is lost, and the client asks again.
func TestALostAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	c := cut(t, server)
	m, other := manager(t, c), manager(t, server.Client())
	before, err := m.Acquire(t.Context(), "x", calm) // the scripts are known to Redis from now on
	require.NoError(t, err)
	require.NoError(t, before.Release(t.Context()))

	c.next.Store(true)
	l, err := m.Acquire(t.Context(), "x", lock.Options{TTL: calm.TTL, Wait: -1})
	require.NoError(t, err, "nobody waits for their own ghost")
	require.False(t, c.next.Load())
	require.Greater(t, l.Fence(), before.Fence())
	require.Equal(t, fmt.Sprint(l.Fence()), server.Client().Get(t.Context(), keys.LockFence("x")).Val(), "no script finds it stale")
	_, err = other.Acquire(t.Context(), "x", lock.Options{Wait: -1})
	require.ErrorIs(t, err, lock.ErrTaken)

	c.next.Store(true)
	require.NoError(t, l.Extend(t.Context()))
	require.False(t, c.next.Load())

	c.next.Store(true)
	require.NoError(t, l.Release(t.Context()), "it was released, and not lost")
	require.False(t, c.next.Load())
	require.Zero(t, m.Stats().Lost)
	next, err := other.Acquire(t.Context(), "x", lock.Options{Wait: -1})
	require.NoError(t, err)
	require.NoError(t, next.Release(t.Context()))

	gone, err := m.Acquire(t.Context(), "x", calm)
	require.NoError(t, err)
	require.NoError(t, server.Client().Del(t.Context(), keys.Lock("x")).Err())
	require.ErrorIs(t, gone.Release(t.Context()), lock.ErrLost, "what was gone when it was first asked about was lost")
}
