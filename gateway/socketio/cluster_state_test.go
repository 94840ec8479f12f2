package socketio

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

func TestWatchman(t *testing.T) {
	t.Parallel()
	type beat struct {
		connected   bool
		unpublished int64
	}
	local, ok := func(n int64) ClusterState { return ClusterState{true, n} }, func(n int64) ClusterState { return ClusterState{false, n} }
	for name, c := range map[string]struct {
		beats []beat
		want  []ClusterState
	}{
		"all is well":            {[]beat{{true, 0}, {true, 0}, {true, 0}}, nil},
		"away and back":          {[]beat{{true, 0}, {false, 0}, {false, 7}, {true, 9}, {true, 9}, {true, 9}}, []ClusterState{local(0), ok(9)}},
		"a loss while connected": {[]beat{{true, 3}, {true, 3}, {true, 3}, {true, 3}}, []ClusterState{local(3), ok(0)}},
		"losses again and again": {[]beat{{true, 1}, {true, 1}, {true, 2}, {true, 2}, {true, 2}}, []ClusterState{local(1), ok(1)}},
		"it flickers":            {[]beat{{false, 0}, {true, 0}, {false, 0}, {true, 0}, {true, 0}}, []ClusterState{local(0), ok(0)}},
	} {
		var got []ClusterState
		w := stateWatcher{onChange: func(s ClusterState) { got = append(got, s) }}
		for _, b := range c.beats {
			w.observeBeat(b.connected, b.unpublished)
		}
		require.Equal(t, c.want, got, name)
	}
}

// TestClusterTellsItsState kills Redis under traffic and restarts it.
func TestClusterTellsItsState(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	states := make(chan ClusterState, 16)
	a := node(t, r, ClusterConfig{OnChange: func(s ClusterState) { states <- s }})
	b := node(t, r, ClusterConfig{})
	a.knows(t, 2)
	_, _ = b.member(t, "r")
	r.Kill()
	first := <-states
	require.True(t, first.Local)
	lost := first.Unpublished
	for range 100 {
		a.Of("/").Cast("r", "e", func(d []byte) []byte { return append(d, '1') })
	}
	require.Eventually(t, func() bool { return a.ClusterStats().Unpublished >= 100 }, wiretest.Patience, tick, "a Redis that is back sooner loses none")
	r.Restart()
	back := <-states
	require.False(t, back.Local)
	lost += back.Unpublished
	require.Equal(t, a.ClusterStats().Unpublished, lost, "each is counted once, and heartbeats are not")
	require.GreaterOrEqual(t, lost, int64(100))
	require.Eventually(t, func() bool { return a.ClusterStats().Nodes == 2 }, wiretest.Patience, tick)
	require.Empty(t, states)
}
