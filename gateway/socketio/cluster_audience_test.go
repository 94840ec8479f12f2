package socketio

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// alone waits until a node asks who hears a message before it sends it.
func (w *world) alone(t testing.TB) {
	t.Helper()
	require.Eventually(t, w.Of("/").cluster.alone, wiretest.Patience, tick)
}

// number casts a number to a room.
func (w *world) number(room string, n int) {
	w.Of("/").Cast(room, "n", func(d []byte) []byte { return strconv.AppendInt(d, int64(n), 10) })
}

// settled waits until nothing waits to be published any more, and returns the counts.
func (w *world) settled(t testing.TB, casts int64) (published, unheard int64) {
	t.Helper()
	p := w.Of("/").cluster.hub.pub
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.waiting) == 0 && p.flight == 0
	}, wiretest.Patience, tick)
	s := w.ClusterStats()
	require.Zero(t, s.Unpublished)
	require.LessOrEqual(t, s.Unheard, casts)
	return s.Published, s.Unheard
}

// payloads are what a connection to Redis hears next.
func payloads(t testing.TB, ps *redis.PubSub, n int) (all []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wiretest.Patience)
	defer cancel()
	for range n {
		m, err := ps.ReceiveMessage(ctx)
		require.NoError(t, err)
		all = append(all, m.Payload)
	}
	return all
}

// A node that is the only one sends nothing, and its own members hear all.
func TestClusterAloneSendsNothing(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Server(t), ClusterConfig{asking: 1})
	c, _ := w.member(t, "r", "user:ann")
	w.alone(t)
	const casts = 50
	for i := range casts {
		w.number("r", i)
		w.number("nobody is here", i)
		w.Of("/").CastEach([]string{"user:ann", "user:bob"}, "both", func(d []byte) []byte { return append(d, '1') })
		w.IO.Except("r").Emit("others", i)
	}
	for i := range casts {
		require.Equal(t, fmt.Sprintf(`42["n",%d]`, i), c.Read())
		require.Equal(t, `42["both",1]`, c.Read())
	}
	_, unheard := w.settled(t, 4*casts)
	require.EqualValues(t, 4*casts, unheard)
}

// Whoever listens, by whatever means, hears all that is cast from when Redis has confirmed it.
func TestClusterAnyListenerHears(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Server(t), ClusterConfig{asking: 1, Heartbeat: 20 * time.Millisecond})
	r := w.Of("/").cluster.hub.cfg.Redis
	c, _ := w.member(t, "r")
	n := 0
	for name, listen := range map[string]func() *redis.PubSub{
		"to the room":          func() *redis.PubSub { return r.Subscribe(t.Context(), "socket.io#/#r#") },
		"to a pattern":         func() *redis.PubSub { return r.PSubscribe(t.Context(), "socket.io#/#*") },
		"to everything":        func() *redis.PubSub { return r.PSubscribe(t.Context(), "*#r#") },
		"to the room, as Node": func() *redis.PubSub { return r.PSubscribe(t.Context(), "socket.io#/#r#") },
	} {
		for range 5 {
			w.alone(t)
			w.number("r", n)
			w.settled(t, 1<<30)
			ps := listen()
			_, err := ps.Receive(t.Context())
			require.NoError(t, err)
			var want []string
			for range 20 {
				n++
				w.number("r", n)
				b, ok := w.Of("/").cluster.head(nil, fmt.Appendf(nil, `["n",%d]`, n), nil)
				require.True(t, ok)
				want = append(want, string(target{rooms: []socket.Room{"r"}}.append(b)))
			}
			require.Equal(t, want, payloads(t, ps, 20), name)
			require.NoError(t, ps.Close())
			n++
		}
	}
	for i := range n {
		require.Equal(t, fmt.Sprintf(`42["n",%d]`, i), c.Read())
	}
}

// A few messages are sent without asking: that is less work.
func TestClusterSendsAFewUnasked(t *testing.T) {
	t.Parallel()
	w := node(t, redistest.Server(t), ClusterConfig{})
	w.alone(t)
	p := w.Of("/").cluster.hub.pub
	p.mu.Lock() // they come together
	for range worthAsking - 1 {
		p.waiting = append(p.waiting, publication{channel: "c", nsp: w.Of("/").cluster, start: len(p.arena), target: len(p.arena) + 5, end: len(p.arena) + 6})
		p.arena = append(p.arena, "[\"n\"]\x80"...)
	}
	p.mu.Unlock()
	p.wake <- struct{}{}
	published, unheard := w.settled(t, worthAsking)
	require.GreaterOrEqual(t, published, int64(worthAsking-1))
	require.Zero(t, unheard)
}

// The connection on which the node itself hears is closed again and again, while somebody
// else listens to the same room: that one is never taken for the node's own.
func TestClusterTakesNobodyForItself(t *testing.T) {
	t.Parallel()
	redisServer := redistest.Server(t)
	w := node(t, redisServer, ClusterConfig{asking: 1, Heartbeat: 20 * time.Millisecond})
	w.member(t, "r")
	killer := redisServer.Client()
	ps := redisServer.Client().Subscribe(t.Context(), "socket.io#/#r#")
	t.Cleanup(func() { _ = ps.Close() })
	_, err := ps.Receive(t.Context())
	require.NoError(t, err)
	casts := int64(0)
	for range 100 {
		for _, line := range pubsubs(t, killer) {
			if line.subscriptions > 1 { // the node's
				require.NoError(t, killer.ClientKillByFilter(t.Context(), "ID", line.id).Err())
			}
		}
		for range 40 {
			w.Of("/").cluster.hub.pub.audience.maybe.Store(true) // it is asked each time
			w.number("r", int(casts))
			if casts++; casts%8 == 0 {
				w.settled(t, casts) // Redis has answered, while the connection comes back
			}
		}
	}
	_, unheard := w.settled(t, casts)
	require.Zero(t, unheard, "somebody listens all the time")
	w.number("r", -1)
	got := payloads(t, ps, int(casts)+1) // all, and nothing twice
	b, ok := w.Of("/").cluster.head(nil, []byte(`["n",-1]`), nil)
	require.True(t, ok)
	require.Equal(t, string(target{rooms: []socket.Room{"r"}}.append(b)), got[casts])
}

type pubsubClient struct {
	id            string
	subscriptions int
}

// pubsubs are the connections that listen.
func pubsubs(t testing.TB, c redis.UniversalClient) (all []pubsubClient) {
	t.Helper()
	list, err := c.Do(t.Context(), "client", "list", "type", "pubsub").Text()
	require.NoError(t, err)
	for _, line := range strings.Split(list, "\n") {
		var p pubsubClient
		for _, f := range strings.Fields(line) {
			switch {
			case len(f) > 3 && f[:3] == "id=":
				p.id = f[3:]
			case len(f) > 4 && f[:4] == "sub=":
				p.subscriptions, _ = strconv.Atoi(f[4:])
			}
		}
		all = append(all, p)
	}
	return all
}

// What listens to a replica hears it too: its master does not know of it.
func TestClusterAReplicasListenerHears(t *testing.T) {
	t.Parallel()
	master := redistest.Server(t)
	host, port, _ := strings.Cut(master.Addr(), ":")
	w := node(t, master, ClusterConfig{asking: 1, Heartbeat: 20 * time.Millisecond})
	w.alone(t)
	replica := redistest.Server(t, "--replicaof", host, port).Client()
	ps := replica.Subscribe(t.Context(), "socket.io#/#r#")
	t.Cleanup(func() { _ = ps.Close() })
	_, err := ps.Receive(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := replica.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	}, wiretest.Patience, tick)
	w.Of("/").cluster.hub.pub.audience.maybe.Store(true)
	for i := range 5 {
		w.number("r", i)
	}
	payloads(t, ps, 5)
	require.Zero(t, w.ClusterStats().Unheard)
}

// Who may not ask sends everything, and does not ask again.
func TestClusterMayNotAsk(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	admin := server.Client()
	require.NoError(t, admin.Do(t.Context(), "acl", "setuser", "game", "on", ">secret", "~*", "&*", "+@all", "-info").Err())
	o, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := universal(t, &redis.UniversalOptions{Addrs: []string{o.Addr}, Username: "game", Password: "secret"})
	w := serve(t, &scene{event: echo}, Config{Cluster: &ClusterConfig{asking: 1, Redis: client, Heartbeat: 20 * time.Millisecond}})
	w.heard(t, "")
	a := w.Of("/").cluster.hub.pub.audience
	require.Eventually(t, a.barred.Load, wiretest.Patience, tick)
	for i := range 5 {
		w.number("r", i)
	}
	published, unheard := w.settled(t, 5)
	require.GreaterOrEqual(t, published, int64(5))
	require.Zero(t, unheard)
	log, err := admin.Do(t.Context(), "acl", "log").Slice()
	require.NoError(t, err)
	require.Len(t, log, 1, "it was refused once")
	entry := log[0].(map[any]any)
	require.EqualValues(t, 1, entry["count"])
}
