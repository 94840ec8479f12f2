package redisx_test

import (
	"context"
	"fmt"
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

func Example() {
	var rdb redis.UniversalClient = redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	greet := redisx.NewScript(`
-- KEYS[1]  the counter of greetings
-- returns  how many there were
return redis.call('INCR', KEYS[1])`)
	n, err := greet.Do(context.Background(), rdb, []string{"temp:greetings:1"}).Int()
	fmt.Println(n, err)
}
