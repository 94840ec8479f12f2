package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
)

func TestLockCommands(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	m := lock.New(lock.Config{}, rdb)
	t.Cleanup(m.Close)
	l, err := m.Acquire(t.Context(), "trade:ann:bob", lock.Options{})
	require.NoError(t, err)
	require.Contains(t, must(t, "lock", "list", "--redis", url), "trade:ann:bob")
	require.Contains(t, must(t, "lock", "show", "trade:ann:bob", "--json", "--redis", url), `"name":`)
	require.Equal(t, "0", must(t, "lock", "cleanup", "--redis", url))
	require.NoError(t, l.Release(t.Context()))
	_, errs, code := command(t, "lock", "show", "trade:ann:bob", "--redis", url)
	require.Equal(t, cli.ExitNo, code, errs)
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
	for want, lockRedis := range map[string][]string{
		"bad Redis URL":             {"nonsense"},
		"names one server twice":    {servers[2].URL(), "redis://:hunter2@LOCALHOST" + strings.TrimPrefix(servers[2].Addr(), "127.0.0.1") + "/1"},
		"names one server twice: r": {"redis://a:1", "redis://b:1", "redis://a:1"},
	} {
		args := []string{"serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis", url}
		for _, url := range lockRedis {
			args = append(args, "--lock-redis", url)
		}
		_, errs, code := command(t, args...)
		require.Equal(t, cli.ExitUsage, code, errs)
		require.Contains(t, errs, want)
		require.NotContains(t, errs, "hunter2")
	}
}

// The commands look at all servers of --lock-redis, and show what those say that answer.
func TestLockCommandsOnAQuorum(t *testing.T) {
	t.Parallel()
	servers := []*redistest.Instance{redistest.Server(t), redistest.Server(t), redistest.Server(t)}
	var at []string
	var clients []redis.UniversalClient
	for _, s := range servers {
		at, clients = append(at, "--lock-redis", s.URL()), append(clients, s.Client())
	}
	about := func(args ...string) []string { return append(append([]string{"lock"}, args...), at...) }
	require.NoError(t, clients[0].Set(t.Context(), keys.Lock("left"), "somebody", time.Minute).Err())
	require.NoError(t, clients[2].Set(t.Context(), keys.Lock("stuck"), "somebody", 0).Err())
	m := lock.New(lock.Config{}, clients...)
	t.Cleanup(m.Close)
	l, err := m.Acquire(t.Context(), "trade:ann:bob", lock.Options{TTL: time.Minute})
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the third may lag behind
		return strings.Contains(must(t, about("show", "trade:ann:bob")...), "3/3")
	}, 10*time.Second, 10*time.Millisecond)
	list := must(t, about("list")...)
	require.Regexp(t, `trade:ann:bob +trade +\d{13} +\S+ +3/3`, list)
	require.Regexp(t, `left +0 +\S+ +1/3`, list)
	require.Regexp(t, `stuck +0 +never runs out +1/3`, list)
	require.Contains(t, strings.Join(strings.Fields(must(t, about("show", "left", "--json")...)), ""), `"on":1,"of":3`)
	require.Equal(t, "1", must(t, about("cleanup")...))
	_, errs, code := command(t, about("show", "stuck")...)
	require.Equal(t, cli.ExitNo, code, errs)
	require.NoError(t, clients[1].Set(t.Context(), keys.Lock("stuck"), "somebody", 0).Err())
	must(t, append([]string{"jobs", "run", "locks", "--redis", redistest.URL(t)}, at...)...)
	require.Zero(t, clients[1].Exists(t.Context(), keys.Lock("stuck")).Val())

	servers[0].Kill()
	out, errs, code := command(t, about("list")...)
	require.Equal(t, cli.ExitUnreachable, code, errs)
	require.Regexp(t, `trade:ann:bob +trade +\d{13} +\S+ +2/3`, out)
	require.NoError(t, l.Release(t.Context()))
	_, errs, code = command(t, "lock", "list", "--lock-redis", "redis://a:1", "--lock-redis", "redis://a:1")
	require.Equal(t, cli.ExitUsage, code, errs)
}

// One server of locks beside that of the trades is asked too: who holds the pair's lock there is
// waited for, and without the server nothing moves.
func TestLocksOnAnotherServer(t *testing.T) {
	t.Parallel()
	url, beside := redistest.URL(t), redistest.Server(t)
	g := serve(t, "--redis", url, "--lock-redis", beside.URL(), "--dev")
	must(t, "trade", "mint", "--character", "ann", "--gold", "9", "--redis", url)
	ann := g.connect(g.guest("ann"))
	give := func(key string) string {
		return `{"to":"bob","give":{"items":[],"gold":1},"idempotencyKey":"` + key + `"}`
	}
	locks := lock.New(lock.Config{}, beside.Client())
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
		require.Equal(t, cli.ExitUsage, code, errs)
		require.Contains(t, errs, "durability")
	}
}
