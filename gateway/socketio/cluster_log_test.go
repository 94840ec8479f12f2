package socketio

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// logNodes starts nodes that log what they cast.
func logNodes(t testing.TB, r *redistest.Instance, n int) (all []*world) {
	t.Helper()
	for range n {
		all = append(all, node(t, r, ClusterConfig{Log: &LogConfig{AwayAfter: 5 * time.Second}})) // the machine may be busy
	}
	for _, w := range all {
		w.knows(t, n)
	}
	return all
}

// cast casts a number by the log, and waits for it.
func (w *world) castLogged(t testing.TB, number int, except string, rooms ...string) {
	t.Helper()
	outcome, err := w.Of("/").CastAndWait(t.Context(), LoggedCast{
		Rooms: rooms, Except: except, Name: "e", Build: func(d []byte) []byte { return fmt.Append(d, number) },
	})
	require.NoError(t, err)
	require.False(t, outcome.IsLocal)
}

// A logged cast reaches every member of its rooms on every node once, in one order, and nobody
// else.
func TestLoggedCastsReachEveryNode(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := logNodes(t, redistest.Server(t), n)
			require.True(t, w[0].Of("/").HasLog())
			here, _ := w[0].member(t, "red", "loud")
			there, _ := w[n-1].member(t, "red")
			both, _ := w[n-1].member(t, "red", "blue")
			other, _ := w[n-1].member(t, "blue")
			w[0].castLogged(t, 1, "", "red")
			w[n-1].castLogged(t, 2, "", "red")
			w[0].castLogged(t, 3, "loud", "red")
			w[n-1].castLogged(t, 4, "", "blue")
			w[0].castLogged(t, 5, "", "red")
			w[0].castLogged(t, 6, "", "blue")
			for name, c := range map[string]struct {
				client *wiretest.Client
				want   []int
			}{"here": {here, []int{1, 2, 5}}, "there": {there, []int{1, 2, 3, 5}}, "both": {both, []int{1, 2, 3, 4, 5, 6}}, "other": {other, []int{4, 6}}} {
				for _, number := range c.want {
					text, _ := cutOffset(t, c.client.Read())
					require.Equal(t, fmt.Sprintf(`42["e",%d]`, number), text, name)
				}
			}
			require.Zero(t, w[0].ClusterStats().Malformed+w[n-1].ClusterStats().Malformed)
		})
	}
}

// A node of another kind or version, which knows nothing of the log, hears what is logged, once.
func TestNodesWithoutALogHearWhatIsLogged(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	old, fresh := node(t, r, ClusterConfig{}), node(t, r, ClusterConfig{Log: &LogConfig{}})
	old.knows(t, 2)
	fresh.knows(t, 2)
	require.False(t, old.Of("/").HasLog())
	there, _ := old.member(t, "red")
	here, _ := fresh.member(t, "red")
	raw := r.Client().Subscribe(t.Context(), "socket.io#/#red#")
	_, err := raw.Receive(t.Context())
	require.NoError(t, err)
	fresh.castLogged(t, 1, "", "red")
	require.Equal(t, `42["e",1]`, there.Read())
	old.Of("/").Cast("red", "e", func(d []byte) []byte { return append(d, '2') })
	text, _ := cutOffset(t, here.Read())
	require.Equal(t, `42["e",1]`, text)
	for _, c := range []*wiretest.Client{there, here} {
		require.Equal(t, `42["e",2]`, c.Read())
	}
	m, err := raw.ReceiveMessage(t.Context())
	require.NoError(t, err)
	list, _, ok := jsonpack.Unpack(nil, []byte(m.Payload), 1<<20, busDepth)
	require.True(t, ok)
	require.Regexp(t, `^\["[^"]{6}",\{"type":2,"data":\["e",1\]\},\{"rooms":\["red"\]\},1,"[A-Z0-9]{8}","\d{16}"\]$`, string(list), "Node's adapter looks at the first three")
}

// CountAndWait counts the members on all nodes, and none of a user who is not there.
func TestLoggedCastsAreCounted(t *testing.T) {
	t.Parallel()
	w := logNodes(t, redistest.Server(t), 3)
	for i := range w {
		for range i + 1 {
			w[i].member(t, "user:ann")
		}
	}
	for room, want := range map[string]int{"user:ann": 6, "user:bob": 0} {
		for _, from := range w {
			reached, missing, outcome, err := from.Of("/").CountAndWait(t.Context(), LoggedCast{
				Rooms: []string{room}, Name: "e", Build: func(d []byte) []byte { return append(d, '1') },
			})
			require.NoError(t, err)
			require.Equal(t, []int{want, 0}, []int{reached, missing}, room)
			require.False(t, outcome.IsLocal)
		}
	}
}

// A cast that is too large for the cluster is refused, or reaches this node only.
func TestLoggedCastsAreBounded(t *testing.T) {
	t.Parallel()
	w := logNodes(t, redistest.Server(t), 2)
	here, _ := w[0].member(t, "red")
	there, _ := w[1].member(t, "red")
	large := LoggedCast{Rooms: []string{"red"}, Name: "e", Build: func(d []byte) []byte {
		return append(append(append(d, '"'), make600k()...), '"')
	}}
	_, err := w[0].Of("/").CastAndWait(t.Context(), large)
	require.ErrorIs(t, err, errTooLarge)
	before := w[0].ClusterStats().Unpublished
	w[0].Of("/").CastLogged(large)
	require.Len(t, here.Read(), 600<<10+len(`42["e",""]`))
	require.Equal(t, before+1, w[0].ClusterStats().Unpublished)
	w[0].castLogged(t, 1, "", "red")
	text, _ := cutOffset(t, there.Read())
	require.Equal(t, `42["e",1]`, text)
}

func make600k() []byte {
	b := make([]byte, 600<<10)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

// A server closes soon although Redis hangs, so that nothing that is missed can be read.
func TestALogClosesWhileRedisHangs(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	s := New(Config{Cluster: &ClusterConfig{Redis: r.Client(), Log: &LogConfig{}}})
	require.Eventually(t, func() bool { return s.LogStats().CatchUps > 0 }, wiretest.Patience, tick)
	r.Pause()
	defer r.Resume()
	s.cluster.bus.Restart() // it can not subscribe, and a catch-up waits for that
	s.cluster.catchUpNow.Notify()
	begun := time.Now()
	s.Close()
	require.Less(t, time.Since(begun), 5*time.Second)
}
