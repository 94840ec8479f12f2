package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

// warnings returns the kinds of gateway_warnings that are in force, in order.
func (g *gate) warnings() []string {
	g.t.Helper()
	kinds := []string{}
	body := string(do(g.t, "GET", g.admin+"/metrics", "").body)
	for _, m := range regexp.MustCompile(`(?m)^gateway_warnings\{kind="(\w+)"\} 1$`).FindAllStringSubmatch(body, -1) {
		kinds = append(kinds, m[1])
	}
	return kinds
}

// loggedWarnings returns the kinds of the warnings in the log, in order.
func (g *gate) loggedWarnings() []string {
	g.t.Helper()
	kinds := []string{}
	lines, err := g.lines()
	require.NoError(g.t, err)
	for _, l := range lines {
		if kind, ok := l["kind"].(string); ok && l["level"] == "warn" {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// safeRedis returns a Redis that keeps what it is told, and confirms that it is on disk.
func safeRedis(t *testing.T) *redistest.Instance {
	return redistest.ServerWithWaitAOF(t, "--appendonly", "yes")
}

// Each dangerous setting is one warning at start and one value of gateway_warnings, and nothing is
// refused for it.
func TestDangerousSettingsAreWarnedOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		redis []string // of a server without a replica
		args  []string
		want  []string
	}{
		"none":                            {[]string{"--appendonly", "yes"}, nil, []string{}},
		"--dev on loopback":               {[]string{"--appendonly", "yes"}, []string{"--dev"}, []string{}},
		"--env production alone":          {[]string{"--appendonly", "yes"}, []string{"--env", "production"}, []string{}},
		"--dev in public":                 {[]string{"--appendonly", "yes"}, []string{"--dev", "--addr", "0.0.0.0:0"}, []string{"dev_public"}},
		"--dev and --env production":      {[]string{"--appendonly", "yes"}, []string{"--dev", "--env", "production"}, []string{"dev_production"}},
		"players in public":               {[]string{"--appendonly", "yes"}, []string{"--addr", "0.0.0.0:0"}, []string{}},
		"operators in public":             {[]string{"--appendonly", "yes"}, []string{"--admin-addr", ":0"}, []string{"admin_public"}},
		"snapshots only":                  {[]string{"--save", "3600 1"}, nil, []string{"trades_not_durable"}},
		"snapshots only, and it is meant": {[]string{"--save", "3600 1"}, []string{"--trade-durability", "none"}, []string{}},
		"a Redis that keeps nothing":      {nil, nil, []string{"redis_keeps_nothing", "trades_not_durable"}},
		"a Redis that may evict":          {[]string{"--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, nil, []string{"redis_may_evict"}},
		"a policy and no limit":           {[]string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"}, nil, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, append(c.args, "--redis", redistest.ServerWithWaitAOF(t, c.redis...).URL())...)
			require.Equal(t, c.want, g.warnings())
			require.Equal(t, c.want, g.loggedWarnings())
		})
	}
}

// The warnings hold for a Redis that the gateway starts itself, too.
func TestTheEmbeddedRedisIsWarnedOf(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"redis_keeps_nothing", "trades_not_durable"}, serve(t, "--dev").warnings())
}

// A proxy that is not trusted is warned of when its first X-Forwarded-For comes.
func TestAnUntrustedProxyIsWarnedOf(t *testing.T) {
	t.Parallel()
	url := safeRedis(t).URL()
	wary, trusting := serve(t, "--redis", url), serve(t, "--redis", url, "--trusted-proxies", "127.0.0.1")
	for range 3 {
		for _, g := range []*gate{wary, trusting} {
			do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "", "X-Forwarded-For", "203.0.113.7")
		}
	}
	require.Equal(t, []string{"proxy_untrusted"}, wary.warnings())
	require.Equal(t, []string{"proxy_untrusted"}, wary.loggedWarnings())
	require.Empty(t, trusting.warnings())
}

// The first lines and the log say which durability trades have, and why.
func TestTheStartSaysHowDurableTradesAre(t *testing.T) {
	t.Parallel()
	says := func(g *gate, durability, why string) {
		t.Helper()
		require.Contains(t, g.out.String(), "trades       --trade-durability "+durability+": ")
		require.Contains(t, g.out.String(), why)
		g.logged(1, "trade durability", map[string]any{"durability": durability})
	}
	says(serve(t, "--redis", safeRedis(t).URL()), "fsync", "append-only file")
	says(serve(t, "--redis", redistest.URL(t)), "none", "no replica")
	says(serve(t, "--redis", safeRedis(t).URL(), "--trade-durability", "none"), "none", "configured")

	master := redistest.Server(t)
	redistest.Server(t, "--replicaof", "127.0.0.1 "+strings.Split(master.Addr(), ":")[1])
	require.Eventually(t, func() bool { return master.Client().Do(t.Context(), "wait", 1, 100).Val() == int64(1) }, patience, tick)
	require.NoError(t, master.Client().Set(t.Context(), "a", 1, 0).Err())
	require.Eventually(t, func() bool {
		pipe := master.Client().Pipeline()
		pipe.Set(t.Context(), "a", 1, 0)
		wait := pipe.Do(t.Context(), "wait", 1, 300)
		_, err := pipe.Exec(t.Context())
		return err == nil && wait.Val() == int64(1)
	}, patience, tick)
	says(serve(t, "--redis", master.URL()), "wait", "a replica")
}

// Only where --trade-durability asks for more than Redis can do, the start is refused.
func TestMoreDurabilityThanRedisHasIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range []string{"wait", "fsync"} {
		_, errs, code := command(t, "serve", "--addr", "127.0.0.1:0", "--admin-addr", "", "--redis", redistest.URL(t), "--trade-durability", d)
		require.Equal(t, cli.ExitUsage, code, errs)
		require.Contains(t, errs, "--trade-durability")
	}
}

// When another server answers, the log says what holds then.
func TestAChangeOfTheServerSaysHowDurableTradesAre(t *testing.T) {
	t.Parallel()
	server := safeRedis(t)
	g := serve(t, "--redis", server.URL())
	g.logged(1, "trade durability", map[string]any{"durability": "fsync"})
	server.Kill()
	server.Restart()
	g.logged(1, "redis changed", map[string]any{"to": "up", "durability": "fsync", "server": "restart"})
	require.NoError(t, server.Client().ConfigSet(t.Context(), "appendonly", "no").Err())
	g.logged(1, "trade durability", map[string]any{"durability": "none"})
	require.Contains(t, fmt.Sprint(g.warnings()), "trades_not_durable")
	require.NoError(t, server.Client().ConfigSet(t.Context(), "appendonly", "yes").Err())
	g.logged(2, "trade durability", map[string]any{"durability": "fsync"})
	require.NotContains(t, fmt.Sprint(g.warnings()), "trades_not_durable")
}

// After a failover to a server that can not do what --trade-durability names, the log says so and
// trades are UNAVAILABLE, also when they are repeated. Once the server can do it, a repeat tells
// the outcome of the first try: the goods have moved once.
func TestAFailoverToAServerThatCanNotKeepTrades(t *testing.T) {
	t.Parallel()
	for durability, mend := range map[string]func(t *testing.T, later *redistest.Instance){
		"fsync": func(t *testing.T, later *redistest.Instance) {
			t.Helper()
			require.NoError(t, later.Client().ConfigSet(t.Context(), "appendonly", "yes").Err())
		},
		"wait": func(t *testing.T, later *redistest.Instance) {
			t.Helper()
			redistest.ServerWithWaitAOF(t, "--replicaof", "127.0.0.1 "+portOf(later))
		},
	} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			former := safeRedis(t)
			later := redistest.ServerWithWaitAOF(t, "--replicaof", "127.0.0.1 "+portOf(former))
			relay := redistest.NewRelay(t, former)
			require.Eventually(t, func() bool {
				return strings.Contains(later.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
			}, patience, tick)
			g := serve(t, "--redis", relay.URL(), "--dev", "--limit", "trade=off", "--trade-durability", durability)
			ann := g.connect(g.guest("ann"))
			must(t, "trade", "mint", "--character", "ann", "--item", "sword", "--qty", "5", "--redis", relay.URL())
			give := func(key string) map[string]any {
				return ann.ask("trade:execute", fmt.Sprintf(`{"to":"bob","give":{"items":[{"itemId":"sword","qty":1}],"gold":0},"idempotencyKey":%q}`, key))
			}
			require.Equal(t, true, give("before")["ok"])
			require.Eventually(t, func() bool {
				return later.Client().HGet(t.Context(), "char:bob:inventory", "item:sword").Val() == "1"
			}, patience, tick)

			require.NoError(t, later.Client().Do(t.Context(), "replicaof", "no", "one").Err())
			relay.PointTo(later)
			g.logged(1, "trades are refused: Redis can not do what --trade-durability asks for", map[string]any{})
			for range 3 {
				e := give("after")
				require.Equal(t, false, e["ok"], "%v", e)
				require.Equal(t, "UNAVAILABLE", e["error"].(map[string]any)["code"], "%v", e)
			}
			mend(t, later)
			require.Eventually(t, func() bool { return give("after")["ok"] == true }, patience, 10*tick)
			require.Equal(t, "2", later.Client().HGet(t.Context(), "char:bob:inventory", "item:sword").Val(), "once before, and once after")
		})
	}
}

// portOf returns the port of a server.
func portOf(s *redistest.Instance) string {
	_, port, _ := strings.Cut(s.Addr(), ":")
	return port
}
