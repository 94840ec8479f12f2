package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/redistest"
)

func TestLockCommands(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	m := lock.New([]redis.UniversalClient{rdb}, lock.Config{})
	t.Cleanup(m.Close)
	l, err := m.Acquire(t.Context(), "trade:ann:bob", lock.Options{})
	require.NoError(t, err)
	require.Contains(t, must(t, "lock", "list", "--redis", url), "trade:ann:bob")
	require.Contains(t, must(t, "lock", "show", "trade:ann:bob", "--json", "--redis", url), `"name":`)
	require.Equal(t, "0", must(t, "lock", "cleanup", "--redis", url))
	require.NoError(t, l.Release(t.Context()))
	_, errs, code := command(t, "lock", "show", "trade:ann:bob", "--redis", url)
	require.Equal(t, exitNo, code, errs)
	require.Contains(t, errs, "nobody holds")
}

// Gifts go on with a majority of the lock servers, and are UNAVAILABLE without.
func TestLocksOnAQuorum(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	servers := []*redistest.Instance{redistest.Server(t), redistest.Server(t), redistest.Server(t)}
	args := []string{"--redis", url}
	for _, s := range servers {
		args = append(args, "--lock-redis", s.URL())
	}
	g := serve(t, append(args, "--dev")...)
	must(t, "trade", "mint", "--character", "ann", "--gold", "9", "--redis", url)
	ann := g.connect(g.guest("ann"))
	give := func(key string) string {
		return `{"to":"bob","give":{"items":[],"gold":1},"idempotencyKey":"` + key + `"}`
	}
	require.Equal(t, "completed", ann.ok("trade:execute", give("a"))["status"])
	servers[0].Kill()
	require.Equal(t, "completed", ann.ok("trade:execute", give("b"))["status"])
	servers[1].Kill()
	require.Equal(t, "UNAVAILABLE", ann.refused("trade:execute", give("c"))["code"])
	_, errs, code := command(t, "serve", "--redis", url, "--lock-redis", "nonsense")
	require.Equal(t, exitUsage, code, errs)
}

// One server of locks beside that of the trades is asked too: who holds the pair's lock there is waited for, and without the
// server nothing moves.
func TestLocksOnAnotherServer(t *testing.T) {
	t.Parallel()
	url, beside := redistest.URL(t), redistest.Server(t)
	g := serve(t, "--redis", url, "--lock-redis", beside.URL(), "--dev")
	must(t, "trade", "mint", "--character", "ann", "--gold", "9", "--redis", url)
	ann := g.connect(g.guest("ann"))
	give := func(key string) string {
		return `{"to":"bob","give":{"items":[],"gold":1},"idempotencyKey":"` + key + `"}`
	}
	locks := lock.New([]redis.UniversalClient{beside.Client()}, lock.Config{})
	t.Cleanup(locks.Close)
	l, err := locks.Acquire(t.Context(), "trade:ann:bob", lock.Options{})
	require.NoError(t, err)
	require.Equal(t, "LOCKED", ann.refused("trade:execute", give("a"))["code"])
	require.NoError(t, l.Release(t.Context()))
	require.Equal(t, "completed", ann.ok("trade:execute", give("a"))["status"])
	beside.Kill()
	require.Equal(t, "UNAVAILABLE", ann.refused("trade:execute", give("b"))["code"])
	require.EqualValues(t, 8, ann.ok("inventory:list", `{}`)["gold"])
}

// What this Redis can not promise is refused at start.
func TestDurabilityIsRefusedWhereItIsAbsent(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"wait", "fsync"} { // there is no replica, and no WAITAOF before Redis 7.2
		_, errs, code := command(t, "serve", "--redis", redistest.URL(t), "--addr", "127.0.0.1:0", "--admin-addr", "", "--trade-durability", mode)
		require.Equal(t, exitUsage, code, errs)
		require.Contains(t, errs, "durability")
	}
}
