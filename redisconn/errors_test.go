package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// reply is an error as a server sends it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestIsUnavailable(t *testing.T) {
	t.Parallel()
	_, missing := os.Open("/does/not/exist")
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nil":                {nil, false},
		"missing key":        {redis.Nil, false},
		"wrong type":         {reply("WRONGTYPE Operation against a key holding the wrong kind of value"), false},
		"script's own error": {reply("ERR user_script:1: LOADING is no command"), false},
		"no script":          {redis.ErrNoScript, false},
		"not permitted":      {reply("NOPERM this user has no permissions"), false},
		"transaction lost":   {redis.TxFailedErr, false},
		"cancelled":          {context.Canceled, false},
		"cancelled dial":     {&net.OpError{Op: "dial", Err: context.Canceled}, false},
		"a missing file":     {missing, false},
		"any other":          {errors.New("EOF"), false},
		"deadline":           {context.DeadlineExceeded, true},
		"end of stream":      {io.EOF, true},
		"cut reply":          {io.ErrUnexpectedEOF, true},
		"closed client":      {redis.ErrClosed, true},
		"pool is busy":       {redis.ErrPoolTimeout, true},
		"unknown host":       {&net.OpError{Op: "dial", Err: &net.DNSError{}}, true},
		"loading":            {reply("LOADING Redis is loading the dataset in memory"), true},
		"read-only":          {reply("READONLY You can't write against a read only replica."), true},
		"in a script, 7":     {reply("READONLY You can't write against a read only replica. script: 1, on @user_script:1."), true},
		"in a script, 6":     {reply("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write"), true},
		"in a transaction":   {reply("EXECABORT Transaction discarded because of: READONLY You can't write"), true},
		"cluster down":       {reply("CLUSTERDOWN The cluster is down"), true},
		"master down":        {reply("MASTERDOWN Link with MASTER is down"), true},
		"disk full":          {reply("MISCONF Redis is configured to save RDB snapshots"), true},
		"memory full":        {reply("OOM command not allowed when used memory > 'maxmemory'."), true},
		"clients full":       {reply("ERR max number of clients reached"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, redisconn.IsUnavailable(c.err))
			if c.err != nil {
				require.Equal(t, c.want, redisconn.IsUnavailable(fmt.Errorf("trade 7: settle: %w", c.err)), "wrapped")
			}
		})
	}
}

func TestIsUnavailableOfRealAnswers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	write := redis.NewScript(`return redis.call('SET', KEYS[1], 'v')`)
	broken := redis.NewScript(`return redis.call('NOSUCH')`)
	s := redistest.Server(t)
	c := s.Client()
	require.NoError(t, c.LPush(ctx, "list", "v").Err())
	require.False(t, redisconn.IsUnavailable(c.Get(ctx, "list").Err()))
	require.False(t, redisconn.IsUnavailable(broken.Run(ctx, c, []string{"k"}).Err()))

	require.NoError(t, c.ConfigSet(ctx, "maxmemory", "1mb").Err())
	require.True(t, redisconn.IsUnavailable(c.Set(ctx, "k", make([]byte, 2<<20), 0).Err()), "full")
	require.NoError(t, c.ConfigSet(ctx, "maxmemory", "0").Err())

	require.NoError(t, c.Do(ctx, "replicaof", "127.0.0.1", "1").Err())
	require.True(t, redisconn.IsUnavailable(c.Set(ctx, "k", "v", 0).Err()), "read-only")
	require.True(t, redisconn.IsUnavailable(write.Run(ctx, c, []string{"k"}).Err()), "read-only script")
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "k", "v", 0).Err() })
	require.True(t, redisconn.IsUnavailable(err), "read-only transaction: %v", err)

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.False(t, redisconn.IsUnavailable(c.Ping(cancelled).Err()))
	s.Kill()
	require.True(t, redisconn.IsUnavailable(c.Ping(ctx).Err()))
}
