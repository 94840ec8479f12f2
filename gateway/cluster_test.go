package gateway

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

func init() { redis.SetLogger(new(logging.VoidLogger)) } // a line for every failed dial helps nobody

// TestCastsReachEveryNode is a channel whose members sit on two nodes, and a user with a
// device on each.
func TestCastsReachEveryNode(t *testing.T) {
	t.Parallel()
	bus := redistest.Server(t)
	var nodes []*hall
	for range 2 {
		nodes = append(nodes, open(t, func(c *Config) {
			c.Socket.Cluster = &socketio.ClusterConfig{Redis: bus.Client()}
		}))
	}
	for _, h := range nodes {
		require.Eventually(t, func() bool { return h.Cluster().Nodes == 2 }, wiretest.Patience, tick)
	}
	ctx := t.Context()
	var players []*wiretest.Client
	for _, h := range nodes {
		c, conn := h.enter(t, "ann")
		_, err := h.Join(ctx, conn, "chat:a") // what is cast from now on is heard
		require.NoError(t, err)
		require.NoError(t, h.nsp.Heard(ctx, userRoom("ann")))
		players = append(players, c)
	}
	for i, room := range []string{"chat:a", userRoom("ann")} {
		for _, h := range nodes {
			require.NoError(t, h.Cast(ctx, room, "x", &total{i}))
			for _, c := range players {
				c.Expect(fmt.Sprintf(`42["x",{"sum":%d}]`, i))
			}
		}
		members, whole := nodes[0].Reach(ctx, room)
		require.Equal(t, 2, members)
		require.True(t, whole)
	}
	reached, whole, err := nodes[1].CastUser(ctx, "ann", "x", &total{5})
	require.NoError(t, err)
	require.Equal(t, 2, reached)
	require.True(t, whole)
	for _, c := range players {
		c.Expect(`42["x",{"sum":5}]`)
	}
	reached, whole, err = nodes[0].CastUser(ctx, "nobody", "x", &total{5})
	require.NoError(t, err)
	require.Zero(t, reached)
	require.True(t, whole)
	_, _, err = nodes[0].CastUser(ctx, "ann", "x", make(chan int))
	require.Error(t, err)
	require.Equal(t, 2, nodes[0].Nodes())

	require.NoError(t, nodes[0].SendStatus(map[string]string{"chat": "local"})) // is for the players of one node
	players[0].Expect(`42["gateway:status",{"chat":"local"}]`)
	require.NoError(t, nodes[0].Cast(ctx, "chat:a", "x", &total{7}))
	players[1].Expect(`42["x",{"sum":7}]`)

	players[0].Expect(`42["x",{"sum":7}]`)
	bus.Kill()
	players[0].Expect(`42["gateway:status",{"cluster":"local","unpublished":0}]`)
	players[1].Expect(`42["gateway:status",{"cluster":"local","unpublished":0}]`)
	for range 3 {
		require.NoError(t, nodes[0].Cast(ctx, "chat:a", "x", &total{8}))
		players[0].Expect(`42["x",{"sum":8}]`)
	}
	require.Eventually(t, func() bool { return nodes[0].Cluster().Unpublished == 3 }, wiretest.Patience, tick)
	bus.Restart()
	players[0].Expect(`42["gateway:status",{"cluster":"ok","unpublished":3}]`)
	players[1].Expect(`42["gateway:status",{"cluster":"ok","unpublished":0}]`)

	values := nodes[0].metricSums(t)
	require.Equal(t, 2.0, values["gateway_cluster_nodes"])
	require.Positive(t, values["gateway_cluster_messages_total"])
	require.Positive(t, values["gateway_cluster_channels"])
}

// metricSums returns the sum of each metric over its labels.
func (h *hall) metricSums(t testing.TB) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(h.metrics)
	families, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}
