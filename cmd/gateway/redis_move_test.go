package main

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

// ours returns how many connections of gateways a server has.
func ours(t *testing.T, s *redistest.Instance) int {
	t.Helper()
	list, err := s.Client().ClientList(t.Context()).Result()
	require.NoError(t, err)
	return strings.Count(list, "name=gateway")
}

// TestRedisMoves moves the address of Redis to a promoted replica, while the former master stays
// up. Of two gateways on that address, each gives five swords away that exist only five times.
// Within two seconds both are on the server that stays, where at most five swords ever exist; a
// trade that only the former server acknowledged is named; chat is heard on both nodes again; and
// players, log and metric say what has happened.
func TestRedisMoves(t *testing.T) {
	t.Parallel()
	former := redistest.Server(t)
	relay := redistest.NewRelay(t, former)
	one, two := serve(t, "--redis", relay.URL(), "--dev", "--node", "one", "--limit", "trade=off", "--trade-durability", "none"),
		serve(t, "--redis", relay.URL(), "--dev", "--node", "two", "--limit", "trade=off", "--trade-durability", "none")
	ann, bob := one.connect(one.guest("ann")), two.connect(two.guest("bob"))
	for _, p := range []*player{ann, bob} {
		p.ok("chat:join", `{"channel":"zone:1"}`)
	}
	must(t, "trade", "mint", "--character", "ann", "--item", "sword", "--qty", "5", "--redis", former.URL())
	_, port, _ := net.SplitHostPort(former.Addr())
	later := redistest.Server(t, "--replicaof", "127.0.0.1 "+port)
	require.Eventually(t, func() bool {
		info := later.Client().Info(t.Context(), "replication", "server").Val()
		return strings.Contains(info, "master_link_status:up") && regexp.MustCompile(`uptime_in_seconds:([4-9]|\d\d)`).MatchString(info)
	}, patience, tick)
	require.NoError(t, later.Client().Do(t.Context(), "replicaof", "no", "one").Err())
	give := func(to, key string) string {
		return fmt.Sprintf(`{"to":%q,"give":{"items":[{"itemId":"sword","qty":1}],"gold":0},"idempotencyKey":%q}`, to, key)
	}
	onlyOnFormer := ann.ok("trade:execute", give("zoe", "before"))["tradeId"]

	relay.PointTo(later)
	moved := time.Now()
	for _, p := range []*player{ann, bob} {
		p.take("42", func(f frame) bool { return f.name == "gateway:status" && contains(f.body, `"moved":true`) })
	}
	require.Eventually(t, func() bool { return ours(t, former) == 0 }, soon, tick)
	t.Logf("nothing of ours is connected to the former server after %v", time.Since(moved))
	for _, g := range []*gate{one, two} {
		g.status(g.public+"/health/ready", 200, soon)
		g.logged(1, "Redis has moved: another server with other data answers at its address, and everything was dialled anew; "+
			"compare the trades of both with gateway trade audit --against", map[string]any{"kind": "move"})
		require.Contains(t, string(do(t, "GET", g.admin+"/metrics", "").body), `gateway_redis_server_changes_total{kind="move"} 1`)
	}

	given := 0
	for i := range 10 {
		e := ann.ask("trade:execute", give("zoe", fmt.Sprint("after", i)))
		if e["ok"] == true {
			given++
		}
	}
	require.Equal(t, 5, given, "the server that stays has five")
	require.Contains(t, must(t, "trade", "audit", "--redis", relay.URL()), "5 trades, 1 mints")
	out, errs, code := command(t, "trade", "audit", "--redis", relay.URL(), "--against", former.URL())
	require.Equal(t, cli.ExitNo, code, errs)
	require.Contains(t, out, fmt.Sprint(onlyOnFormer), "the trade that only the former server has")
	require.Contains(t, out, "1 trades and mints only there")

	heardBy(t, later.URL(), "socket.io", "chat:zone:1", 2)
	ann.ok("chat:message", `{"channel":"zone:1","text":"from one"}`)
	require.Equal(t, "from one", bob.event("chat:message")["text"])
	bob.ok("chat:message", `{"channel":"zone:1","text":"from two"}`)
	require.Equal(t, "from one", ann.event("chat:message")["text"])
	require.Equal(t, "from two", ann.event("chat:message")["text"])
}

// A gateway that starts while Redis is away waits, lives and is not ready. It is ready within a
// second after Redis is there. (redisconn's TestDialsBackOff counts the dials.)
func TestAStartWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	relay := redistest.NewRelay(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	require.NoError(t, free.Close())
	ctx, cancel := contextFor(t)
	done, logged := make(chan error, 1), &output{}
	go func() {
		done <- runProgram(ctx, []string{"serve", "--addr", addr, "--admin-addr=", "--redis", relay.URL(), "--drain-for", "0s"}, environment(nil), &output{}, logged)
	}()
	status := func(path string) int {
		a, err := try(t, "GET", "http://"+addr+path, "")
		if err != nil {
			return 0
		}
		return a.status
	}
	require.Eventually(t, func() bool { return status("/health/live") == 200 }, patience, tick)
	require.Equal(t, http.StatusServiceUnavailable, status("/health/ready"))
	require.Equal(t, http.StatusServiceUnavailable, status("/health/redis"))
	refused := do(t, "GET", "http://"+addr+"/socket.io/?EIO=4&transport=polling", "")
	require.Equal(t, http.StatusServiceUnavailable, refused.status)
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	require.Equal(t, "UNAVAILABLE", refused.problem(t))
	require.Eventually(t, func() bool { return len(relay.Dials()) >= 7 }, patience, tick, "the pause between two dials is at its longest")
	require.Contains(t, logged.String(), "waiting for Redis")

	relay.PointTo(server)
	back := time.Now()
	require.Eventually(t, func() bool { return status("/health/ready") == 200 }, patience, tick)
	require.Less(t, time.Since(back), soon, "within a second, and what a busy machine adds")
	t.Logf("ready after %v", time.Since(back))
	cancel()
	require.NoError(t, <-done)
}

// The wait has an end where an operator wants one. Without --redis-wait, --dev does not wait, and
// a wrong password is never waited for.
func TestAStartThatDoesNotWait(t *testing.T) {
	t.Parallel()
	locked := redistest.Server(t, "--requirepass", "hunter2")
	for name, args := range map[string][]string{
		"a while":          {"--redis", "redis://127.0.0.1:1", "--redis-wait", "300ms"},
		"not at all":       {"--redis", "redis://127.0.0.1:1", "--redis-wait", "0"},
		"with --dev":       {"--redis", "redis://127.0.0.1:1", "--dev"},
		"a wrong password": {"--redis", "redis://:wrong@" + locked.Addr()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, errs, code := command(t, append([]string{"serve", "--addr", "127.0.0.1:0", "--admin-addr="}, args...)...)
			require.Equal(t, cli.ExitUnreachable, code, errs)
		})
	}
}

// A stop while Redis is waited for ends the process at once, without an error.
func TestAStopWhileRedisIsWaitedFor(t *testing.T) {
	t.Parallel()
	relay := redistest.NewRelay(t)
	ctx, cancel := contextFor(t)
	done := make(chan error, 1)
	go func() {
		done <- runProgram(ctx, []string{"serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis", relay.URL()}, environment(nil), &output{}, &output{})
	}()
	require.Eventually(t, func() bool { return len(relay.Dials()) > 0 }, patience, tick)
	cancel()
	require.NoError(t, <-done)
}
