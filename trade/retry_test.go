package trade_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// The connection dies after the script ran, and the client library runs it again by itself:
// the goods move once, the answer is ok, and both sides are told once.
func TestTheClientLibraryAsksTwice(t *testing.T) {
	t.Parallel()
	o, err := redis.ParseURL(redistest.URL(t))
	require.NoError(t, err)
	var cut atomic.Int64 // scripts whose answers are still to be lost
	o.MaxRetries, o.MaintNotificationsConfig = 1, &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &cutter{Conn: c, cut: &cut}, err
	}
	rdb := redis.NewClient(o)
	defer rdb.Close()
	w := newTown(t, rdb)
	w.mint("anna", "apple", 10, 0)
	_, err = w.Execute(t.Context(), ann, gift("bob", "warm", 0, some("apple", 1)))
	require.NoError(t, err)
	w.told.all = nil

	cut.Store(1)
	done, err := w.Execute(t.Context(), ann, gift("bob", "k", 0, some("apple", 2)))
	require.NoError(t, err)
	require.Zero(t, cut.Load(), "the answer was lost")
	require.Equal(t, []told{{"user:ann", "trade:completed", done}, {"user:bob", "trade:completed", done}}, w.told.all)
	w.has("bobo", "3 apple, 0 gold")

	cut.Store(1)
	w.mint("bobo", "apple", 4, 0)
	require.Zero(t, cut.Load(), "the answer was lost")
	w.has("bobo", "7 apple, 0 gold")
	w.clean()
}

// cutter is a connection that ends when the answer to a script comes.
type cutter struct {
	net.Conn
	cut    *atomic.Int64
	doomed atomic.Bool
}

func (c *cutter) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("evalsha")) && c.cut.Load() > 0 && c.cut.Add(-1) == 0 {
		c.doomed.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *cutter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.doomed.Load() {
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}
