package main

import (
	"fmt"
	"regexp"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// heardBy waits until n gateways hear what is cast to a room. A join waits for that itself,
// but not for ever.
func heardBy(t *testing.T, url, channel, room string, n int64) {
	t.Helper()
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(opts)
	defer client.Close()
	if opts.DB != 0 && channel == "socket.io" {
		channel += fmt.Sprintf(":%d", opts.DB)
	}
	channel += "#/#" + room + "#"
	require.Eventually(t, func() bool {
		return client.PubSubNumSub(t.Context(), channel).Val()[channel] == n
	}, patience, tick, channel)
}

// TestTwoGatewaysAreOne is a channel and a whisper between players of two gateways that
// share a Redis and a database; a third uses another database of it.
func TestTwoGatewaysAreOne(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	one, two := serve(t, "--redis", url, "--dev", "--node", "one"), serve(t, "--redis", url, "--dev", "--node", "two")
	apart := serve(t, "--redis", redistest.URL(t), "--dev")
	ann, bob, eve := one.connect(one.guest("ann")), two.connect(two.guest("bob")), apart.connect(apart.guest("eve"))
	for _, p := range []*player{ann, bob, eve} {
		p.ok("chat:join", `{"channel":"zone:1"}`)
	}
	heardBy(t, url, "socket.io", "chat:zone:1", 2)
	ann.ok("chat:message", `{"channel":"zone:1","text":"from one"}`)
	require.Equal(t, "from one", bob.event("chat:message")["text"])
	bob.ok("chat:message", `{"channel":"zone:1","text":"from two"}`)
	require.Equal(t, "from one", ann.event("chat:message")["text"])
	require.Equal(t, "from two", ann.event("chat:message")["text"])
	eve.ok("chat:message", `{"channel":"zone:1","text":"alone"}`)
	require.Equal(t, "alone", eve.event("chat:message")["text"])
}

// TestNodesAreNamed finds the name of each of two nodes in `session`, logs and metrics.
func TestNodesAreNamed(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	for _, name := range []string{"one", "two"} {
		g := serve(t, "--redis", url, "--dev", "--node", name)
		p := g.handshake(g.guest("ann-" + name))
		require.Equal(t, name, p.event("session")["node"])
		g.logged(1, "connection opened", map[string]any{"node": name, "user": "ann-" + name})
		metrics := string(do(t, "GET", g.admin+"/metrics", "").body)
		require.Contains(t, metrics, fmt.Sprintf("gateway_node_info{node=%q} 1", name))
	}
}

// TestClusterPrefix is two gateways on different databases that share a prefix, and a third
// that has another.
func TestClusterPrefix(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	one, two := serve(t, "--redis", url, "--dev", "--cluster-prefix", "game:eu"), serve(t, "--redis", redistest.URL(t), "--dev", "--cluster-prefix", "game:eu")
	apart := serve(t, "--redis", url, "--dev", "--cluster-prefix", "game:us")
	ann, bob, eve := one.connect(one.guest("ann")), two.connect(two.guest("bob")), apart.connect(apart.guest("eve"))
	for _, p := range []*player{ann, bob, eve} {
		p.ok("chat:join", `{"channel":"zone:1"}`)
	}
	heardBy(t, url, "game:eu", "chat:zone:1", 2)
	heardBy(t, url, "game:us", "chat:zone:1", 1)
	ann.ok("chat:message", `{"channel":"zone:1","text":"to the prefix"}`)
	require.Equal(t, "to the prefix", bob.event("chat:message")["text"])
	eve.ok("chat:message", `{"channel":"zone:1","text":"alone"}`)
	require.Equal(t, "alone", eve.event("chat:message")["text"])
}

// TestAKilledGateway is kill -9 of one of two gateways in the middle of traffic: the players
// of the other miss nothing of each other, and it is no longer counted.
func TestAKilledGateway(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	doomed, process := start(t, "--redis", url, "--node", "doomed", "--limit", "chat=off")
	g := serve(t, "--redis", url, "--dev", "--node", "other", "--limit", "chat=off")
	nodes := func(n int) {
		has := regexp.MustCompile(fmt.Sprintf(`(?m)^gateway_cluster_nodes %d$`, n))
		require.Eventually(t, func() bool {
			a, err := try(t, "GET", g.admin+"/metrics", "")
			return err == nil && has.Match(a.body)
		}, patience, tick)
	}
	nodes(2)
	lost, ann, bob := doomed.connect(doomed.guest("eve")), g.connect(g.guest("ann")), g.connect(g.guest("bob"))
	for _, p := range []*player{lost, ann, bob} {
		p.ok("chat:join", `{"channel":"zone:1"}`)
	}
	heardBy(t, url, "socket.io", "chat:zone:1", 2)
	const n = 100
	for i := range n {
		ann.ok("chat:message", fmt.Sprintf(`{"channel":"zone:1","text":"%d"}`, i))
		if i == n/2 {
			require.NoError(t, process.Process.Signal(syscall.SIGKILL))
		}
	}
	require.False(t, lost.ended(), "its players come back by themselves")
	for i := range n {
		require.Equal(t, fmt.Sprint(i), bob.event("chat:message")["text"])
	}
	nodes(1)
}
