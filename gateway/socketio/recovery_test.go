package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// A returner is a client that can come back with its connection, as the official one does.
type returner struct {
	*wiretest.Client
	t      testing.TB
	sid    string
	pid    string
	offset string // the last text that an event ended with
}

// visit connects a client, with what it presents.
func (w *world) visit(t testing.TB, transport, auth string) *returner {
	t.Helper()
	c := &returner{Client: w.open(t, transport), t: t}
	c.Send("40" + auth)
	c.readConnect()
	return c
}

func (c *returner) readConnect() {
	c.t.Helper()
	p := c.Read()
	require.True(c.t, strings.HasPrefix(p, "40{"), p)
	var o struct{ Sid, Pid string }
	require.NoError(c.t, json.Unmarshal([]byte(p[2:]), &o))
	require.NotEmpty(c.t, o.Sid)
	c.sid, c.pid = o.Sid, o.Pid
}

// presents returns the auth with which the client comes back.
func (c *returner) presents() string {
	return fmt.Sprintf(`{"pid":%q,"offset":%q}`, c.pid, c.offset)
}

// hears reads events e with numbers and an offset.
func (c *returner) hears(numbers ...int) {
	c.t.Helper()
	for _, n := range numbers {
		text, offset := cutOffset(c.t, c.Read())
		require.Equal(c.t, fmt.Sprintf(`42["e",%d]`, n), text)
		c.offset = offset
	}
}

// cutOffset takes the offset from an event.
func cutOffset(t testing.TB, packet string) (text, offset string) {
	t.Helper()
	i := strings.LastIndex(packet, `,"`)
	require.Positive(t, i, packet)
	offset = strings.TrimSuffix(packet[i+2:], `"]`)
	_, ok := castlog.ParseOffset(offset)
	require.True(t, ok, packet)
	return packet[:i] + "]", offset
}

// enterRoom has the client's socket join a room, and waits until that is recorded.
func (w *world) enterRoom(t testing.TB, c *returner, room string) {
	t.Helper()
	s := w.socketOf(t, c.sid)
	require.Eventually(t, s.isRecorded.Load, wiretest.Patience, tick)
	_, ok := s.Join(room)
	require.True(t, ok)
	w.heard(t, room)
	w.recorded(t)
}

func (w *world) socketOf(t testing.TB, id string) *Socket {
	t.Helper()
	lib := w.lib(t, id)
	return linkOf(lib).socketOf(lib)
}

// recorded waits until everything is recorded.
func (w *world) recorded(t testing.TB) {
	t.Helper()
	r := w.cluster.recorder
	r.mu.Lock()
	last := r.added
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), wiretest.Patience)
	defer cancel()
	r.wait(ctx, last)
	require.NoError(t, ctx.Err())
}

// recordKeys lists the keys of records.
func recordKeys(t testing.TB, r *redistest.Instance) []string {
	t.Helper()
	keys, err := r.Client().Keys(t.Context(), "{socket.io:log}:conn:*").Result()
	require.NoError(t, err)
	return keys
}

// A client goes on with its connection: after its link was cut or while its node still believes in
// it, on the same node and on another one, over both transports.
func TestRecovery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, to  int
		isCut     bool
		transport string
	}{
		"cut, same node":      {0, 0, true, "websocket"},
		"cut, other node":     {0, 1, true, "websocket"},
		"believed, same node": {0, 0, false, "websocket"},
		"believed, other":     {0, 1, false, "websocket"},
		"polling, other":      {0, 1, false, "polling"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Server(t)
			w := logNodes(t, r, 2)
			ann := w[c.from].visit(t, c.transport, "")
			require.NotEmpty(t, ann.pid)
			w[c.from].enterRoom(t, ann, "red")
			w[1].castLogged(t, 1, "", "red")
			ann.hears(1)
			if c.isCut {
				ann.Abort()
				w[c.from].quiet(t)
				w[c.from].recorded(t)
			}
			w[0].castLogged(t, 2, "", "red")
			w[1].castLogged(t, 3, "", "blue")
			w[1].castLogged(t, 4, "", ann.sid)
			w[1].castLogged(t, 5, "red", "red")
			w[1].castLogged(t, 6, "blue", "red")
			back := w[c.to].visit(t, c.transport, ann.presents())
			require.Equal(t, []string{ann.sid, ann.pid}, []string{back.sid, back.pid})
			back.hears(2, 4, 6)
			w[0].castLogged(t, 7, "", "red")
			w[1].castLogged(t, 8, "", "red")
			back.hears(7, 8)
			if c.from != c.to {
				w[c.from].quiet(t)
			}
			again := w[1-c.to].visit(t, c.transport, back.presents())
			require.Equal(t, ann.sid, again.sid, "it comes back again, with nothing missed")
			w[0].castLogged(t, 9, "", "red")
			again.hears(9)
		})
	}
}

// The event under way ends before the CONNECT is answered, and none that was queued is served.
func TestTakeoverEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	for name, sameNode := range map[string]bool{"same node": true, "other node": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefix := strings.ReplaceAll(name, " ", "")
			begun, goOn := make(chan struct{}, 10), make(chan struct{})
			var mu sync.Mutex
			var served []string
			note := func(s string) {
				mu.Lock()
				defer mu.Unlock()
				served = append(served, s)
			}
			make1 := func() *world {
				cfg := ClusterConfig{Redis: r.Client(), Prefix: prefix, Log: &LogConfig{}}
				w := serve(t, &scene{
					event: func(_ *Socket, e *Event) {
						begun <- struct{}{}
						<-goOn
						note(string(e.Name))
					},
					connected:    func(*Socket) { note("connected") },
					disconnected: func(*Socket, string) { note("disconnected") },
				}, Config{Cluster: &cfg})
				w.heard(t, "")
				return w
			}
			a, b := make1(), make1()
			for _, w := range []*world{a, b} {
				w.Of("/").cluster.takeovers.answerWait = 20 * time.Millisecond
			}
			a.knows(t, 2)
			b.knows(t, 2)
			ann := a.visit(t, "websocket", "")
			a.enterRoom(t, ann, "red")
			a.castLogged(t, 1, "", "red")
			ann.hears(1)
			ann.Send(`42["first"]`, `42["second"]`)
			<-begun
			if sameNode {
				b = a
			}
			back := &returner{Client: b.open(t, "websocket"), t: t}
			back.Send("40" + ann.presents())
			former := a.socketOf(t, ann.sid)
			require.Eventually(t, func() bool { // the event may take longer than the answer to one question
				former.link.mu.Lock()
				defer former.link.mu.Unlock()
				return former.isTaken.Load() && len(former.link.onServed) >= 3
			}, wiretest.Patience, tick)
			close(goOn)
			back.readConnect()
			require.Equal(t, ann.sid, back.sid)
			require.Eventually(t, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(served) == 4
			}, wiretest.Patience, tick)
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, []string{"connected", "first", "disconnected", "connected"}, served)
		})
	}
}

// A node that neither answers nor is heard is waited for as long as an event may take; one that is
// heard and does not answer may be serving an event, and the client gets a new connection.
func TestTakeoverFromASilentNode(t *testing.T) {
	t.Parallel()
	for name, isHeard := range map[string]bool{"silent": false, "heard": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Server(t)
			w := node(t, r, ClusterConfig{Log: &LogConfig{AwayAfter: 5 * time.Second}, EventTimeout: 200 * time.Millisecond, Heartbeat: 20 * time.Millisecond})
			n := w.Of("/").cluster
			n.takeovers.answerWait = 10 * time.Millisecond
			const uid = "zombie"
			ps := r.Client().Subscribe(t.Context(), n.takeoverChannel(uid)) // so that Redis takes it for living
			t.Cleanup(func() { _ = ps.Close() })
			_, err := ps.Receive(t.Context())
			require.NoError(t, err)
			n.onHeartbeat([]byte(beatAlive + uid))
			ctx, stop := context.WithCancel(t.Context())
			var beats sync.WaitGroup
			beats.Go(func() {
				for isHeard && ctx.Err() == nil {
					n.onHeartbeat([]byte(beatAlive + uid))
					time.Sleep(tick)
				}
			})
			c := &connecting{presented: &castlog.PID{}}
			require.Empty(t, n.replays.beginTurn(ctx, c))
			begun := time.Now()
			why := n.endFormer(ctx, castlog.Taken{Former: uid, SocketID: "s"}, c)
			stop()
			beats.Wait()
			require.Equal(t, map[bool]string{true: refusedBusy, false: ""}[isHeard], why)
			require.GreaterOrEqual(t, time.Since(begun), 100*time.Millisecond, "it was waited for")
			require.Equal(t, !isHeard, c.hasTurn, "others come back while it waits")
		})
	}
}

// Of connections that present one pid at once, one has it, and the others are new.
func TestOneOfManyIsRecovered(t *testing.T) {
	t.Parallel()
	w := logNodes(t, redistest.Server(t), 3)
	ann := w[0].visit(t, "websocket", "")
	w[0].enterRoom(t, ann, "red")
	w[0].castLogged(t, 1, "", "red")
	ann.hears(1)
	ann.Abort()
	w[0].quiet(t)
	w[0].recorded(t)
	const many = 9
	back := make([]*returner, many)
	var wg sync.WaitGroup
	for i := range back {
		back[i] = &returner{Client: w[i%3].open(t, "websocket"), t: t}
	}
	for _, c := range back {
		wg.Go(func() { c.Send("40" + ann.presents()) })
	}
	wg.Wait()
	recovered := 0
	sids := map[string]bool{}
	for _, c := range back {
		c.readConnect()
		sids[c.sid] = true
		if c.sid == ann.sid {
			recovered++
			require.Equal(t, ann.pid, c.pid)
		} else {
			require.NotEqual(t, ann.pid, c.pid)
		}
	}
	require.Equal(t, 1, recovered)
	require.Len(t, sids, many)
}

// A client that presents anything else gets a clean new connection: another id and pid, no room,
// and nothing that was said before.
func TestRefusedRecovery(t *testing.T) {
	t.Parallel()
	type situation struct {
		w   []*world
		ann *returner
		r   *redistest.Instance
	}
	hidden := func(s situation) string { return s.ann.presents() }
	for name, c := range map[string]struct {
		before  func(t *testing.T, s situation)
		auth    func(s situation) string
		outcome string
	}{
		"no offset": {nil, func(s situation) string { return fmt.Sprintf(`{"pid":%q}`, s.ann.pid) }, "offset"},
		"numbers":   {nil, func(situation) string { return `{"pid":1,"offset":2}` }, "offset"},
		"a long offset": {nil, func(s situation) string {
			return fmt.Sprintf(`{"pid":%q,"offset":"%s"}`, s.ann.pid, strings.Repeat("1", 1000))
		}, "offset"},
		"a long pid": {nil, func(s situation) string {
			return fmt.Sprintf(`{"pid":"%s","offset":%q}`, strings.Repeat("1", 1000), s.ann.offset)
		}, "unknown"},
		"a forged pid": {nil, func(s situation) string {
			return fmt.Sprintf(`{"pid":"AAAAAAAAAAAAAAAAAAAAAA","offset":%q}`, s.ann.offset)
		}, "unknown"},
		"another epoch": {nil, func(s situation) string { return fmt.Sprintf(`{"pid":%q,"offset":"AAAAAAAA-1"}`, s.ann.pid) }, "offset"},
		"too high":      {nil, func(s situation) string { return fmt.Sprintf(`{"pid":%q,"offset":"%s999"}`, s.ann.pid, s.ann.offset) }, "offset"},
		"negative": {nil, func(s situation) string {
			return fmt.Sprintf(`{"pid":%q,"offset":"%s--1"}`, s.ann.pid, s.ann.offset[:8])
		}, "offset"},
		"after DISCONNECT": {func(t *testing.T, s situation) { s.ann.Send("41") }, hidden, "unknown"},
		"after an error":   {func(t *testing.T, s situation) { s.ann.Send("4x") }, hidden, "unknown"},
		"a server's disconnect": {func(t *testing.T, s situation) {
			s.w[0].socketOf(t, s.ann.sid).Disconnect(true)
		}, hidden, "unknown"},
		"a log that was cut": {func(t *testing.T, s situation) {
			s.ann.Abort()
			for i := range 1100 {
				s.w[1].Of("/").CastLogged(LoggedCast{Rooms: []string{"red"}, Name: "e", Build: func(d []byte) []byte { return fmt.Append(d, i) }})
			}
			s.w[1].castLogged(t, 9999, "", "red")
		}, hidden, "cut"},
		"too many messages": {func(t *testing.T, s situation) {
			s.ann.Abort()
			for i := range 1001 {
				s.w[1].Of("/").CastLogged(LoggedCast{Rooms: []string{[]string{"red", "blue"}[i%2]}, Name: "e", Build: func(d []byte) []byte { return fmt.Append(d, i) }})
			}
			s.w[1].castLogged(t, 9999, "", "red")
		}, hidden, "much"},
		"too many bytes": {func(t *testing.T, s situation) {
			s.ann.Abort()
			for range 6 {
				s.w[1].Of("/").CastLogged(LoggedCast{Rooms: []string{"red"}, Name: "e", Build: func(d []byte) []byte {
					return append(append(append(d, '"'), make600k()[:100<<10]...), '"')
				}})
			}
			s.w[1].castLogged(t, 9999, "", "red")
		}, hidden, "much"},
		"a node without records": {func(t *testing.T, s situation) {
			node(t, s.r, ClusterConfig{})
			s.w[0].knows(t, 3)
			s.w[1].knows(t, 3)
		}, hidden, "mixed"},
		"missed casts": {func(t *testing.T, s situation) {
			s.w[1].castLogged(t, 2, "", "green")
			require.Eventually(t, func() bool { return s.w[0].cluster.castLog.HeardNumber() == s.w[1].cluster.castLog.HeardNumber() }, wiretest.Patience, tick)
			s.w[0].cluster.recorder.noteMissed()
			s.w[0].recorded(t)
		}, hidden, "outage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Server(t)
			s := situation{w: logNodes(t, r, 2), r: r}
			s.ann = s.w[0].visit(t, "websocket", "")
			s.w[0].enterRoom(t, s.ann, "red")
			s.w[0].enterRoom(t, s.ann, "blue")
			s.w[1].castLogged(t, 1, "", "red")
			s.ann.hears(1)
			if c.before != nil {
				c.before(t, s)
			}
			s.ann.Abort()
			s.w[0].quiet(t)
			s.w[0].recorded(t)
			outcome := make(chan string, 1)
			s.w[1].main.admit = func(ctx context.Context, x *Socket, _ []byte) error {
				outcome <- x.Recover(ctx, Recovery{})
				return nil
			}
			back := s.w[1].visit(t, "websocket", c.auth(s))
			require.Equal(t, c.outcome, <-outcome)
			require.NotEqual(t, s.ann.sid, back.sid)
			require.NotEqual(t, s.ann.pid, back.pid)
			require.NotEmpty(t, back.pid)
			s.w[0].castLogged(t, 5, "", "red")
			s.w[0].castLogged(t, 6, "", back.sid)
			back.hears(6)
		})
	}
}

// A connection is recovered for its owner only, without the rooms in which it may not be any more,
// and not at all when that is not known.
func TestRecoveryIsJudged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		owner   string
		judge   func(context.Context, string, []string) ([]string, error)
		outcome string
		heard   []int
	}{
		"nobody judges": {"ann", nil, Recovered, []int{2, 3, 4}},
		"another owner": {"bob", nil, "owner", nil},
		"a kick":        {"ann", func(context.Context, string, []string) ([]string, error) { return []string{"red"}, nil }, Recovered, []int{3}},
		"not known": {"ann", func(context.Context, string, []string) ([]string, error) {
			return nil, errors.New("away")
		}, refusedRights, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := logNodes(t, redistest.Server(t), 2)
			w[0].main.admit = func(ctx context.Context, s *Socket, _ []byte) error {
				require.Empty(t, s.Recover(ctx, Recovery{Owner: "ann"}))
				return nil
			}
			ann := w[0].visit(t, "websocket", "")
			w[0].enterRoom(t, ann, "red")
			w[0].enterRoom(t, ann, "blue")
			w[0].castLogged(t, 1, "", "red")
			ann.hears(1)
			ann.Abort()
			w[0].quiet(t)
			w[0].recorded(t)
			w[0].castLogged(t, 2, "", "red")
			w[0].castLogged(t, 3, "", "blue")
			outcome := make(chan string, 1)
			w[1].main.admit = func(ctx context.Context, s *Socket, _ []byte) error {
				outcome <- s.Recover(ctx, Recovery{Owner: c.owner, Judge: c.judge})
				return nil
			}
			back := w[1].visit(t, "websocket", ann.presents())
			require.Equal(t, c.outcome, <-outcome)
			require.Equal(t, c.outcome == Recovered, back.sid == ann.sid)
			w[0].castLogged(t, 4, "", "red")
			w[0].castLogged(t, 5, "", back.sid)
			back.hears(append(c.heard, 5)...)
		})
	}
}

// A record has at most 400 bytes, is not written while its connection idles, lives two minutes
// after an end or after the death of its node, and is gone at once where nobody may go on with it.
func TestRecords(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := logNodes(t, r, 2)
	ann := w[0].visit(t, "websocket", "")
	w[0].enterRoom(t, ann, "user:u-0123456789")
	w[0].enterRoom(t, ann, "chat:global")
	w[0].enterRoom(t, ann, "chat:guild:0123456789")
	keys := recordKeys(t, r)
	require.Len(t, keys, 1)
	require.NotContains(t, keys[0], ann.pid, "the pid is not stored")
	rdb := r.Client()
	size, err := rdb.MemoryUsage(t.Context(), keys[0]).Result()
	require.NoError(t, err)
	t.Logf("a record takes %d bytes", size)
	require.LessOrEqual(t, size, int64(400))
	require.Equal(t, time.Duration(-1), rdb.TTL(t.Context(), keys[0]).Val(), "it lives as long as the connection")
	bob := w[0].visit(t, "websocket", "")
	require.Eventually(t, func() bool { return len(recordKeys(t, r)) == 2 }, wiretest.Patience, tick)
	bob.Send("41")
	require.Eventually(t, func() bool { return len(recordKeys(t, r)) == 1 }, wiretest.Patience, tick)
	bob.Abort()
	ann.Abort()
	w[0].quiet(t)
	w[0].recorded(t)
	require.InDelta(t, 2*time.Minute, rdb.PTTL(t.Context(), keys[0]).Val(), float64(5*time.Second))
	require.Zero(t, rdb.Exists(t.Context(), "{socket.io:log}:held:"+w[0].cluster.uid).Val())
	w[0].castLogged(t, 1, "", ann.sid)
	offset := string(w[0].cluster.castLog.Position().AppendOffset(nil))
	back := w[1].visit(t, "websocket", fmt.Sprintf(`{"pid":%q,"offset":%q}`, ann.pid, offset))
	require.Equal(t, ann.sid, back.sid)
	require.Equal(t, time.Duration(-1), rdb.PTTL(t.Context(), keys[0]).Val())

	alive, dead := "{socket.io:log}:alive", w[1].cluster.uid
	w[1].cluster.castLog.Close() // it does not call any more
	now := rdb.Time(t.Context()).Val()
	require.NoError(t, rdb.Do(t.Context(), "ZADD", alive, now.Add(-20*time.Second).UnixMilli(), dead).Err())
	_, err = w[0].cluster.castLog.SweepRecords(t.Context())
	require.NoError(t, err)
	require.InDelta(t, 100*time.Second, rdb.PTTL(t.Context(), keys[0]).Val(), float64(5*time.Second))
	w[1].cluster.recorder.sweepRecords() // it was not dead
	w[1].recorded(t)
	require.Equal(t, time.Duration(-1), rdb.PTTL(t.Context(), keys[0]).Val())
}

// An event that ends with a text is sent with the position behind it, where a client would take the
// text for an offset; others stay as they are. Without a log nothing changes.
func TestTextsAreNoOffsets(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	for name, log := range map[string]*LogConfig{"log": {}, "no log": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := node(t, r, ClusterConfig{Prefix: strings.ReplaceAll(name, " ", ""), Log: log})
			b := node(t, r, ClusterConfig{Prefix: strings.ReplaceAll(name, " ", ""), Log: log})
			a.knows(t, 2)
			if log != nil {
				require.Eventually(t, func() bool { return !a.cluster.castLog.Position().IsZero() && !b.cluster.castLog.Position().IsZero() }, wiretest.Patience, tick)
			}
			c := a.visit(t, "websocket", "")
			require.Equal(t, log != nil, c.pid != "")
			s := a.socketOf(t, c.sid)
			s.Join("red")
			a.heard(t, "red")
			reads := func(want string, hasOffset bool) {
				t.Helper()
				got := c.Read()
				if hasOffset && log != nil {
					got, _ = cutOffset(t, got)
				}
				require.Equal(t, want, got)
			}
			text := func(d []byte) []byte { return append(d, `"hello"`...) }
			object := func(d []byte) []byte { return append(d, `{"a":"b"}`...) }
			require.NoError(t, s.Emit("x", "hello"))
			reads(`42["x","hello"]`, true)
			require.NoError(t, s.Emit("x"))
			reads(`42["x"]`, true)
			require.NoError(t, s.Emit("x", map[string]string{"a": "b"}))
			reads(`42["x",{"a":"b"}]`, false)
			require.NoError(t, s.EmitVolatile("x", "hello"))
			reads(`42["x","hello"]`, true)
			for _, from := range []*world{a, b} {
				n := from.Of("/")
				n.Cast("red", "x", text)
				reads(`42["x","hello"]`, true)
				n.Cast("red", "x", object)
				reads(`42["x",{"a":"b"}]`, false)
				n.CastEach([]string{"red", "blue"}, "x", text)
				reads(`42["x","hello"]`, true)
				n.CastArgs("red", "", "x", Args{JSON: []byte(`1,"hello"`)})
				reads(`42["x",1,"hello"]`, true)
				_ = n.Library().To("red").Emit("x", "hello")
				reads(`42["x","hello"]`, true)
			}
			a.Of("/").CastAll("x", Args{JSON: []byte(`"hello"`)})
			reads(`42["x","hello"]`, true)
			require.NoError(t, s.EmitWithPosition("x", Args{JSON: []byte(`1`)}))
			reads(`42["x",1]`, true)
		})
	}
}

// A slow consumer and a drain leave a connection with which its client goes on.
func TestRecoverableEnds(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{engineio.ReasonSlowConsumer, engineio.ReasonShutdown, engineio.ReasonPingTimeout, engineio.ReasonTransportError, engineio.ReasonTransportClose} {
		require.True(t, isRecoverable(reason), reason)
	}
	for _, reason := range []string{engineio.ReasonParseError, engineio.ReasonForcedClose, "client namespace disconnect", "server namespace disconnect", "rate limited"} {
		require.False(t, isRecoverable(reason), reason)
	}
	r := redistest.Server(t)
	w := logNodes(t, r, 2)
	ann := w[0].visit(t, "websocket", "")
	w[0].enterRoom(t, ann, "red")
	w[1].castLogged(t, 1, "", "red")
	ann.hears(1)
	w[0].Close()
	w[1].castLogged(t, 2, "", "red")
	back := w[1].visit(t, "websocket", ann.presents())
	require.Equal(t, ann.sid, back.sid)
	back.hears(2)
	require.Empty(t, r.Client().Keys(t.Context(), "{socket.io:log}:held:"+w[0].cluster.uid).Val())
}

// Many who come back to a room read its log once, and each gets what it missed, while the room goes
// on.
func TestManyReturnToOneRead(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := logNodes(t, r, 2)
	const many = 40
	all := make([]*returner, many)
	for i := range all {
		all[i] = w[0].visit(t, "websocket", "")
		w[0].enterRoom(t, all[i], "red")
	}
	w[1].castLogged(t, 0, "", "red")
	for _, c := range all {
		c.hears(0)
		c.Abort()
	}
	w[0].quiet(t)
	w[0].recorded(t)
	const casts = 100
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for i := range casts {
			w[i%2].castLogged(t, i+1, "", "red")
		}
	})
	back := make([]*returner, many)
	for i := range back {
		wg.Go(func() {
			back[i] = &returner{Client: w[1].open(t, "websocket"), t: t}
			back[i].Send("40" + all[i].presents())
		})
	}
	wg.Wait()
	for i, c := range back {
		c.readConnect()
		require.Equal(t, all[i].sid, c.sid)
		for n := range casts {
			c.hears(n + 1)
		}
	}
}

// A client that left before an outage of Redis goes on, and is sent what was said in the outage. A
// client that heard something without a position does not go on.
func TestWhoLeftBeforeAnOutageComesBack(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := logNodes(t, r, 2)
	ann, bob := w[0].visit(t, "websocket", ""), w[0].visit(t, "websocket", "")
	w[0].enterRoom(t, ann, "red")
	w[0].enterRoom(t, bob, "red")
	for round := range 2 { // an outage that is over counts for nobody who came later
		first := 10 * round
		w[1].castLogged(t, first+1, "", "red")
		ann.hears(first + 1)
		bob.hears(first + 1)
		left := w[0].socketOf(t, bob.sid)
		bob.Abort()
		require.Eventually(t, func() bool {
			left.mu.Lock()
			defer left.mu.Unlock()
			return left.isGone
		}, wiretest.Patience, tick)

		r.Pause()
		outcome, err := w[0].Of("/").CastAndWait(t.Context(), LoggedCast{
			Rooms: []string{"red"}, Name: "e", Build: func(d []byte) []byte { return fmt.Append(d, first+2) },
		})
		require.NoError(t, err)
		require.True(t, outcome.IsLocal)
		require.Equal(t, fmt.Sprintf(`42["e",%d]`, first+2), ann.Read(), "without a position")
		ann.Abort()
		w[0].quiet(t)
		r.Resume()
		w[0].recorded(t)
		require.Eventually(t, func() bool { _, ok := w[0].cluster.castLog.OutageEnd(); return ok }, wiretest.Patience, tick)
		w[1].castLogged(t, first+3, "", "red")

		outcomes := make(chan string, 1)
		for _, x := range w {
			x.main.admit = func(ctx context.Context, s *Socket, _ []byte) error {
				outcomes <- s.Recover(ctx, Recovery{})
				return nil
			}
		}
		bobAgain := w[1-round].visit(t, "websocket", bob.presents())
		require.Equal(t, Recovered, <-outcomes)
		bobAgain.hears(first+2, first+3)
		require.Equal(t, bob.sid, bobAgain.sid)
		annAgain := w[0].visit(t, "websocket", ann.presents())
		require.Equal(t, "outage", <-outcomes)
		require.NotEqual(t, ann.sid, annAgain.sid)
		w[0].enterRoom(t, annAgain, "red")
		if ann = annAgain; round == 0 {
			bobAgain.Abort()
			w[1].quiet(t)
			bob = w[0].visit(t, "websocket", bobAgain.presents())
			require.Equal(t, Recovered, <-outcomes)
		}
	}
}

// visitAs connects a client that may be refused what it presents, and returns what became of that.
func (w *world) visitAs(t testing.TB, auth string) (c *returner, outcome string) {
	t.Helper()
	outcomes := make(chan string, 1)
	w.main.admit = func(ctx context.Context, s *Socket, _ []byte) error {
		outcomes <- s.Recover(ctx, Recovery{})
		return nil
	}
	c = w.visit(t, "websocket", auth)
	return c, <-outcomes
}

// A network that flaps: a client comes back, its link breaks within a second so that its node sees
// nothing of it, and it comes back again, with the same offset. Whoever presents the connection of
// a client that is still there is a new one.
func TestAClientComesBackTwiceInASecond(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ first, second int }{"same node": {0, 0}, "other node": {0, 1}, "back and forth": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := logNodes(t, redistest.Server(t), 2)
			ann := w[0].visit(t, "websocket", "")
			w[0].enterRoom(t, ann, "red")
			w[0].castLogged(t, 1, "", "red")
			ann.hears(1)
			silent, err := wiretest.Silent(t, w[c.first].url, "websocket") // nothing comes from it any more
			require.NoError(t, err)
			silent.Send("40" + ann.presents())
			require.Eventually(t, func() bool {
				s := w[c.first].findSocket(ann.sid)
				return s != nil && s.generation == 1 && s.isRecorded.Load()
			}, wiretest.Patience, tick)
			w[0].castLogged(t, 2, "", "red")
			back, outcome := w[c.second].visitAs(t, ann.presents())
			require.Equal(t, Recovered, outcome)
			require.Equal(t, ann.sid, back.sid)
			back.hears(2)
			for _, x := range w {
				twin, outcome := x.visitAs(t, ann.presents())
				require.Equal(t, "busy", outcome)
				require.NotEqual(t, ann.sid, twin.sid)
			}
			w[1].castLogged(t, 3, "", "red")
			back.hears(3)
		})
	}
}

// findSocket returns the socket of an id, or nil.
func (w *world) findSocket(id string) *Socket {
	n := w.Of("/").rooms
	n.mu.RLock()
	defer n.mu.RUnlock()
	if m := n.members[socket.SocketId(id)]; m != nil {
		return m.socket
	}
	return nil
}

// A node to which a client comes back has heard what the client has heard. Else it would deliver
// that again.
func TestANodeHasHeardWhatAReturnerHas(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := logNodes(t, r, 2)
	ann, bob := w[0].visit(t, "websocket", ""), w[0].visit(t, "websocket", "")
	w[0].enterRoom(t, ann, "red")
	w[0].enterRoom(t, bob, "red")
	w[0].castLogged(t, 1, "", "red")
	ann.hears(1)
	bob.hears(1)
	_, outcome := w[1].visitAs(t, bob.presents()) // it has the room's log now
	require.Equal(t, Recovered, outcome)
	ahead, err := r.Client().HIncrBy(t.Context(), "{socket.io:log}:head", "position", 100).Result() // casts to rooms of other nodes
	require.NoError(t, err)
	at, _ := castlog.ParseOffset(ann.offset)
	at.Number = ahead
	ann.offset = string(at.AppendOffset(nil))
	var heard int64
	w[1].main.connected = func(*Socket) { heard = w[1].cluster.castLog.HeardNumber() }
	_, outcome = w[1].visitAs(t, ann.presents())
	require.Equal(t, Recovered, outcome)
	require.GreaterOrEqual(t, heard, ahead)
}

// A client that was told that it is in a room before Redis knew it is not recovered without it.
func TestAJoinThatIsNotRecorded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		to    int
		isCut bool
	}{"same node": {0, false}, "other node": {1, false}, "same node, cut": {0, true}, "other node, cut": {1, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := logNodes(t, redistest.Server(t), 2)
			ann := w[0].visit(t, "websocket", "")
			w[0].enterRoom(t, ann, "red")
			w[0].castLogged(t, 1, "", "red")
			ann.hears(1)
			recorder := w[0].cluster.recorder
			recorder.stop() // it is late
			<-recorder.stopped
			s := w[0].socketOf(t, ann.sid)
			_, ok := s.Join("blue")
			require.True(t, ok)
			s.WaitRecorded(t.Context())
			if c.isCut {
				ann.Abort()
				w[0].quiet(t)
			}
			back, outcome := w[c.to].visitAs(t, ann.presents())
			require.Equal(t, refusedLate, outcome)
			require.NotEqual(t, ann.sid, back.sid)
		})
	}
}

// When another connection goes on with a record, the connection that had it is closed, and not the
// one that has it now.
func TestOnlyTheFormerConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	w := logNodes(t, redistest.Server(t), 1)
	ann := w[0].visit(t, "websocket", "")
	w[0].enterRoom(t, ann, "red")
	w[0].castLogged(t, 1, "", "red")
	ann.hears(1)
	back, outcome := w[0].visitAs(t, ann.presents())
	require.Equal(t, Recovered, outcome)
	s := w[0].socketOf(t, ann.sid)
	w[0].cluster.recorder.add(castlog.RecordChange{What: castlog.RecordJoin, PID: s.pid, Generation: 0, Values: []string{"/#blue", "1"}})
	w[0].recorded(t)
	w[0].castLogged(t, 2, "", "red")
	back.hears(2)
	require.False(t, s.isTaken.Load())
}

// A connection begins while a cast of its node is being delivered: neither waits for the other.
func TestAConnectionBeginsDuringADelivery(t *testing.T) {
	t.Parallel()
	w := logNodes(t, redistest.Server(t), 1)[0]
	_, _ = w.member(t, "red")
	isConnected := make(chan struct{})
	w.main.connected = func(*Socket) { close(isConnected) }
	slow := &slowMembers{rooms: w.Of("/").rooms, begun: make(chan struct{}), goOn: make(chan struct{}), done: make(chan struct{})}
	message, ok := w.Of("/").cluster.appendBroadcastHead(nil, []byte(`["e",1]`), nil)
	require.True(t, ok)
	message[0] = loggedHead
	_, err := w.cluster.castLog.Append(castlog.Cast{
		Rooms: []string{"/#red"}, Channels: []string{"socket.io#/#red#"}, Message: target{rooms: []socket.Room{"red"}}.appendTo(message), Members: slow,
	}, false)
	require.NoError(t, err)
	<-slow.begun
	c := w.open(t, "websocket")
	c.Send("40")
	<-isConnected
	for range 100 { // it must not hold the rooms while it waits for the log
		if !slow.rooms.mu.TryRLock() {
			time.Sleep(tick)
			continue
		}
		slow.rooms.mu.RUnlock()
		time.Sleep(tick)
	}
	close(slow.goOn)
	select {
	case <-slow.done:
	case <-time.After(wiretest.Patience):
		require.Fail(t, "the delivery waits for the connection, and the connection for the delivery")
	}
	c.Read()
}

// slowMembers are members to whom a cast is delivered slowly.
type slowMembers struct {
	rooms             *rooms
	begun, goOn, done chan struct{}
}

func (m *slowMembers) Deliver(castlog.Position) {
	close(m.begun)
	<-m.goOn
	m.rooms.mu.RLock() // as castToRoom does
	defer m.rooms.mu.RUnlock()
	close(m.done)
}
func (m *slowMembers) HasMembers() bool { return true }
func (m *slowMembers) Release()         {}
