package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// TestAPlayerIsReachableOnceConnected is a player who connects to one node and, as soon as the
// client has its CONNECT, is sent a whisper by the other node: each of 60 is heard, on loopback and
// with a Redis that answers 6 ms late.
func TestAPlayerIsReachableOnceConnected(t *testing.T) {
	t.Parallel()
	const whispers = 60
	for name, delay := range map[string]time.Duration{"loopback": 0, "6 ms away": 6 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Server(t)
			wire := redistest.Toxic(t, server)
			if delay > 0 {
				wire.Delay(delay)
			}
			sender, host := openClusterNode(t, server.Client()), openClusterNode(t, wire.Client())
			waitForNodes(t, sender, host)
			for i := range whispers {
				user := fmt.Sprintf("u%d", i)
				c := wiretest.Open(t, host.url, "websocket")
				c.Connect("", `{"sessionId":"s-`+user+`"}`)
				require.NoError(t, sender.Cast(t.Context(), userRoom(user), "chat:whisper", &total{i}))
				for _, greeting := range []string{"session", "limits"} {
					require.Contains(t, c.Read(), `42["`+greeting+`"`)
				}
				c.Expect(fmt.Sprintf(`42["chat:whisper",{"sum":%d}]`, i))
				c.Abort()
			}
			require.Zero(t, host.Cluster().LateSubscriptions)
		})
	}
}

// TestASocketIsReachableByItsID is the same for what is sent to the id that the CONNECT has told.
func TestASocketIsReachableByItsID(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	wire := redistest.Toxic(t, server)
	wire.Delay(6 * time.Millisecond)
	sender, host := openClusterNode(t, server.Client()), openClusterNode(t, wire.Client())
	waitForNodes(t, sender, host)
	for i := range 10 {
		c := wiretest.Open(t, host.url, "websocket")
		id := c.Connect("", `{"sessionId":"s-ann"}`)
		require.NoError(t, sender.Cast(t.Context(), id, "x", &total{i}))
		c.Read() // session
		c.Read() // limits
		c.Expect(fmt.Sprintf(`42["x",{"sum":%d}]`, i))
	}
}

// TestAConnectWaitsAQuarterOfASecondForRedis is a Redis that takes everything and says nothing: a
// CONNECT and a join are answered after 250 ms, and counted. While Redis is known to be away, they
// are answered at once.
func TestAConnectWaitsAQuarterOfASecondForRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	wire := redistest.Toxic(t, server)
	h := openClusterNode(t, wire.Client())
	require.Eventually(t, func() bool { return h.Cluster().Published > 0 && h.nsp.Heard(t.Context(), "nobody") == nil }, wiretest.Patience, tick)
	wire.BlackHole()
	begun := time.Now()
	c := wiretest.Open(t, h.url, "websocket")
	conn := c.Connect("", `{"sessionId":"s-ann"}`)
	require.GreaterOrEqual(t, time.Since(begun), 250*time.Millisecond)
	require.EqualValues(t, 1, h.Cluster().LateSubscriptions)
	_, err := h.Join(t.Context(), conn, "chat:a")
	require.NoError(t, err)
	require.EqualValues(t, 2, h.Cluster().LateSubscriptions)
	require.Less(t, time.Since(begun), 2*time.Second)

	server.Kill()
	wire.Cut()
	require.Eventually(t, func() bool { return h.nsp.Heard(t.Context(), "chat:a") == socketio.ErrUnheard }, wiretest.Patience, tick)
	late := h.Cluster().LateSubscriptions
	wiretest.Open(t, h.url, "websocket").Connect("", `{"sessionId":"s-u1"}`)
	require.Equal(t, late, h.Cluster().LateSubscriptions, "nothing is waited for")
}

// openClusterNode opens a gateway that shares a Redis with others.
func openClusterNode(t testing.TB, client redis.UniversalClient) *hall {
	t.Helper()
	return open(t, func(c *Config) { c.Socket.Cluster = &socketio.ClusterConfig{Redis: client} })
}

// waitForNodes waits until all nodes know each other.
func waitForNodes(t testing.TB, nodes ...*hall) {
	t.Helper()
	for _, h := range nodes {
		require.Eventually(t, func() bool { return h.Cluster().Nodes == len(nodes) }, wiretest.Patience, tick)
	}
}
