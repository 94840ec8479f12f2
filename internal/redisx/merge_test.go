package redisx_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

// deeds does what its first argument says, and counts the calls that share one command.
var deeds = redisx.NewMergingScript(redisx.ScriptParts{
	Before: "local calls = 0\nlocal function count() redis.call('RPUSH', 'counts', calls) end\n",
	Each: `
calls = calls + 1
if ARGV[1] == 'nothing' then return nil end
if ARGV[1] == 'false' then return false end
if ARGV[1] == 'wrong' then return redis.call('INCR', KEYS[1]) end
if ARGV[1] == 'told' then return redis.pcall('INCR', KEYS[1]) end
if ARGV[1] == 'lua' then error('of Lua') end
if ARGV[1] == 'list' then return {KEYS[1], #ARGV, KEYS[2] or 'one key', KEYS[3] or 'no third', ARGV[2] or 'one argument'} end
return redis.call('RPUSH', KEYS[1], ARGV[1])
`,
	After: "count()\n",
})

// callTogether makes calls that wait for one that is under way, so that they go as one pipeline, in
// their order.
func callTogether(t *testing.T, rdb redis.UniversalClient, calls ...*redisx.Call) (free *redis.Client) {
	free = redis.NewClient(&redis.Options{Addr: rdb.(*redis.Client).Options().Addr})
	t.Cleanup(func() { _ = free.Close() })
	require.NoError(t, free.RPush(t.Context(), "list", "first").Err())
	g := &gate{open: make(chan struct{})}
	rdb.AddHook(g)
	b := redisx.NewScriptBatcher(rdb)
	var wg sync.WaitGroup
	wg.Go(func() { b.Do(t.Context(), redisx.NewScript("return 1"), nil) })
	require.Eventually(t, func() bool { return g.waiting.Load() == 1 }, waitFor, tick, "it is under way")
	for i, c := range calls {
		wg.Go(func() { c.Cmd = b.Do(t.Context(), c.Script, c.Keys, c.Args...) })
		waiting := i + 1
		if waiting >= 32 { // a second pipeline has taken so many
			waiting -= 32
		}
		require.Eventually(t, func() bool { return b.Waiting() == waiting }, waitFor, tick)
	}
	close(g.open)
	wg.Wait()
	return free
}

func deed(what string, keys ...string) *redisx.Call {
	return &redisx.Call{Script: deeds, Keys: append([]string{"list"}, keys...), Args: []any{what}}
}

// Merged calls have their own keys and arguments, answers and errors.
func TestMerged(t *testing.T) {
	t.Parallel()
	inProcess := miniredis.RunT(t)
	for name, rdb := range map[string]redis.UniversalClient{
		"a server":        redistest.Server(t).Client(),
		"in this process": redis.NewClient(&redis.Options{Addr: inProcess.Addr()}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testMerged(t, rdb)
		})
	}
}

func testMerged(t *testing.T, server redis.UniversalClient) {
	list, more := deed("list"), deed("list", "second")
	more.Args = append(more.Args, 7)
	calls := []*redisx.Call{list, deed("nothing"), deed("wrong"), deed("a"), deed("told"), deed("lua"), more, deed("false"), deed("b")}
	rdb := callTogether(t, server, calls...)

	v, err := list.Slice()
	require.NoError(t, err)
	require.Equal(t, []any{"list", int64(1), "one key", "no third", "one argument"}, v)
	v, err = more.Slice()
	require.NoError(t, err)
	require.Equal(t, []any{"list", int64(2), "second", "no third", "7"}, v)
	for i, want := range map[int]int{3: 2, 8: 3} {
		n, err := calls[i].Int()
		require.NoError(t, err)
		require.Equal(t, want, n, "how long the list is: they ran in their order")
	}
	for _, i := range []int{1, 7} {
		require.ErrorIs(t, calls[i].Err(), redis.Nil)
	}
	for _, i := range []int{2, 4} {
		var reply redis.Error
		require.True(t, redis.HasErrorPrefix(calls[i].Err(), "WRONGTYPE"), calls[i].Err())
		require.True(t, errors.As(calls[i].Err(), &reply))
	}
	require.ErrorContains(t, calls[5].Err(), "of Lua")
	require.Equal(t, []string{"9"}, rdb.LRange(t.Context(), "counts", 0, -1).Val(), "all went as one, and what comes after them ran once")
}

// A call that runs alone gives the same answers.
func TestMergingAlone(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	b := redisx.NewScriptBatcher(rdb)
	do := func(what string) *redis.Cmd { return b.Do(t.Context(), deeds, []string{"list"}, what) }
	require.NoError(t, do("a").Err())
	for _, what := range []string{"wrong", "told"} {
		require.True(t, redis.HasErrorPrefix(do(what).Err(), "WRONGTYPE"), do(what).Err())
	}
	require.ErrorContains(t, do("lua").Err(), "of Lua")
	require.ErrorIs(t, do("nothing").Err(), redis.Nil)
	n, err := do("b").Int()
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, int64(8), rdb.LLen(t.Context(), "counts").Val(), "also after an error")
}

// Many calls become several commands; calls of other scripts, and calls that are too long, are
// commands of their own.
func TestHowManyAreMerged(t *testing.T) {
	t.Parallel()
	long := &redisx.Call{Script: deeds, Keys: []string{"list"}, Args: []any{"list"}}
	for i := range 255 {
		long.Args = append(long.Args, i)
	}
	other := &redisx.Call{Script: redisx.NewScript("return ARGV[1]"), Args: []any{"other"}}
	calls := []*redisx.Call{long, other}
	for range 300 {
		calls = append(calls, deed("x"))
	}
	rdb := callTogether(t, redistest.Server(t).Client(), calls...)
	for _, c := range calls {
		require.NoError(t, c.Err())
	}
	require.Equal(t, "other", other.Val())
	counts := rdb.LRange(t.Context(), "counts", 0, -1).Val()
	require.Contains(t, counts, "1", "the long one")
	require.Contains(t, counts, "32", "at most: Redis serves nobody else meanwhile")
	sum := 0
	for _, c := range counts {
		n, err := strconv.Atoi(c)
		require.NoError(t, err)
		require.LessOrEqual(t, n, 32)
		sum += n
	}
	require.Equal(t, len(calls)-1, sum)
	require.Less(t, len(counts), 20)
}

// commandCounter counts the scripts that a client sends.
type commandCounter struct{ sent atomic.Int64 }

func (c *commandCounter) count(cmds ...redis.Cmder) {
	for _, cmd := range cmds {
		if strings.HasPrefix(cmd.Name(), "eval") {
			c.sent.Add(1)
		}
	}
}

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.count(cmd); return next(ctx, cmd) }
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(cmds...)
		return next(ctx, cmds)
	}
}

// Equal arguments are sent once, and each call gets its own keys; more lists of arguments than one
// command can tell apart are several commands.
func TestSharedArguments(t *testing.T) {
	t.Parallel()
	script := redisx.NewMergingScript(redisx.ScriptParts{
		Before: "local calls = 0\n", MaxMerged: 1000, SharesArgs: true,
		Each: "calls = calls + 1\nARGV[3] = (ARGV[3] or 0) + 1\nreturn {calls, ARGV[3], KEYS[1], #KEYS, ARGV[1], ARGV[2]}\n",
	})
	rdb := redistest.Client(t)
	var counter commandCounter
	rdb.AddHook(&counter)
	for name, c := range map[string]struct{ different, commands int }{"few": {3, 1}, "many": {300, 3}} {
		t.Run(name, func(t *testing.T) {
			var calls []*redisx.Call
			for i := range 600 {
				keys := []string{fmt.Sprint("k", i)}
				if i%3 == 0 {
					keys = append(keys, "another")
				}
				calls = append(calls, &redisx.Call{Script: script, Keys: keys, Args: []any{i % c.different, "x"}})
			}
			redisx.RunMerged(t.Context(), rdb, calls[:2]...) // so that the server knows it
			counter.sent.Store(0)
			redisx.RunMerged(t.Context(), rdb, calls...)
			for i, call := range calls {
				got, err := call.Slice()
				require.NoError(t, err)
				require.Equal(t, []any{fmt.Sprint("k", i), int64(2 - min(1, i%3)), fmt.Sprint(i % c.different), "x"}, got[2:])
				if c.commands == 1 {
					require.Equal(t, []any{int64(i + 1), int64(i/c.different + 1)}, got[:2], "those with the same arguments share them")
				}
			}
			require.Equal(t, int64(c.commands), counter.sent.Load())
		})
	}
}

// When the whole command fails, every call has the error.
func TestMergedFailure(t *testing.T) {
	t.Parallel()
	broken := redisx.NewMergingScript(redisx.ScriptParts{Each: "return 1\n", After: "error('at the end')\n"})
	var calls []*redisx.Call
	for i := range 5 {
		calls = append(calls, &redisx.Call{Script: broken, Args: []any{fmt.Sprint(i)}})
	}
	callTogether(t, redistest.Server(t).Client(), calls...)
	for _, c := range calls {
		require.ErrorContains(t, c.Err(), "at the end")
	}
}

// A server that has become a replica says so to the client, which looks for the master then.
func TestMergedOnAReplica(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	require.NoError(t, rdb.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err())
	b := redisx.NewScriptBatcher(rdb)
	g := &gate{open: make(chan struct{})}
	rdb.AddHook(g)
	var wg sync.WaitGroup
	errs := make([]error, 20)
	call := func(i int) { wg.Go(func() { errs[i] = b.Do(t.Context(), deeds, []string{"list"}, "a").Err() }) }
	call(0)
	require.Eventually(t, func() bool { return g.waiting.Load() == 1 }, waitFor, tick)
	for i := range len(errs) - 1 {
		call(i + 1)
	}
	require.Eventually(t, func() bool { return b.Waiting() == len(errs)-1 }, waitFor, tick)
	close(g.open)
	wg.Wait()
	for _, err := range errs {
		var one redisx.CallError
		require.True(t, redis.HasErrorPrefix(err, "READONLY"), err)
		require.False(t, errors.As(err, &one), "go-redis has seen it")
	}
}

// lookAhead looks up with one command what all its calls need.
var lookAhead = redisx.NewMergingScript(redisx.ScriptParts{
	Before: "local found = {}\nlocal function found_of(key) return found[key] end\n",
	Prepare: `
local values = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do found[KEYS[i]] = values[i] end
for i = 1, #lists do if lists[i][1] == 'wrong' then error('of Prepare') end end
`,
	Each: "return {KEYS[1], found_of(KEYS[1]) or 'none', found_of(KEYS[2]) or 'none', ARGV[1]}\n",
})

// What runs before the calls sees the keys and the arguments of them all, whether they are many or
// one, and its error is the error of each.
func TestWhatRunsBeforeTheCalls(t *testing.T) {
	t.Parallel()
	for name, rdb := range map[string]*redis.Client{
		"a server": redistest.Server(t).Client().(*redis.Client), "in this process": redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { _ = rdb.Close() })
			const calls = 7
			for i := range calls {
				require.NoError(t, rdb.Set(t.Context(), fmt.Sprint("k", i), fmt.Sprint("v", i), 0).Err())
			}
			makeCalls := func(last string) (all []*redisx.Call) {
				for i := range calls {
					all = append(all, &redisx.Call{Script: lookAhead, Keys: []string{fmt.Sprint("k", i), fmt.Sprint("k", i+1)}, Args: []any{fmt.Sprint("a", i)}})
				}
				all[calls-1].Args[0] = last
				return all
			}
			for _, n := range []int{1, calls} {
				all := makeCalls("last")[calls-n:]
				redisx.RunMerged(t.Context(), rdb, all...)
				for i, c := range all {
					got, err := c.StringSlice()
					require.NoError(t, err)
					at := calls - n + i
					want := []string{fmt.Sprint("k", at), fmt.Sprint("v", at), fmt.Sprint("v", at+1), fmt.Sprint("a", at)}
					if at == calls-1 {
						want[2], want[3] = "none", "last"
					}
					require.Equal(t, want, got)
				}
			}
			for _, n := range []int{1, calls} {
				all := makeCalls("wrong")[calls-n:]
				redisx.RunMerged(t.Context(), rdb, all...)
				for _, c := range all {
					require.ErrorContains(t, c.Err(), "of Prepare")
				}
			}
		})
	}
}
