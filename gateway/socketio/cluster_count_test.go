package socketio

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// castCount calls CastCount for an event with the argument 1.
func (w *world) castCount(ctx context.Context, room, event string) [2]int {
	reached, missing := w.Of("/").CastCount(ctx, room, event, func(d []byte) []byte { return append(d, '1') })
	return [2]int{reached, missing}
}

func TestClusterCountsWhoIsReached(t *testing.T) {
	t.Parallel()
	w := nodes(t, redistest.Server(t), 3)
	here, _ := w[0].member(t, "u", "mine")
	there, id := w[1].member(t, "u")
	again, _ := w[1].member(t, "u")
	other, _ := w[2].member(t)
	for _, c := range []struct {
		from int
		room string
		want [2]int
		hear []*wiretest.Client
	}{
		{0, "u", [2]int{3, 0}, []*wiretest.Client{here, there, again}},
		{2, "u", [2]int{3, 0}, []*wiretest.Client{here, there, again}},
		{0, "mine", [2]int{1, 0}, []*wiretest.Client{here}},
		{1, "mine", [2]int{1, 0}, []*wiretest.Client{here}},
		{0, id, [2]int{1, 0}, []*wiretest.Client{there}},
		{1, "nobody", [2]int{0, 0}, nil},
	} {
		begun := time.Now()
		require.Equal(t, c.want, w[c.from].castCount(t.Context(), c.room, "e"), "%+v", c)
		require.Less(t, time.Since(begun), countTimeout/2, "nobody is waited for in vain")
		for _, client := range c.hear {
			client.Expect(`42["e",1]`)
		}
	}
	w[0].IO.Emit("end")
	for _, c := range []*wiretest.Client{here, there, again, other} {
		c.Expect(`42["end"]`) // and nobody heard more
	}
	for _, n := range w {
		require.Zero(t, n.ClusterStats().Malformed+n.ClusterStats().Partial)
	}

	w[1].lib(t, id).Leave("u") // its node goes on hearing the room
	require.Equal(t, [2]int{2, 0}, w[0].castCount(t.Context(), "u", "e"))
	w[1].Close()
	w[0].knows(t, 2)
	require.Equal(t, [2]int{1, 0}, w[0].castCount(t.Context(), "u", "e"))
}

// TestClusterCountEnds has a node that receives casts and never answers, and a Redis that hangs and
// then dies: CastCount returns all the same.
func TestClusterCountEnds(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := nodes(t, r, 2)
	w[0].member(t, "u")
	w[1].member(t, "u")
	silent := r.Client().Subscribe(t.Context(), w[0].Of("/").cluster.roomChannel("u"))
	t.Cleanup(func() { _ = silent.Close() })
	_, err := silent.Receive(t.Context())
	require.NoError(t, err)
	begun := time.Now()
	require.Equal(t, [2]int{2, 1}, w[0].castCount(t.Context(), "u", "e"), "what there is, and how many are missing")
	require.Less(t, time.Since(begun), 3*time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := w[0].castCount(ctx, "u", "e")
	require.Positive(t, got[1], "who does not wait does not know")

	r.Pause()
	require.Equal(t, [2]int{1, 1}, w[0].castCount(t.Context(), "u", "e"))
	r.Resume()
	r.Kill()
	require.Equal(t, [2]int{1, 1}, w[0].castCount(t.Context(), "u", "e"))
	n := w[0].Of("/").cluster
	require.Eventually(t, func() bool { n.mu.Lock(); defer n.mu.Unlock(); return len(n.openRequests) == 0 }, wiretest.Patience, tick)
}

// TestClusterCountIsNoGift has strangers publish what they like where the id of a count stands.
func TestClusterCountIsNoGift(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	a := node(t, r, ClusterConfig{})
	c, _ := a.member(t, "r")
	bus := r.Client()
	answers := bus.PSubscribe(t.Context(), "socket.io-response#/#*")
	t.Cleanup(func() { _ = answers.Close() })
	_, err := answers.Receive(t.Context())
	require.NoError(t, err)
	event := "\xa1u\x83\xa4type\x02\xa4data\x91\xa1e\xa3nsp\xa1/\x81\xa5rooms\x91\xa1r"
	for _, tail := range []string{"\x07", "\xc0", "\x80", "", "\xa0", "\xd9\x41" + strings.Repeat("q", 65), "\xd9\x40q"} {
		require.NoError(t, bus.Publish(t.Context(), "socket.io#/#r#", "\x94"+event+tail).Err())
		c.Expect(`42["e"]`)
	}
	require.NoError(t, bus.Publish(t.Context(), "socket.io#/#r#", "\x94"+event+"\xa3why").Err())
	c.Expect(`42["e"]`)
	m, err := answers.ReceiveMessage(t.Context())
	require.NoError(t, err)
	require.Equal(t, "socket.io-response#/#u#", m.Channel)
	require.Contains(t, m.Payload, `"requestId":"why"`)
	require.Contains(t, m.Payload, `"clientCount":1`)
	alive(t, c)
}

func TestNodesStayKnownWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	fast := ClusterConfig{Heartbeat: 50 * time.Millisecond}
	a, b := node(t, r, fast), node(t, r, fast)
	known := func(n int) func() bool {
		return func() bool { return a.Of("/").Nodes() == n && b.Of("/").Nodes() == n }
	}
	require.Eventually(t, known(2), wiretest.Patience, tick)
	r.Pause() // hung
	a.knows(t, 1)
	b.knows(t, 1)
	require.True(t, known(2)())
	r.Resume()
	a.knows(t, 2)
	b.knows(t, 2)
	r.Kill()
	a.knows(t, 1)
	b.knows(t, 1)
	require.True(t, known(2)())
	r.Restart()
	a.knows(t, 2)
	b.knows(t, 2)
	require.True(t, known(2)())
	b.Close()
	require.Eventually(t, func() bool { return a.Of("/").Nodes() == 1 }, wiretest.Patience, tick, "a node that leaves is not counted any more")
	require.Equal(t, 1, serve(t, &scene{event: echo}, Config{}).Of("/").Nodes())
}
