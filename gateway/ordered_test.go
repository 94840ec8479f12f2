package gateway

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// step is a payload with a place in a stream.
type step struct {
	Stream string `json:"stream"`
	Place  int64  `json:"place"`
}

func (s step) Order() (string, int64) { return s.Stream, s.Place }

// The members of a room receive the casts of several nodes in the order of their places, on every
// node, even if casts overtake each other on the way. Members of the room except receive nothing.
func TestOrderedCasts(t *testing.T) {
	t.Parallel()
	bus := redistest.Server(t)
	var nodes []*hall
	for range 2 {
		nodes = append(nodes, open(t, func(c *Config) {
			c.Socket.Cluster = &socketio.ClusterConfig{Redis: bus.Client()}
		}))
	}
	ctx := t.Context()
	var players []*wiretest.Client
	for _, h := range nodes {
		require.Eventually(t, func() bool { return h.Cluster().Nodes == 2 }, wiretest.Patience, tick)
		for _, user := range []string{"ann", "root"} {
			c, conn := h.enter(t, user)
			_, err := h.Join(ctx, conn, "duel:1")
			require.NoError(t, err)
			if user == "root" {
				_, err := h.Join(ctx, conn, "away")
				require.NoError(t, err)
				continue
			}
			players = append(players, c)
		}
	}
	cast := func(h *hall, except string, stream string, place int64) {
		t.Helper()
		require.NoError(t, h.CastExcept(ctx, "duel:1", except, "x", step{stream, place}))
	}
	expect := func(stream string, places ...int) {
		t.Helper()
		for _, c := range players {
			for _, place := range places {
				c.Expect(fmt.Sprintf(`42["x",{"stream":%q,"place":%d}]`, stream, place))
			}
		}
	}
	cast(nodes[0], "away", "a", 3)
	cast(nodes[1], "away", "a", 2)
	cast(nodes[0], "away", "b", 1)
	expect("b", 1)
	cast(nodes[1], "away", "a", 1)
	expect("a", 1, 2, 3)
	cast(nodes[0], "", "a", 5) // as when two nodes' messages cross
	cast(nodes[1], "", "a", 4)
	expect("a", 4, 5)
	require.Error(t, nodes[0].CastExcept(ctx, "duel:1", "", "x", make(chan int)))
}
