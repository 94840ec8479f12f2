package redisx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// Calls are made in their order, known to the server or not, and each has its own error.
func TestRun(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	rdb := server.Client()
	add := redisx.NewScript("-- add\nreturn redis.call('RPUSH', KEYS[1], ARGV[1])")
	bad := redisx.NewScript("return redis.call('INCR', KEYS[1])")
	for round := range 2 {
		var calls []*redisx.Call
		for i := range 300 {
			calls = append(calls, &redisx.Call{Script: add, Keys: []string{"list"}, Args: []any{i}})
		}
		wrong := &redisx.Call{Script: bad, Keys: []string{"list"}}
		redisx.RunScripts(t.Context(), rdb, append(calls[:150:150], append([]*redisx.Call{wrong}, calls[150:]...)...)...)
		require.True(t, redis.HasErrorPrefix(wrong.Err(), "WRONGTYPE"), wrong.Err())
		for i, c := range calls {
			n, err := c.Int()
			require.NoError(t, err)
			require.Equal(t, round*300+i+1, n)
		}
	}
	require.NoError(t, rdb.ScriptFlush(t.Context()).Err())
	require.NoError(t, add.Do(t.Context(), rdb, []string{"list"}, "x").Err())
	server.Kill()
	require.Error(t, add.Do(t.Context(), rdb, []string{"list"}, "x").Err())
}

// A lossyServer is a client whose connection can lose an answer.
type lossyServer struct {
	*redis.Client
	lose atomic.Bool // the next answer
}

func newLossyServer(t *testing.T) *lossyServer {
	t.Helper()
	s := &lossyServer{}
	addr := redistest.Server(t).Addr()
	s.Client = redis.NewClient(&redis.Options{Addr: addr, PoolSize: 1, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return lossyConn{conn, s}, err
	}})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

type lossyConn struct {
	net.Conn
	server *lossyServer
}

func (c lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.server.lose.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

var addOne = redisx.NewMergingScript(redisx.ScriptParts{Each: "return redis.call('INCR', KEYS[1])\n"})

// When the answer is lost, go-redis runs a script again, unless it must not.
func TestScriptsWithoutRetry(t *testing.T) {
	t.Parallel()
	calls := func(s *redisx.Script, n int) (all []*redisx.Call) {
		for range n {
			all = append(all, &redisx.Call{Script: s, Keys: []string{"n"}})
		}
		return all
	}
	for name, c := range map[string]struct {
		run  func(ctx context.Context, rdb redis.UniversalClient, s *redisx.Script) error
		runs int
	}{
		"one": {func(ctx context.Context, rdb redis.UniversalClient, s *redisx.Script) error {
			return s.Do(ctx, rdb, []string{"n"}).Err()
		}, 1},
		"a pipeline": {func(ctx context.Context, rdb redis.UniversalClient, s *redisx.Script) error {
			all := calls(s, 2)
			redisx.RunScripts(ctx, rdb, all...)
			return errors.Join(all[0].Err(), all[1].Err())
		}, 2},
		"merged": {func(ctx context.Context, rdb redis.UniversalClient, s *redisx.Script) error {
			all := calls(s, 2)
			redisx.RunMerged(ctx, rdb, all...)
			return errors.Join(all[0].Err(), all[1].Err())
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := newLossyServer(t)
			once := addOne.WithoutRetry()
			require.NoError(t, c.run(t.Context(), rdb, once), "it is not known yet, and sent with its source")
			rdb.lose.Store(true)
			require.Error(t, c.run(t.Context(), rdb, once))
			require.NoError(t, c.run(t.Context(), rdb, addOne))
			require.Equal(t, strconv.Itoa(3*c.runs), rdb.Get(t.Context(), "n").Val(), "it ran once, though the answer was lost")
			rdb.lose.Store(true)
			require.NoError(t, c.run(t.Context(), rdb, addOne))
			require.Equal(t, strconv.Itoa(5*c.runs), rdb.Get(t.Context(), "n").Val(), "it ran twice")
		})
	}
}

// Commands of the caller's own go with the scripts, and once only.
func TestScriptsWithCommands(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	for round := range int64(2) { // the second time the script is known
		call := &redisx.Call{Script: addOne, Keys: []string{"n"}}
		var pushed *redis.IntCmd
		redisx.RunScriptsWith(t.Context(), rdb, func(pipe redis.Pipeliner) { pushed = pipe.RPush(t.Context(), "list", "x") }, call)
		require.Equal(t, round+1, call.Val())
		require.Equal(t, round+1, pushed.Val())
	}
	var pushed *redis.IntCmd
	redisx.RunScriptsWith(t.Context(), rdb, func(pipe redis.Pipeliner) { pushed = pipe.RPush(t.Context(), "list", "x") })
	require.Equal(t, int64(3), pushed.Val())
}

// A command that follows is sent over the same connection, and once more where the script is.
func TestScriptAndWhatFollows(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	for round := range int64(2) {
		reply, followed := addOne.DoThen(t.Context(), rdb, []any{"wait", 0, 100}, []string{"n"})
		require.Equal(t, round+1, reply.Val())
		require.NoError(t, followed.Err())
		require.Equal(t, int64(0), followed.Val(), "replicas")
	}
	reply, followed := redisx.NewScript("return redis.call('INCR', KEYS[1])").DoThen(t.Context(), rdb, []any{"nonsense"}, []string{"n"})
	require.NoError(t, reply.Err())
	require.Error(t, followed.Err())
}

func Example() {
	var rdb redis.UniversalClient = redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	greet := redisx.NewScript(`
-- KEYS[1]  the counter of greetings
-- returns  how many there were
return redis.call('INCR', KEYS[1])`)
	n, err := greet.Do(context.Background(), rdb, []string{"temp:greetings:1"}).Int()
	fmt.Println(n, err)
}
