package castlog_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A tappedClient is a client whose commands and replies a test sees.
type tappedClient struct {
	*redis.Client
	// onCall is called with the bytes of each command, before they are sent.
	onCall atomic.Pointer[func(command []byte)]
	// onReply is called when a reply has come, before the client reads it. When it returns false the
	// reply is lost with its connection.
	onReply atomic.Pointer[func() bool]
}

func newTappedClient(t *testing.T, server *redistest.Instance, change ...func(*redis.Options)) *tappedClient {
	t.Helper()
	c := &tappedClient{}
	o := *server.Client().(*redis.Client).Options()
	o.MaxRetries = 1 // as that of a gateway
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &tappedConn{Conn: conn, client: c}, err
	}
	for _, f := range change {
		f(&o)
	}
	c.Client = redis.NewClient(&o)
	t.Cleanup(func() { _ = c.Close() }) // nothing more is wanted of it
	return c
}

type tappedConn struct {
	net.Conn
	client *tappedClient
	isLost bool
}

func (c *tappedConn) Write(b []byte) (int, error) {
	if f := c.client.onCall.Load(); f != nil {
		(*f)(b)
	}
	return c.Conn.Write(b)
}

func (c *tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if f := c.client.onReply.Load(); f != nil && n > 0 && !(*f)() {
		c.isLost = true
	}
	if c.isLost {
		return 0, io.EOF
	}
	return n, err
}

// atNextReply calls f once, when the next reply has come to a command that has a text in it, which
// is lost unless f returns true.
func (c *tappedClient) atNextReply(text string, f func() bool) {
	isSent := atomic.Bool{}
	onCall := func(command []byte) {
		if bytes.Contains(command, []byte(text)) {
			isSent.Store(true)
		}
	}
	onReply := func() bool {
		if !isSent.Load() {
			return true
		}
		c.onCall.Store(nil)
		c.onReply.Store(nil)
		return f()
	}
	c.onReply.Store(&onReply)
	c.onCall.Store(&onCall)
}

// A movingRedis is one server that plays two: what it had when it was copied is what the second one
// has.
type movingRedis struct {
	server *redistest.Instance
	rdb    redis.UniversalClient
	copied map[string]string
	nodes  []*node

	isMoved atomic.Bool
}

// newMovingRedis returns nodes that each have heard "1", which the second server has.
func newMovingRedis(t *testing.T, nodes func(m *movingRedis) []*node) *movingRedis {
	t.Helper()
	m := &movingRedis{server: redistest.Server(t)}
	m.rdb = m.server.Client()
	m.nodes = nodes(m)
	require.False(t, m.nodes[0].say(t, "1").IsLocal)
	for _, n := range m.nodes {
		require.Eventually(t, func() bool { return len(n.texts()) == 1 && n.Stats().Waiting == 0 }, 10*time.Second, pause)
	}
	m.copied = dump(t, m.rdb)
	return m
}

// move lets the second server answer, to all nodes at once.
func (m *movingRedis) move(t *testing.T) {
	restore(t, m.rdb, m.copied)
	for _, n := range m.nodes {
		n.server.Store("server 2")
	}
	m.isMoved.Store(true)
}

// waitBrought waits until the second server has as many casts.
func (m *movingRedis) waitBrought(t *testing.T, count int) {
	t.Helper()
	require.Eventually(t, func() bool { return m.isMoved.Load() && len(m.entries(t)) == count }, 15*time.Second, pause)
}

// entries returns what the log has.
func (m *movingRedis) entries(t *testing.T) []string {
	t.Helper()
	entries, err := m.rdb.LRange(t.Context(), "{test:log}:room:r", 0, -1).Result()
	require.NoError(t, err)
	return entries
}

func (m *movingRedis) logged(t *testing.T) (texts []string) {
	t.Helper()
	for _, e := range m.entries(t) {
		texts = append(texts, textOf([]byte(e)))
	}
	return texts
}

// expect waits until the log and all nodes have the texts, in this order.
func (m *movingRedis) expect(t *testing.T, want ...string) {
	t.Helper()
	m.waitBrought(t, len(want))
	require.Equal(t, want, m.logged(t), "the log")
	for _, n := range m.nodes {
		require.Eventually(t, func() bool { return len(n.texts()) >= len(want) }, 10*time.Second, pause)
		require.Equal(t, want, n.texts(), n.name)
	}
}

// hearEntry lets a node hear an entry of a log as it was published.
func (n *node) hearEntry(entry string) bool {
	message := []byte(entry)
	sequence, at, ok := castlog.ReadTail(message)
	origin, _, _ := bytes.Cut(message, []byte(" "))
	return ok && n.Hear(origin, sequence, at, message, nil)
}

// A node does not know whether the former server took its last cast: the answer is lost, and the
// second server answers when it asks again. Others heard the cast, and so it has the place at which
// they heard it.
func TestACastWhoseAnswerIsLostKeepsItsPlace(t *testing.T) {
	t.Parallel()
	var tapped *tappedClient
	m := newMovingRedis(t, func(m *movingRedis) []*node {
		tapped = newTappedClient(t, m.server)
		a := openNode(t, m.rdb, "a", func(c *castlog.Config) { c.Redis = tapped.Client })
		return []*node{a, openNode(t, m.rdb, "b")}
	})
	a, b := m.nodes[0], m.nodes[1]
	a.BeginCatchUp() // its subscription ends with its other connections
	tapped.atNextReply("a 2", func() bool {
		require.Eventually(t, func() bool { return contains(b.texts(), "2") }, 10*time.Second, pause)
		b.say(t, "3")
		m.move(t)
		return false
	})
	_, err := a.Append(a.cast("2"), false)
	require.NoError(t, err)
	m.waitBrought(t, 3)
	a.catchUp(t)
	m.expect(t, "1", "2", "3")
}

// A node for which the former server was away has waited for nothing before it brings what the
// second one lacks: the others wait for that.
func TestWhoWasCutOffBringsFirst(t *testing.T) {
	t.Parallel()
	var wire *redistest.Wire
	m := newMovingRedis(t, func(m *movingRedis) []*node {
		wire = redistest.Toxic(t, m.server)
		o, err := redis.ParseURL(wire.URL())
		require.NoError(t, err)
		o.MaintNotificationsConfig = quiet
		over := redis.NewClient(o)
		t.Cleanup(func() { _ = over.Close() })
		a := openNode(t, m.rdb, "a", soonAway, func(c *castlog.Config) { c.Redis = over })
		return []*node{a, openNode(t, m.rdb, "b")}
	})
	a, b := m.nodes[0], m.nodes[1]
	require.False(t, a.say(t, "2").IsLocal)
	require.False(t, b.say(t, "3").IsLocal)
	wire.Refuse()
	require.True(t, a.say(t, "4").IsLocal)
	require.True(t, a.IsAway())
	m.move(t)
	require.Eventually(t, func() bool { return b.Stats().Again == 1 }, 10*time.Second, pause)
	require.Equal(t, []string{"1"}, m.logged(t), "a is waited for")
	wire.Mend()
	m.expect(t, "1", "2", "3", "4")
}

// What a node reads of the former server when it has told what it heard of it, it does not deliver:
// nobody would know. It hears that from the second one.
func TestWhatComesLateOfTheFormerServer(t *testing.T) {
	t.Parallel()
	var tapped *tappedClient
	m := newMovingRedis(t, func(m *movingRedis) []*node {
		tapped = newTappedClient(t, m.server)
		a := openNode(t, m.rdb, "a", func(c *castlog.Config) { c.Redis = tapped.Client })
		return []*node{a, openNode(t, m.rdb, "b")}
	})
	a, b := m.nodes[0], m.nodes[1]
	a.BeginCatchUp()
	b.stopListening()
	late := ""
	tapped.atNextReply("a 2", func() bool {
		entries := m.entries(t)
		late = entries[len(entries)-1]
		p, err := b.Append(b.cast("3"), false)
		require.NoError(t, err)
		require.NotNil(t, p)
		require.Eventually(t, func() bool { return b.Stats().Appended == 1 }, 10*time.Second, pause)
		m.move(t)
		return false
	})
	_, err := a.Append(a.cast("2"), false)
	require.NoError(t, err)
	m.waitBrought(t, 3)
	require.Equal(t, "2", textOf([]byte(late)))
	b.hearEntry(late)
	b.listen(t, m.rdb)
	a.catchUp(t)
	m.expect(t, "1", "3", "2") // nobody heard 2 in time
}

// A node hears its own cast of the former server while it brings it to the second one, which then
// learns of its place.
func TestWhatIsHeardWhileItIsBroughtKeepsItsPlace(t *testing.T) {
	t.Parallel()
	var tapped *tappedClient
	m := newMovingRedis(t, func(m *movingRedis) []*node {
		tapped = newTappedClient(t, m.server)
		a := openNode(t, m.rdb, "a", func(c *castlog.Config) { c.Redis = tapped.Client })
		return []*node{a, openNode(t, m.rdb, "b")}
	})
	a, b := m.nodes[0], m.nodes[1]
	a.stopListening()
	b.stopListening()
	tapped.atNextReply("a 2", func() bool {
		entries := m.entries(t)
		_, err := b.Append(b.cast("3"), false)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return b.Stats().Appended == 1 }, 10*time.Second, pause)
		m.move(t)
		tapped.atNextReply("\r\nagain\r\n", func() bool {
			require.True(t, a.hearEntry(entries[len(entries)-1]))
			return true
		})
		return false
	})
	_, err := a.Append(a.cast("2"), false)
	require.NoError(t, err)
	m.waitBrought(t, 3)
	require.Equal(t, []string{"1", "2"}, a.texts())
	a.listen(t, m.rdb)
	b.listen(t, m.rdb)
	m.expect(t, "1", "2", "3")
}

// A node that hears the second server does not take a cast for one that it was not to hear while
// the others have not brought theirs.
func TestWhatWaitsForOthersIsHeard(t *testing.T) {
	t.Parallel()
	deaf := atomic.Int64{}
	m := newMovingRedis(t, func(m *movingRedis) []*node {
		return []*node{openNode(t, m.rdb, "a", soonAway, func(c *castlog.Config) { c.OnDeaf = func() { deaf.Add(1) } })}
	})
	a := m.nodes[0]
	a.stopListening()
	require.NotZero(t, a.say(t, "2").At.Number)
	require.Equal(t, []string{"1"}, a.texts())
	begun := time.Now()
	m.move(t)
	now := float64(time.Now().UnixMilli())
	require.NoError(t, m.rdb.ZAdd(t.Context(), "{test:log}:alive", redis.Z{Score: now, Member: "a node that is slow"}).Err())
	a.listen(t, m.rdb)
	require.Eventually(t, func() bool { return a.Stats().Again == 1 }, 10*time.Second, pause)
	heard := deaf.Load()
	require.Never(t, func() bool { return len(a.texts()) > 1 }, 2*time.Second, pause, "the other node is waited for")
	require.Equal(t, heard, deaf.Load(), "nothing is to be heard yet")
	m.expect(t, "1", "2")
	require.GreaterOrEqual(t, time.Since(begun), 3900*time.Millisecond, "nodes have 4 s to come")
}

// A call comes to the server that it names: nothing that is meant for the former one is sent over a
// connection to the second one.
func TestACallComesToTheServerThatItNames(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	admin := server.Client()
	var a *node
	isMoving, isMoved, wrong := atomic.Bool{}, atomic.Bool{}, atomic.Int64{}
	tapped := newTappedClient(t, server, func(o *redis.Options) {
		o.OnConnect = func(context.Context, *redis.Conn) error { // as the monitor of moves does
			if isMoving.Load() {
				a.server.Store("server 2")
				isMoved.Store(true)
			}
			return nil
		}
	})
	a = openNode(t, admin, "a", func(c *castlog.Config) { c.Redis = tapped.Client })
	require.Equal(t, int64(1), a.say(t, "1").At.Number)
	onCall := func(command []byte) {
		if isMoved.Load() && bytes.Contains(command, []byte("server 1")) {
			wrong.Add(1)
		}
	}
	tapped.onCall.Store(&onCall)
	isMoving.Store(true)
	require.NoError(t, admin.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err())
	a.say(t, "2") // whose outcome was unknown
	require.Greater(t, a.say(t, "3").At.Number, int64(1<<20), "the second server begins far above")
	require.True(t, isMoved.Load())
	require.Zero(t, wrong.Load())
	require.Equal(t, []string{"1", "2", "3"}, a.texts())
}
