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

// A cutter is a proxy for a server. When next is set, it cuts one connection just before the
// answer.
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

// Redis runs a command, its answer is lost, and the client sends the command again.
func TestALostAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	c := cut(t, server)
	m, other := manager(t, c), manager(t, server.Client())
	before, err := m.Acquire(t.Context(), "x", calm) // now Redis knows the scripts
	require.NoError(t, err)
	require.NoError(t, before.Release(t.Context()))

	c.next.Store(true)
	l, err := m.TryAcquire(t.Context(), "x", calm)
	require.NoError(t, err, "a caller does not wait for its own lock")
	require.False(t, c.next.Load())
	require.Greater(t, l.Fence(), before.Fence())
	require.Equal(t, fmt.Sprint(l.Fence()), server.Client().Get(t.Context(), keys.LockFence("x")).Val(), "the fence of the lease is the newest")
	_, err = other.TryAcquire(t.Context(), "x", lock.Options{})
	require.ErrorIs(t, err, lock.ErrTaken)

	c.next.Store(true)
	require.NoError(t, l.Extend(t.Context()))
	require.False(t, c.next.Load())

	c.next.Store(true)
	require.NoError(t, l.Release(t.Context()), "it was released, and not lost")
	require.False(t, c.next.Load())
	require.Zero(t, m.Stats().Lost)
	next, err := other.TryAcquire(t.Context(), "x", lock.Options{})
	require.NoError(t, err)
	require.NoError(t, next.Release(t.Context()))

	gone, err := m.Acquire(t.Context(), "x", calm)
	require.NoError(t, err)
	require.NoError(t, server.Client().Del(t.Context(), keys.Lock("x")).Err())
	require.ErrorIs(t, gone.Release(t.Context()), lock.ErrLost, "a lock that is missing at the first attempt was lost")
}
