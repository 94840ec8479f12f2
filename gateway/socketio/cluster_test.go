package socketio

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

func init() { redis.SetLogger(new(logging.VoidLogger)) } // else it logs every failed dial

// node starts a server as a node of a cluster.
func node(t testing.TB, r *redistest.Instance, cfg ClusterConfig) *world {
	t.Helper()
	cfg.Redis = r.Client()
	if cfg.Linger == 0 {
		cfg.Linger = 50 * time.Millisecond
	}
	w := serve(t, &scene{event: echo}, Config{Cluster: &cfg})
	w.heard(t, "")
	return w
}

// nodes starts nodes and waits until they know each other.
func nodes(t testing.TB, r *redistest.Instance, n int) (all []*world) {
	t.Helper()
	for range n {
		all = append(all, node(t, r, ClusterConfig{}))
	}
	for _, w := range all {
		w.knows(t, n)
	}
	return all
}

// knows waits until a node knows that there are n.
func (w *world) knows(t testing.TB, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return w.ClusterStats().Nodes == n }, wiretest.Patience, tick, "nodes: want %d, have %+v", n, w.ClusterStats())
}

// heard waits until Redis has confirmed the subscription of a room, or, for "", those of the
// channels that a namespace always has.
func (w *world) heard(t testing.TB, room string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	n := w.Of("/").cluster
	if room != "" {
		require.NoError(t, w.Of("/").Heard(ctx, room))
		return
	}
	for _, name := range []string{n.allChannel, n.requestChannel, n.answerChannel, n.heartbeatChannel, n.answerChannel + n.cluster.uid + "#"} {
		require.NoError(t, n.cluster.bus.WaitSubscribed(ctx, name))
	}
}

// member connects a client to a node and has it join rooms.
func (w *world) member(t testing.TB, rooms ...string) (c *wiretest.Client, id string) {
	t.Helper()
	c, id = w.join(t, "websocket")
	lib := w.lib(t, id)
	for _, r := range rooms {
		lib.Join(socket.Room(r))
		w.heard(t, r)
	}
	w.heard(t, id)
	return c, id
}

// lib returns the library's socket, once it is in the room of its own id.
func (w *world) lib(t testing.TB, id string) (s *socket.Socket) {
	t.Helper()
	require.Eventually(t, func() bool {
		var ok bool
		s, ok = w.Of("/").lib.Sockets().Load(socket.SocketId(id))
		return ok && len(w.Of("/").rooms.selectSockets(targetOf(nil).to(id))) == 1
	}, wiretest.Patience, tick)
	return s
}

func (t target) to(room string) *socket.BroadcastOptions {
	t.rooms = []socket.Room{socket.Room(room)}
	return t.broadcastOptions()
}

func TestClusterBroadcasts(t *testing.T) {
	t.Parallel()
	w := nodes(t, redistest.Server(t), 2)
	a, b := w[0], w[1]
	one, _ := a.member(t, "red", "loud")
	two, id := b.member(t, "red")
	three, _ := b.member(t, "blue", "loud")
	all := map[string]*wiretest.Client{"one": one, "two": two, "three": three}
	for name, c := range map[string]struct {
		emit func()
		want string // who hears
		text string
	}{
		"everyone":          {func() { a.IO.Emit("e", 1, "x") }, "one two three", `42["e",1,"x"]`},
		"a room":            {func() { a.IO.To("red").Emit("e", map[string]any{"k": []any{1, true, nil}}) }, "one two", `42["e",{"k":[1,true,null]}]`},
		"several rooms":     {func() { a.IO.To("red", "blue").Emit("e") }, "one two three", `42["e"]`},
		"except":            {func() { a.IO.Except("loud").Emit("e", 2) }, "two", `42["e",2]`},
		"room but except":   {func() { b.IO.To("red").Except("loud").Emit("e", 3) }, "two", `42["e",3]`},
		"one socket":        {func() { a.IO.To(socket.Room(id)).Emit("e", 4) }, "two", `42["e",4]`},
		"local":             {func() { b.IO.Local().Emit("e", 5) }, "two three", `42["e",5]`},
		"volatile":          {func() { b.IO.Volatile().Emit("e", 6) }, "one two three", `42["e",6]`},
		"cast":              {func() { a.Of("/").Cast("red", "e", func(d []byte) []byte { return append(d, `{"é\n":-1.5}`...) }) }, "one two", `42["e",{"é\n":-1.5}]`},
		"cast with except":  {func() { a.Of("/").CastArgs("red", "loud", "e", Args{JSON: []byte("7,8")}) }, "two", `42["e",7,8]`},
		"cast on this node": {func() { a.Of("/").CastAll("e", Args{JSON: []byte("9")}) }, "one", `42["e",9]`},
	} {
		c.emit()
		for who, client := range all {
			if slices.Contains(strings.Fields(c.want), who) {
				got, err := client.Next()
				require.NoError(t, err, "%s: %s", name, who)
				require.Equal(t, c.text[:2], got[:2])
				require.JSONEq(t, c.text[2:], got[2:], "%s: %s", name, who)
			}
		}
	}
	a.IO.Emit("end")
	b.IO.Emit("end2")
	for _, client := range all { // nobody heard more than that
		require.ElementsMatch(t, []string{`42["end"]`, `42["end2"]`}, []string{client.Read(), client.Read()})
	}
	require.Zero(t, a.ClusterStats().Malformed+b.ClusterStats().Malformed)
}

// CastEach publishes one message for two nodes, and one for each room for three. Members get the
// same.
func TestClusterCastEach(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := redistest.Server(t)
			w := nodes(t, r, n)
			here, _ := w[0].member(t, "user:ann")
			there, _ := w[1].member(t, "user:bob")
			last, _ := w[n-1].member(t, "user:ann", "user:cat")
			sent := w[0].ClusterStats().Published
			body := func(d []byte) []byte { return append(d, `{"n":1}`...) }
			w[0].Of("/").CastEach([]string{"user:ann", "user:bob"}, "e", body)
			w[0].Of("/").CastEach(nil, "nobody", body)
			w[0].Of("/").Cast("user:bob", "end", body)
			w[0].Of("/").Cast("user:ann", "end", body)
			for _, c := range []*wiretest.Client{here, there, last} {
				require.Equal(t, `42["e",{"n":1}]`, c.Read())
				require.Equal(t, `42["end",{"n":1}]`, c.Read(), "heard once, and in order")
			}
			require.Eventually(t, func() bool { return w[0].ClusterStats().Published >= sent+int64(n)+1 }, wiretest.Patience, tick)
		})
	}
}
