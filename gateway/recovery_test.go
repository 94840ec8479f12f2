package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// offsetPattern is the offset at the end of an event.
var offsetPattern = regexp.MustCompile(`,"([A-Z0-9]{8}-\d+)"\]$`)

// A visitor is a client that can come back, as the official one does.
type visitor struct {
	*wiretest.Client
	t                testing.TB
	sid, pid, offset string
	isRecovered      bool
}

// visit connects a user, who presents what an earlier client has, if any.
func (h *hall) visit(t testing.TB, session string, earlier *visitor) *visitor {
	t.Helper()
	c := &visitor{Client: wiretest.Open(t, h.url, "websocket"), t: t}
	auth := map[string]string{"sessionId": session}
	if earlier != nil {
		auth["pid"], auth["offset"] = earlier.pid, earlier.offset
	}
	b, err := json.Marshal(auth)
	require.NoError(t, err)
	c.connect("", string(b))
	return c
}

// connect connects to a namespace, "" or "/quests,", and reads what greets it.
func (c *visitor) connect(namespace, auth string) {
	c.t.Helper()
	c.Send("40" + namespace + auth)
	p := c.Read()
	var o struct{ Sid, Pid string }
	require.True(c.t, strings.HasPrefix(p, "40"+namespace+"{"), p)
	require.NoError(c.t, json.Unmarshal([]byte(p[2+len(namespace):]), &o))
	c.sid, c.pid = o.Sid, o.Pid
	greeting := c.hear()
	require.True(c.t, strings.HasPrefix(greeting, "42"+namespace+`["session",{`), greeting)
	c.isRecovered = strings.Contains(greeting, `"recovered":true`)
	require.True(c.t, strings.HasPrefix(c.Read(), "42"+namespace+`["limits",`))
}

// hear reads an event with an offset, and returns the rest of it.
func (c *visitor) hear() string {
	c.t.Helper()
	got := c.Read()
	m := offsetPattern.FindStringSubmatch(got)
	require.NotNil(c.t, m, got)
	c.offset = m[1]
	return strings.TrimSuffix(got, m[0]) + "]"
}

// recoveryHalls starts two gateways that log what they cast.
func recoveryHalls(t testing.TB, change ...func(*Config)) (all []*hall) {
	t.Helper()
	bus := redistest.Server(t)
	for range 2 {
		all = append(all, open(t, append([]func(*Config){func(c *Config) {
			c.Socket.Cluster = &socketio.ClusterConfig{Redis: bus.Client(), Log: &socketio.LogConfig{AwayAfter: 5 * time.Second}}
		}}, change...)...))
	}
	for _, h := range all {
		require.Eventually(t, func() bool { return h.Cluster().Nodes == 2 && !h.nsp.Position().IsZero() }, wiretest.Patience, tick)
	}
	return all
}

// witness is a diary that is told who has come back.
type witness struct{ diary }

func (w *witness) Recovered(p event.Player, rooms []string) {
	w.note(fmt.Sprint("back in ", rooms), p)
}

// A player comes back on another node: CONNECT, session, limits, what was missed, and then what is
// new.
func TestAPlayerComesBack(t *testing.T) {
	t.Parallel()
	w := &witness{}
	h := recoveryHalls(t, func(c *Config) { c.Observer = w })
	ctx := t.Context()
	ann := h[0].visit(t, "s-ann", nil)
	require.False(t, ann.isRecovered)
	require.NotEmpty(t, ann.offset, "each client has an offset from the beginning")
	_, err := h[0].Join(ctx, ann.sid, "chat:a")
	require.NoError(t, err)
	_, err = h[0].Join(ctx, ann.sid, "chat:b")
	require.NoError(t, err)
	_, err = h[0].Leave(ctx, ann.sid, "chat:b")
	require.NoError(t, err)
	ann.Abort()
	require.Eventually(t, func() bool { return h[0].Connections() == 0 }, wiretest.Patience, tick)
	for i, room := range []string{"chat:a", userRoom("ann"), "chat:b", "chat:a"} {
		require.NoError(t, h[i%2].Cast(ctx, room, "x", &total{i}))
		_, err := h[i%2].CastAndWait(ctx, "elsewhere", "x", &total{i}, nil)
		require.NoError(t, err)
	}
	back := h[1].visit(t, "s-ann", ann)
	require.True(t, back.isRecovered)
	require.Equal(t, []string{ann.sid, ann.pid, ann.offset}, []string{back.sid, back.pid, back.offset}, "session has the old offset: else a link that breaks behind it loses what follows")
	for _, i := range []int{0, 1, 3} {
		require.Equal(t, fmt.Sprintf(`42["x",{"sum":%d}]`, i), back.hear())
	}
	require.NoError(t, h[0].Cast(ctx, "chat:a", "x", &total{7}))
	require.Equal(t, `42["x",{"sum":7}]`, back.hear())
	registry := prometheus.NewRegistry()
	registry.MustRegister(h[1].metrics.recoveries)
	counted, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, counted, 1)
	metric := counted[0].GetMetric()[0]
	require.Equal(t, "recovered", metric.GetLabel()[0].GetValue())
	require.Equal(t, 1.0, metric.GetCounter().GetValue())
	require.Len(t, h[1].Here("ann"), 1)
	require.Len(t, w.all(), 3)
	require.Equal(t, "came ann  "+ann.sid, w.all()[0])
	require.Regexp(t, `^back in \[(chat:a user:ann|user:ann chat:a)\] ann  `+ann.sid+"$", w.all()[2])
	alive(t, back.Client)
}

// A client gets a new connection when it logs in as another user, or has ended the old one for
// good.
func TestAPlayerDoesNotComeBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		session string
		before  func(t *testing.T, h []*hall, ann *visitor)
	}{
		"another user": {"s-root", nil},
		"another character": {"s-ann", func(_ *testing.T, h []*hall, _ *visitor) {
			_, _ = h[1].book.SetCharacter(context.Background(), "s-ann", "hero")
		}},
		"another login": {"s-ann", func(_ *testing.T, h []*hall, _ *visitor) {
			h[1].book.set(func() {
				s := h[1].book.sessions["s-ann"]
				s.Login = "later"
				h[1].book.sessions["s-ann"] = s
			})
		}},
		"a logout": {"s-ann", func(t *testing.T, _ []*hall, ann *visitor) {
			require.Contains(t, ask(t, ann.Client, "session:logout", ""), `"ok":true`)
		}},
		"a revocation": {"s-ann", func(_ *testing.T, h []*hall, _ *visitor) { h[0].book.end("s-ann", "SESSION_REVOKED", "") }},
		"a ban":        {"s-ann", func(_ *testing.T, h []*hall, _ *visitor) { h[0].book.end("s-ann", "BANNED", "") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := recoveryHalls(t)
			ann := h[0].visit(t, "s-ann", nil)
			_, err := h[0].Join(t.Context(), ann.sid, "chat:a")
			require.NoError(t, err)
			if c.before != nil {
				c.before(t, h, ann)
			}
			ann.Abort()
			require.Eventually(t, func() bool { return h[0].Connections() == 0 }, wiretest.Patience, tick)
			_, err = h[0].CastAndWait(t.Context(), "chat:a", "x", &total{1}, nil)
			require.NoError(t, err)
			back := h[1].visit(t, c.session, ann)
			require.False(t, back.isRecovered)
			require.NotEqual(t, ann.sid, back.sid)
			require.NotEqual(t, ann.pid, back.pid)
			require.False(t, h[1].In(back.sid, "chat:a"))
			alive(t, back.Client)
		})
	}
}

// A session that was renewed is the same login, also where its node closed the connection for that.
func TestARenewedSessionComesBack(t *testing.T) {
	t.Parallel()
	h := recoveryHalls(t)
	ann := h[0].visit(t, "s-ann", nil)
	_, err := h[0].Join(t.Context(), ann.sid, "chat:a")
	require.NoError(t, err)
	h[0].book.the(t, "s-ann").on.Renewed()
	h[0].book.end("s-ann", "REPLACED", "The session goes on under a new id.")
	require.Eventually(t, func() bool { return h[0].Connections() == 0 }, wiretest.Patience, tick)
	h[1].book.set(func() {
		s := h[1].book.sessions["s-ann"]
		s.Login, s.SessionID = "s-ann", "s-new"
		h[1].book.sessions["s-new"] = s
	})
	require.Eventually(t, func() bool {
		back := h[1].visit(t, "s-new", ann)
		defer back.Abort()
		return back.isRecovered
	}, wiretest.Patience, tick)
}

// judge is a RoomJudge that lets nobody into a room.
type judge struct {
	room string
	err  error
}

func (j judge) JudgeRooms(_ context.Context, p event.Player, rooms []string) (refused []RefusedRoom, err error) {
	for _, room := range rooms {
		if room == j.room && p.Conn != "" {
			refused = append(refused, RefusedRoom{room, "chat:left", map[string]string{"channel": room}})
		}
	}
	return refused, j.err
}

// A player who was kicked out of a room gets nothing of what was said there, and is told so.
func TestRoomsAreJudgedAgain(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"kicked": nil, "not known": errors.New("away")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := recoveryHalls(t, func(c *Config) { c.Rooms = judge{"chat:a", err} })
			ann := h[0].visit(t, "s-ann", nil)
			for _, room := range []string{"chat:a", "chat:b"} {
				_, err := h[0].Join(t.Context(), ann.sid, room)
				require.NoError(t, err)
			}
			ann.Abort()
			require.Eventually(t, func() bool { return h[0].Connections() == 0 }, wiretest.Patience, tick)
			for i, room := range []string{"chat:a", "chat:b"} {
				_, err := h[0].CastAndWait(t.Context(), room, "x", &total{i}, nil)
				require.NoError(t, err)
			}
			back := h[1].visit(t, "s-ann", ann)
			require.Equal(t, err == nil, back.isRecovered)
			if err == nil {
				require.Equal(t, `42["chat:left",{"channel":"chat:a"}]`, back.Read())
				require.Equal(t, `42["x",{"sum":1}]`, back.hear())
			}
			require.False(t, h[1].In(back.sid, "chat:a"))
			alive(t, back.Client)
		})
	}
}

// Ten connections that are none spend the policy of handshakes once, and then the client is sent
// away.
func TestGuessingPidsIsBounded(t *testing.T) {
	t.Parallel()
	h := recoveryHalls(t, func(c *Config) { c.ConnectPolicy = "none" })
	guess := &visitor{pid: "AAAAAAAAAAAAAAAAAAAAAA", offset: "AAAAAAAA-1"}
	for range returnsPerCharge - 1 {
		require.False(t, h[0].visit(t, "s-ann", guess).isRecovered)
	}
	c := wiretest.Open(t, h[0].url, "websocket")
	c.Send(`40{"sessionId":"s-ann","pid":"AAAAAAAAAAAAAAAAAAAAAA","offset":"AAAAAAAA-1"}`)
	_, err := c.Next()
	require.Error(t, err, "it is closed without an answer, and comes back by itself")
	require.False(t, h[0].visit(t, "s-ann", nil).isRecovered)
}
