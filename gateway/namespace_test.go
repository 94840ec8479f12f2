package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// withQuests adds the namespace /quests, with the events quest:add and quest:limited.
func withQuests(c *Config) {
	add := func(_ context.Context, _ event.Player, in sum) (total, error) { return total{in.A + in.B}, nil }
	for _, r := range []event.Route{event.On("quest:add", add), event.On("quest:limited", add).Limit("combat")} {
		r.Namespace = "/quests"
		c.Routes = append(c.Routes, r)
	}
	c.Namespaces = []string{"/quests"}
}

// enterQuests connects a client to /quests, and reads what greets it.
func enterQuests(t testing.TB, c *wiretest.Client, user string) (conn string) {
	t.Helper()
	conn = c.Connect("/quests", `{"sessionId":"s-`+user+`"}`)
	require.True(t, strings.HasPrefix(c.Read(), `42/quests,["session",`))
	require.True(t, strings.HasPrefix(c.Read(), `42/quests,["limits",`))
	return conn
}

// One connection with two namespaces is one of everything that is counted: a handle, a place, a
// window of events, a connection that operators see.
func TestTwoNamespacesAreOneConnection(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		d := &diary{}
		h := open(t, withQuests, func(c *Config) { c.Observer, c.MaxPerUser = d, 1 })
		c, main := h.enter(t, "ann", transport)
		own := enterQuests(t, c, "ann")
		require.NotEqual(t, main, own)
		handle := h.book.the(t, "s-ann")

		list, all := h.Inspect(ConnectionQuery{UserID: "ann", Most: 10})
		require.Equal(t, 1, all)
		require.Equal(t, main, list[0].Conn)
		_, all = h.Inspect(ConnectionQuery{Most: 10})
		require.Equal(t, 1, all, "of everybody")
		require.Len(t, h.Here("ann"), 1)
		require.Len(t, h.ConnectedPlayers("ann"), 1)
		require.Equal(t, []string{"ann"}, h.Online([]string{"ann", "root"}))
		require.EqualValues(t, 1, h.Totals().Opened)
		second := wiretest.Open(t, h.url, transport)
		second.Send(`40/quests,{"sessionId":"s-ann"}`)
		second.Expect(`44/quests,{"message":"You have too many connections.","data":{"code":"TOO_MANY_CONNECTIONS"}}`)

		c.Send(`421["game:limited",{"a":1}]`, `42/quests,2["quest:limited",{"a":2}]`)
		c.Expect(`431[{"ok":true,"data":{"sum":1}}]`, `43/quests,2[{"ok":true,"data":{"sum":2}}]`)
		require.Equal(t, main, h.purse.last.Conn, "limits by connection count both")
		c.Send(`42/quests,3["quest:limited",{"a":2}]`)
		require.True(t, strings.HasPrefix(c.Read(), `43/quests,3[{"ok":false,"error":{"code":"RATE_LIMITED"`))

		// Each event is in one namespace, and those of the session in both.
		c.Send(`424["quest:add",{}]`, `42/quests,5["game:add",{}]`, `42/quests,6["session:ping"]`)
		require.Contains(t, c.Read(), `434[{"ok":false,"error":{"code":"UNKNOWN_EVENT"`)
		require.Contains(t, c.Read(), `43/quests,5[{"ok":false,"error":{"code":"UNKNOWN_EVENT"`)
		require.Contains(t, c.Read(), `43/quests,6[{"ok":true,"data":{"ttlMs":`)

		c.Send("41")
		require.Eventually(t, func() bool { return h.findConn(main) == nil }, wiretest.Patience, tick)
		c.Send(`42/quests,7["quest:add",{"a":3}]`)
		c.Expect(`43/quests,7[{"ok":true,"data":{"sum":3}}]`)
		require.EqualValues(t, 0, handle.closed.Load(), "the session is still used")
		require.Equal(t, []string{"came ann  " + main, "went ann  " + main}, d.all(), "the observer knows / alone")
		require.Empty(t, h.Totals().Closed)
		list, all = h.Inspect(ConnectionQuery{UserID: "ann", Most: 10})
		require.Equal(t, 1, all)
		require.Equal(t, own, list[0].Conn)
		c.Send("41/quests,")
		require.Eventually(t, func() bool { return handle.closed.Load() == 1 }, wiretest.Patience, tick)
		require.Eventually(t, func() bool { return len(h.Totals().Closed) == 1 }, wiretest.Patience, tick)
		require.Equal(t, map[string]int64{"client namespace disconnect": 1}, h.Totals().Closed)
		require.Len(t, d.all(), 2, "no more than of /")
	})
}

func TestNamespacesShareTheWindowOfEvents(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t, withQuests, func(c *Config) { c.Limiter.(*purse).events = 3 })
		c, _ := h.enter(t, "ann", transport)
		enterQuests(t, c, "ann")
		answers := ""
		for i := range 4 {
			c.Send(fmt.Sprintf(`42%s%d["session:time"]`, []string{"", "/quests,"}[i%2], i))
		}
		for !strings.Contains(answers, "43/quests,3[") {
			answers += c.Read() + "\n"
		}
		require.Equal(t, 3, strings.Count(answers, `"ok":true`), answers)
		require.Contains(t, answers, `43/quests,3[{"ok":false,"error":{"code":"RATE_LIMITED"`)
	})
}

func TestWhatEndsAllNamespaces(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t, withQuests)
		enterBoth := func() *wiretest.Client {
			require.Eventually(t, func() bool { return len(h.users.list("ann")) == 0 }, wiretest.Patience, tick)
			c, _ := h.enter(t, "ann", transport)
			enterQuests(t, c, "ann")
			return c
		}
		for what, end := range map[string]func(c *wiretest.Client){
			"revoked":     func(*wiretest.Client) { h.book.end("s-ann", "SESSION_REVOKED", "bye") },
			"out of /":    func(c *wiretest.Client) { c.Send(`42["session:logout"]`) },
			"out of ours": func(c *wiretest.Client) { c.Send(`42/quests,["session:logout"]`) },
		} {
			s := h.book.sessions["s-ann"]
			c := enterBoth()
			end(c)
			rest := c.Rest()
			for _, head := range []string{`42["session:revoked"`, "41", `42/quests,["session:revoked"`, "41/quests,"} {
				found := 0
				for _, p := range rest {
					if p == head || strings.HasPrefix(head, "42") && strings.HasPrefix(p, head) {
						found++
					}
				}
				require.Equal(t, 1, found, "%s: %s in %q", what, head, rest)
			}
			h.book.set(func() { h.book.sessions["s-ann"] = s })
		}
		c := enterBoth()
		require.True(t, h.Disconnect(h.ConnectedPlayers("ann")[0].Conn))
		require.ElementsMatch(t, []string{"41", "41/quests,"}, c.Rest())
		c = enterBoth()
		h.MakeDisconnect(userRoom("ann"), true)
		require.ElementsMatch(t, []string{"41", "41/quests,"}, c.Rest())
		require.Eventually(t, func() bool { return h.Connections() == 0 }, wiretest.Patience, tick)
	})
}

// What concerns a connection or the node is told in each namespace; a session in one is not another
// one's.
func TestWhatEachNamespaceIsTold(t *testing.T) {
	t.Parallel()
	h := open(t, withQuests)
	both, _ := h.enter(t, "ann")
	both.Send(`40/quests,{"sessionId":"s-root"}`)
	both.Expect(`44/quests,{"message":"This connection belongs to another session.","data":{"code":"OTHER_SESSION"}}`)
	both.Send(`40/quests,`)
	both.Expect(`44/quests,{"message":"No session provided","data":{"code":"SESSION_REQUIRED"}}`)
	both.Send(`40/nowhere,{"sessionId":"s-ann"}`)
	both.Expect(`44/nowhere,{"message":"Invalid namespace"}`)
	enterQuests(t, both, "ann")
	alone := wiretest.Open(t, h.url, "websocket")
	enterQuests(t, alone, "ann")

	require.NoError(t, h.SendStatus(map[string]string{"trade": "paused"}))
	both.Expect(`42["gateway:status",{"trade":"paused"}]`, `42/quests,["gateway:status",{"trade":"paused"}]`)
	alone.Expect(`42/quests,["gateway:status",{"trade":"paused"}]`)
	h.ResendLimits()
	require.ElementsMatch(t, []bool{true, false}, []bool{strings.HasPrefix(both.Read(), `42["limits"`), strings.HasPrefix(both.Read(), `42["limits"`)})
	alone.Expect(`42/quests,["limits",{"policies":[{"name":"combat","limit":2}]}]`)
	alone.Send(`42/quests,1["session:character",{"characterId":"hero"}]`)
	require.Contains(t, alone.Read(), `"hero"`)
	for _, c := range h.users.list("ann") {
		require.Equal(t, "hero", c.player.Load().CharacterID, "in each namespace")
	}

	h.book.set(func() { h.book.handles[0].on.Expiring(time.Second) })
	both.Expect(`42["session:expiring",{"expiresInMs":1000}]`, `42/quests,["session:expiring",{"expiresInMs":1000}]`)
	report := h.Drain(t.Context(), 0)
	require.Equal(t, 2, report.Closed)
	rest := both.Rest()
	require.Len(t, rest, 2)
	require.True(t, strings.HasPrefix(rest[0], `42["gateway:closing",{"code":"DRAINING"`), rest)
	require.True(t, strings.HasPrefix(rest[1], `42/quests,["gateway:closing",{"code":"DRAINING"`), rest)
	require.Len(t, alone.Rest(), 1)
}

// Casts of a namespace reach its members on all nodes, those of Socket.IO's emitter too, and nobody
// in another one.
func TestCastsOfANamespaceReachEveryNode(t *testing.T) {
	t.Parallel()
	bus := redistest.Server(t)
	var nodes []*hall
	for range 2 {
		nodes = append(nodes, open(t, withQuests, func(c *Config) { c.Socket.Cluster = &socketio.ClusterConfig{Redis: bus.Client()} }))
	}
	var players []*wiretest.Client
	ctx := t.Context()
	for _, h := range nodes {
		require.Eventually(t, func() bool { return h.Cluster().Nodes == 2 }, wiretest.Patience, tick)
		c, main := h.enter(t, "ann")
		own := enterQuests(t, c, "ann")
		quests := h.FindNamespace("/quests")
		for _, err := range []error{joinRoom(h.Namespace, main), joinRoom(quests, own), h.nsp.Heard(ctx, userRoom("ann")), quests.nsp.Heard(ctx, userRoom("ann"))} {
			require.NoError(t, err)
		}
		require.False(t, quests.In(main, "party"))
		_, err := quests.Join(ctx, main, "party")
		require.ErrorIs(t, err, ErrNotConnected)
		players = append(players, c)
	}
	quests := nodes[1].FindNamespace("/quests")
	for i, room := range []string{"party", userRoom("ann")} {
		require.NoError(t, quests.Cast(ctx, room, "x", &total{i}))
		require.NoError(t, nodes[1].Cast(ctx, room, "x", &total{i + 10}))
		for _, c := range players {
			got := []string{c.Read(), c.Read()}
			require.ElementsMatch(t, []string{fmt.Sprintf(`42/quests,["x",{"sum":%d}]`, i), fmt.Sprintf(`42["x",{"sum":%d}]`, i+10)}, got)
		}
	}
	reached, whole, err := quests.CastUser(ctx, "ann", "x", &total{5})
	require.NoError(t, err)
	require.Equal(t, 2, reached)
	require.True(t, whole)
	for _, c := range players {
		c.Expect(`42/quests,["x",{"sum":5}]`)
	}

	// new Emitter(redis).of('/quests').to('party').emit('x', {sum: 6}), as version 5 of
	// @socket.io/redis-emitter publishes it
	packet, ok := jsonpack.Pack(nil, []byte(`["emitter",{"type":2,"data":["x",{"sum":6}],"nsp":"/quests"},{"rooms":["party"],"except":[],"flags":{}}]`), nil, 10)
	require.True(t, ok)
	require.NoError(t, bus.Client().Publish(ctx, "socket.io#/quests#party#", packet).Err())
	for _, c := range players {
		c.Expect(`42/quests,["x",{"sum":6}]`)
	}
}

func joinRoom(n *Namespace, conn string) error {
	_, err := n.Join(context.Background(), conn, "party")
	return err
}

// A client goes on in each of its namespaces, on another node, also when the node that it came from
// has not noticed that it left.
func TestAPlayerComesBackInEachNamespace(t *testing.T) {
	t.Parallel()
	for what, leave := range map[string]func(t *testing.T, h *hall, c *wiretest.Client){
		"left": func(t *testing.T, h *hall, c *wiretest.Client) {
			c.Abort()
			require.Eventually(t, func() bool { return h.Connections() == 0 }, wiretest.Patience, tick)
		},
		"unnoticed": func(*testing.T, *hall, *wiretest.Client) {},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := recoveryHalls(t, withQuests)
			ctx := t.Context()
			earlier := h[0].visit(t, "s-ann", nil)
			quests := earlier.visitNamespace("/quests", nil)
			_, err := h[0].FindNamespace("/quests").Join(ctx, quests.sid, "party")
			require.NoError(t, err)
			leave(t, h[0], earlier.Client)
			if what == "left" { // else the old connection is told it
				require.NoError(t, h[1].FindNamespace("/quests").Cast(ctx, "party", "x", &total{1}))
			}
			again := h[1].visit(t, "s-ann", earlier)
			require.True(t, again.isRecovered)
			back := again.visitNamespace("/quests", quests)
			require.True(t, back.isRecovered)
			require.Equal(t, quests.sid, back.sid)
			if what == "left" {
				require.Equal(t, `42/quests,["x",{"sum":1}]`, back.hear())
			}
			require.NoError(t, h[0].FindNamespace("/quests").Cast(ctx, "party", "x", &total{2}))
			require.Equal(t, `42/quests,["x",{"sum":2}]`, back.hear())
			require.Eventually(t, func() bool { return h[0].Connections() == 0 }, wiretest.Patience, tick)
		})
	}
}

// visitNamespace connects to a further namespace over the connection, and presents what an earlier
// client has there, if any.
func (c *visitor) visitNamespace(name string, earlier *visitor) *visitor {
	c.t.Helper()
	auth := `{"sessionId":"s-ann"}`
	if earlier != nil {
		auth = fmt.Sprintf(`{"sessionId":"s-ann","pid":%q,"offset":%q}`, earlier.pid, earlier.offset)
	}
	further := &visitor{Client: c.Client, t: c.t}
	further.connect(name+",", auth)
	return further
}

// A client does not go on in one namespace with its connection to another: that would have two
// sockets of one id.
func TestNoNamespaceGoesOnWithAnother(t *testing.T) {
	t.Parallel()
	h := recoveryHalls(t, withQuests)
	main := h[0].visit(t, "s-ann", nil)
	own := main.visitNamespace("/quests", nil)
	for what, other := range map[string]*visitor{
		"/ in /quests": h[1].visit(t, "s-ann", nil).visitNamespace("/quests", main),
		"/quests in /": h[1].visit(t, "s-ann", own),
	} {
		require.False(t, other.isRecovered, what)
		require.NotContains(t, []string{main.sid, own.sid}, other.sid, what)
	}
	require.NotNil(t, h[0].findConn(main.sid), "it lives")
	require.NotNil(t, h[0].FindNamespace("/quests").findConn(own.sid))
	main.Abort()
	back := h[1].visit(t, "s-ann", main)
	require.True(t, back.isRecovered, "its own record is still there")
	require.True(t, back.visitNamespace("/quests", own).isRecovered)
}

// Where a further namespace cannot be judged, the client is told so, and keeps the others.
func TestANamespaceThatCannotBeJudgedEndsNoOther(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t, withQuests)
		c, _ := h.enter(t, "ann", transport)
		h.book.set(func() { h.book.broken = errors.New("no answer") })
		c.Send(`40/quests,{"sessionId":"s-ann"}`)
		var refusal struct {
			Message string
			Data    struct {
				Code         string
				RetryAfterMs int
			}
		}
		text, isRefused := strings.CutPrefix(c.Read(), "44/quests,")
		require.True(t, isRefused)
		require.NoError(t, json.Unmarshal([]byte(text), &refusal))
		require.Equal(t, "UNAVAILABLE", refusal.Data.Code)
		require.LessOrEqual(t, 16*60_000/refusal.Data.RetryAfterMs, 64, "16 namespaces that are tried again are no flood")
		h.book.set(func() { h.book.broken = nil })
		c.Send(`421["game:add",{"a":1}]`)
		c.Expect(`431[{"ok":true,"data":{"sum":1}}]`)
		enterQuests(t, c, "ann")
	})
}

// A client that leaves its only namespace and comes with another session at once is not told that
// its connection belongs to the former one.
func TestAClientMayComeWithAnotherSession(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t, withQuests)
		c := wiretest.Open(t, h.url, transport)
		enterQuests(t, c, "ann")
		c.Send(`41/quests,`, `40{"sessionId":"s-root"}`)
		require.Contains(t, c.Read(), `40{"sid":`)
		require.Contains(t, c.Read(), `42["session",{"sessionId":"s-root"`)
	})
}

// The place of a namespace that the client leaves is free for the one that it asks for behind it.
func TestAClientMayComeAgainAtOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t, withQuests, func(c *Config) { c.MaxPerUser = 1 })
		c := wiretest.Open(t, h.url, transport)
		enterQuests(t, c, "ann")
		for range 20 {
			c.Send(`41/quests,`, `40/quests,{"sessionId":"s-ann"}`)
			require.Contains(t, c.Read(), `40/quests,{"sid":`)
			require.Contains(t, c.Read(), `42/quests,["session",`)
			require.Contains(t, c.Read(), `42/quests,["limits",`)
		}
	})
}

// Each time that a client comes again over its connection counts as a handshake: else its limits
// would begin anew for nothing. A further namespace begins none.
func TestToComeAgainCountsAsAHandshake(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t, withQuests, func(c *Config) { c.ConnectPolicy = "connect" })
		const free = 2 // of the policy, beside the handshake's own
		c := wiretest.Open(t, h.url, transport)
		enterQuests(t, c, "ann")
		for range free {
			c.Send(`41/quests,`)
			enterQuests(t, c, "ann")
		}
		c.Send(`40{"sessionId":"s-ann"}`)
		require.Contains(t, c.Read(), `40{"sid":`)
		c.Send(`41`, `41/quests,`, `40/quests,{"sessionId":"s-ann"}`)
		require.NotContains(t, strings.Join(c.Rest(), ""), `40/quests`, "the connection ends, and its client comes back by itself")
	})
}

// A namespace that is being admitted does not hide its connection from operators, nor from who ends
// it.
func TestOneThatIsAdmittedHidesNoConnection(t *testing.T) {
	t.Parallel()
	g := &Gateway{}
	main, quests := g.addNamespace(mainNamespace), g.addNamespace("/quests")
	x := &sharedConn{}
	own, coming := &conn{sharedConn: x, namespace: quests}, &conn{sharedConn: x, namespace: main}
	own.player.Store(&event.Player{Conn: "own"})
	coming.player.Store(&event.Player{})
	x.all = []*conn{own, coming}
	require.True(t, own.isShown())
	require.False(t, coming.isShown())
	coming.player.Store(&event.Player{Conn: "main"})
	require.False(t, own.isShown())
	require.True(t, coming.isShown())
}
