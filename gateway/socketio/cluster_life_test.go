package socketio

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

func TestClusterKeepsTheOrder(t *testing.T) {
	t.Parallel()
	w := nodes(t, redistest.Server(t), 2)
	here, _ := w[0].member(t, "r")
	there, _ := w[1].member(t, "r")
	const n = 5000
	for i := range n {
		if i%2 == 0 {
			w[0].Of("/").Cast("r", "b", func(d []byte) []byte { return fmt.Append(d, i) })
		} else {
			w[0].IO.To("r").Emit("b", i)
		}
	}
	require.NoError(t, numbers(here, "b", n))
	require.NoError(t, numbers(there, "b", n))
	require.Zero(t, w[0].ClusterStats().Unpublished)
}

func TestClusterHearsOnlyWhatItNeeds(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := nodes(t, r, 2)
	client := r.Client()
	channels := func() map[string]int64 {
		names := client.PubSubChannels(context.Background(), "socket.io#*").Val()
		return client.PubSubNumSub(context.Background(), names...).Val()
	}
	require.Equal(t, map[string]int64{"socket.io#/#": 2}, channels())
	require.Zero(t, client.PubSubNumPat(context.Background()).Val())

	_, id := w[1].member(t, "r")
	require.Equal(t, map[string]int64{"socket.io#/#": 2, "socket.io#/#r#": 1, "socket.io#/#" + id + "#": 1}, channels())
	before := w[0].ClusterStats().Received
	w[1].IO.To("r").Emit("mine")
	w[1].IO.Emit("everyone's")
	require.Eventually(t, func() bool { return w[0].ClusterStats().Received > before }, wiretest.Patience, tick)

	w[1].lib(t, id).Leave("r")
	require.Eventually(t, func() bool { _, still := channels()["socket.io#/#r#"]; return !still }, wiretest.Patience, tick)

	// Joins race leaves: the last call decides.
	lib := w[1].lib(t, id)
	for range 200 {
		lib.Join("r")
		lib.Leave("r")
	}
	lib.Join("r")
	w[1].heard(t, "r")
	require.Never(t, func() bool { return channels()["socket.io#/#r#"] != 1 }, 300*time.Millisecond, 50*time.Millisecond)
}

func TestClusterSurvivesRedis(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := nodes(t, r, 2)
	here, _ := w[0].member(t, "r")
	there, id := w[1].member(t, "r")
	w[0].IO.To("r").Emit("before")
	here.Expect(`42["before"]`)
	there.Expect(`42["before"]`)

	r.Kill()
	begun := time.Now()
	for i := range 1000 {
		w[0].Of("/").Cast("r", "b", func(d []byte) []byte { return fmt.Append(d, i) })
	}
	require.Less(t, time.Since(begun), time.Second, "nobody waits for redis")
	require.NoError(t, numbers(here, "b", 1000), "members of this node are served")
	require.Eventually(t, func() bool { return w[0].ClusterStats().Unpublished >= 1000 }, wiretest.Patience, tick)
	require.Eventually(t, func() bool { return errors.Is(w[1].Of("/").Heard(t.Context(), "r"), ErrUnheard) }, wiretest.Patience, tick)
	sockets, missing := w[1].Of("/").Members(context.Background(), "r")
	require.Equal(t, 1, sockets)
	require.Positive(t, missing)
	w[1].lib(t, id).Join("late") // joined while nobody can be told

	r.Restart()
	for _, n := range w {
		n.heard(t, "")
		n.knows(t, 2)
	}
	w[1].heard(t, "r")
	w[1].heard(t, "late")
	w[0].IO.To("r").Emit("after")
	w[0].IO.To("late").Emit("late")
	here.Expect(`42["after"]`)
	there.Expect(`42["after"]`, `42["late"]`) // and none of the thousand
}

func TestClusterBoundsWhatWaits(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	a := node(t, r, ClusterConfig{Queue: 64 << 10})
	c, _ := a.member(t, "r")
	r.Pause()
	payload := strings.Repeat("x", 1000)
	for range 300 {
		a.IO.To("r").Emit("e", payload)
	}
	for range 300 {
		c.Read()
	}
	require.Positive(t, a.ClusterStats().Unpublished)
	r.Resume()
	b := node(t, r, ClusterConfig{})
	a.knows(t, 2)
	there, _ := b.member(t, "r")
	a.heard(t, "")
	a.IO.To("r").Emit("after")
	there.Expect(`42["after"]`)
}

// zombie starts a node that greets and subscribes and is silent then, as if frozen or cut off.
func zombie(t *testing.T, r *redistest.Instance) {
	client := r.Client()
	ps := client.Subscribe(context.Background(), "socket.io-request#/#", "socket.io-heartbeat#/#")
	t.Cleanup(func() { _ = ps.Close() })
	_, err := ps.Receive(context.Background())
	require.NoError(t, err)
	require.NoError(t, client.Publish(context.Background(), "socket.io-heartbeat#/#", "hzombie").Err())
}

func TestClusterDoesNotWaitForTheDead(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := nodes(t, r, 2)
	here, _ := w[0].member(t, "r")
	there, _ := w[1].member(t, "r")
	answer := func(c *wiretest.Client, v string) {
		p := c.Read()
		c.Send("43" + p[2:strings.IndexByte(p, '[')] + v)
	}
	zombie(t, r)
	w[0].knows(t, 3)

	begun := time.Now()
	sockets, missing := w[0].Of("/").Members(context.Background(), "r")
	require.Equal(t, [2]int{2, 1}, [2]int{sockets, missing}, "what there is, and how many are missing")
	require.Less(t, time.Since(begun), 4*time.Second)
	w[0].knows(t, 2)

	zombie(t, r)
	w[0].knows(t, 3)
	q := Question{Name: "q", Timeout: 20 * time.Second}
	asking := w[0].Of("/").StartAsk("r", q)
	answer(here, `[1]`)
	answer(there, `[]`)
	got := asking.Wait(t.Context())
	require.Equal(t, [4]int{2, 0, 1, 2}, [4]int{got.Asked, got.Left, got.Missing, len(got.All)})
	require.False(t, got.Late)

	// A node dies while its client is asked.
	asking = w[0].Of("/").StartAsk("r", q)
	answer(here, `["only"]`)
	there.Read()
	require.Eventually(t, func() bool { // its node has said so; else it is missing, not gone
		asking.mu.Lock()
		defer asking.mu.Unlock()
		return asking.result.Asked == 2
	}, wiretest.Patience, time.Millisecond)
	require.NoError(t, w[1].cfg.Cluster.Redis.Close())
	got = asking.Wait(t.Context())
	require.False(t, got.Late)
	require.Len(t, got.All, 1)
	require.Equal(t, `"only"`, string(got.All[0].Args.JSON))
	require.Equal(t, 1, got.Left, "of the node that is gone")
	w[0].knows(t, 1)
	require.Positive(t, w[0].ClusterStats().Partial)

	fetched := make(chan error, 1)
	w[0].IO.FetchSockets()(func(all []*socket.RemoteSocket, err error) {
		if len(all) != 1 {
			err = fmt.Errorf("%d sockets", len(all))
		}
		fetched <- err
	})
	require.NoError(t, <-fetched)
}

func TestClusterGoodbye(t *testing.T) {
	t.Parallel()
	w := nodes(t, redistest.Server(t), 3)
	w[2].Close()
	begun := time.Now()
	w[0].knows(t, 2)
	w[1].knows(t, 2)
	require.Less(t, time.Since(begun), 2*time.Second, "who says goodbye is not waited for")
}

func TestClusterDropsWhatIsMalformed(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	a := node(t, r, ClusterConfig{MaxMessage: 8 << 10})
	c, id := a.member(t, "r")
	bus := r.Client()
	say := func(channel, message string) {
		require.NoError(t, bus.Publish(context.Background(), channel, message).Err())
	}
	event := func(data string, rest ...string) string {
		return "\x93\xa1u\x83\xa4type\x02\xa4data" + data + "\xa3nsp\xa1/" + strings.Join(append(rest, "\x81\xa5rooms\x90")[:1], "")
	}
	bad := 0
	for _, m := range []string{
		"", "{", "\x90", "\x93", "\xc1", "\x93\xa1u", "\x93\x01\x80\x80", "\x93\xa1u\x80\x80", "\x93\xa1u\x90\x80",
		event("\x90"), event("\xc0"), event("\x91\x01"), event("\x91\xc0"), event("\x91\xa7connect"), event("\x91\xaadisconnect"), // clients close over such names
		event("\x92\xa1e\x82\xac_placeholder\xc3\xa3num\x07", "\x80")[:20], event("\x93\xa1e\xc4\x01x\x82\xac_placeholder\xc3\xa3num\x07"), // and over such placeholders
		event("\x92\xa1e\xdd\xff\xff\xff\xff"), event("\x92\xa1e" + strings.Repeat("\x91", 100) + "\xc0"), event("\x92\xa1e\x81\xc0\xc0"),
		event("\x91\xa1e", "\x81\xa5rooms\x01"), event("\x91\xa1e", "\x81\xa5rooms\x91\x90"), event("\x91\xa1e", "\x81\xa5flags\x01"), event("\x91\xa1e", "\xc0"),
		strings.Replace(event("\x91\xa1e"), "\x02", "\x04", 1), strings.Replace(event("\x91\xa1e"), "\x02", "\xc0", 1),
		event("\x92\xa1e\xda\x30\x00" + strings.Repeat("x", 0x3000)),    // too large
		event("\x92\xa1e\xdc\x1f\x00" + strings.Repeat("\xc0", 0x1f00)), // too large as text
	} {
		say("socket.io#/#", m)
		say("socket.io#/#r#", m)
		bad += 2
	}
	for _, m := range []string{
		"", "{}", "[]", "{\"type\":}", `{"type":"x"}`, `{"type":99}`, `{"type":-1}`, `{"type":2}`, `{"type":3,"rooms":["r"]}`, `{"type":4,"close":true}`, `{"type":5,"requestId":"x"}`,
		`{"type":7}`, `{"type":2,"opts":{"rooms":[]},"rooms":[null]}`, `{"type":2,"opts":{"rooms":[]},"rooms":[""]}`, `{"type":6,"data":[]}`, `{"type":6,"data":7}`, `{"type":6,"data":[1]}`,
		`{"type":7,"opts":{},"packet":{"data":["connect"]}}`, `{"type":7,"opts":{},"packet":{"data":[]}}`, `{"type":7,"opts":{},"packet":{"data":{}}}`, "\x81\xa4type\x09", "\xc1",
		strings.Repeat("[", 10_000),
	} {
		say("socket.io-request#/#", m)
		bad++
	}
	for _, m := range []string{"", "h", "x1234", "h" + strings.Repeat("x", 100)} {
		say("socket.io-heartbeat#/#", m)
		bad++
	}
	for _, m := range []string{"", "{}", "garbage", `{"requestId":"x","sockets":7}`} { // nobody asked
		say("socket.io-response#/#", m)
	}
	say("socket.io-heartbeat#/#", "afriend")
	a.knows(t, 2) // all before has been looked at
	require.Equal(t, int64(bad), a.ClusterStats().Malformed)
	say("socket.io#/#r#", event("\x91\xa4good", "\x81\xa5rooms\x91\xa1r"))
	c.Expect(`42["good"]`)
	alive(t, c)
	require.NotNil(t, a.lib(t, id))
}

// Malformed answers, and answers without a request, do no harm.
func TestClusterDropsBadAnswers(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	a := node(t, r, ClusterConfig{Timeout: 2 * time.Second})
	bus := r.Client()
	ps := bus.Subscribe(context.Background(), "socket.io-request#/#") // looks like a Node node
	defer ps.Close()
	_, err := ps.Receive(context.Background())
	require.NoError(t, err)
	a.knows(t, 2)
	var asked atomic.Int32
	go func() {
		for m := range ps.Channel() {
			asked.Add(1)
			id := strings.Split(strings.Split(m.Payload, `"requestId":"`)[1], `"`)[0]
			for _, answer := range []string{"{", "\xc1", `{"requestId":"` + id + `","clientCount":"x"}`, `{"requestId":"` + id + `","sockets":[7,{},{"id":"remote","rooms":["a",1],"handshake":{"query":{"a":["b"]},"headers":{"c":"d"}}}]}`} {
				bus.Publish(context.Background(), "socket.io-response#/#", answer)
			}
		}
	}()
	got := make(chan []*socket.RemoteSocket, 1)
	a.IO.FetchSockets()(func(all []*socket.RemoteSocket, err error) {
		if err == nil {
			got <- all
		}
	})
	all := <-got
	require.Len(t, all, 1)
	require.Equal(t, socket.SocketId("remote"), all[0].Id())
	require.ElementsMatch(t, []socket.Room{"a", "1"}, all[0].Rooms().Keys())
	require.Equal(t, []string{"b"}, all[0].Handshake().Query["a"])
	require.Equal(t, int64(3), a.ClusterStats().Malformed)
	require.Equal(t, int32(1), asked.Load())
}

// A node receives the casts to all rooms for the join window after another program was heard, and
// no longer. With a negative window it never does.
func TestClusterHearsAllRoomsForTheJoinWindow(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	a := node(t, r, ClusterConfig{JoinWindow: 500 * time.Millisecond, Heartbeat: 20 * time.Millisecond})
	never := node(t, r, ClusterConfig{JoinWindow: -1, Heartbeat: 20 * time.Millisecond})
	patterns := func() int { return strings.Count(r.Client().ClientList(t.Context()).Val(), " psub=1 ") }
	require.Zero(t, patterns())
	begun := time.Now()
	request := `{"uid":"emitter","type":2,"opts":{"rooms":["nobody"],"except":[]},"rooms":["r"]}`
	require.EqualValues(t, 2, r.Client().Publish(t.Context(), a.Of("/").cluster.requestChannel, request).Val())
	require.Eventually(t, func() bool { return patterns() == 1 }, wiretest.Patience, tick)
	require.Eventually(t, func() bool { return patterns() == 0 }, wiretest.Patience, tick)
	require.GreaterOrEqual(t, time.Since(begun), 500*time.Millisecond)
	require.Zero(t, a.ClusterStats().Malformed+never.ClusterStats().Malformed)
}
