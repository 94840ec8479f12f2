package gateway

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"
	"go.uber.org/zap/zapcore"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// overBoth runs a test over each transport.
func overBoth(t *testing.T, test func(t *testing.T, transport string)) {
	t.Helper()
	t.Parallel()
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			test(t, transport)
		})
	}
}

func TestWhoIsRefusedIsToldInExactWords(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		for auth, want := range map[string]string{
			"":                            `44{"message":"No session provided","data":{"code":"SESSION_REQUIRED"}}`,
			"{}":                          `44{"message":"No session provided","data":{"code":"SESSION_REQUIRED"}}`,
			`{"sessionId":"what"}`:        `44{"message":"Invalid session","data":{"code":"SESSION_INVALID"}}`,
			`{"sessionId":["s-ann"]}`:     `44{"message":"Invalid session","data":{"code":"SESSION_INVALID"}}`,
			`{"sessionId":"crowded"}`:     `44{"message":"Too many connections","data":{"code":"TOO_MANY_CONNECTIONS","retryAfterMs":1500}}`,
			`{"sessionId":"s-ann","x":1}`: "",
		} {
			c := wiretest.Open(t, h.url, transport)
			c.Send("40"+auth, `42["game:add"]`)
			if want == "" {
				require.True(t, strings.HasPrefix(c.Read(), "40{"))
				continue
			}
			c.Expect(want)
			require.Empty(t, c.Rest(), "an event without a session is not answered, it ends the connection")
		}
		refused := h.lines(t, "connection refused", 5)
		for _, fields := range refused {
			require.Equal(t, "127.0.0.1", fields["addr"])
			require.Equal(t, transport, fields["transport"])
			require.Len(t, fields, 4, "with a code and a reason, and nothing else")
		}
		require.NotContains(t, fmt.Sprint(h.logs.All()), "s-ann")
		h.lines(t, "connection opened", 1)
	})
}

func TestWhoCanNotBeJudgedComesBack(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		h.book.set(func() { h.book.broken = errors.New("redis: connection refused") })
		c := wiretest.Open(t, h.url, transport)
		c.Send(`40{"sessionId":"s-ann"}`)
		require.Empty(t, c.Rest(), "closed without an answer")
		require.Equal(t, "redis: connection refused", h.lines(t, "handshake could not be judged", 1)[0]["error"])
		require.Equal(t, zapcore.WarnLevel, h.logs.All()[0].Level)
		h.book.set(func() { h.book.broken = nil })
		c, _ = h.enter(t, "ann", transport)
		alive(t, c)
	})
}

func TestTheBearerMayOpen(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		c := wiretest.Open(t, h.url, transport, wiretest.Header{"Authorization": {"Bearer s-root"}})
		c.Connect("", "")
		require.Contains(t, c.Read(), `"userId":"root"`)
	})
}

func TestGreetings(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		begun := time.Now()
		c := wiretest.Open(t, h.url, transport)
		conn := c.Connect("", `{"sessionId":"s-root"}`)
		session := c.Read()
		var s Welcome
		require.NoError(t, json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimPrefix(session, `42["session",`), "]")), &s), session)
		require.WithinRange(t, time.UnixMilli(s.ServerTime), begun.Truncate(time.Millisecond), time.Now())
		require.Equal(t, s.ServerTime+60_000, s.ExpiresAt)
		s.ServerTime, s.ExpiresAt = 0, 0
		require.Equal(t, Welcome{SessionID: "s-root", UserID: "root", Username: "The root", Roles: []string{"admin"}, TTLMs: 60_000, Node: "n1"}, s)
		require.JSONEq(t, `["limits",{"policies":[{"name":"combat","limit":2}]}]`, strings.TrimPrefix(c.Read(), "42"))
		for range 3 { // and once
			alive(t, c)
		}
		require.True(t, h.In(conn, userRoom("root")))
		require.NoError(t, h.Cast(t.Context(), userRoom("root"), "chat:whisper", &total{7}))
		c.Expect(`42["chat:whisper",{"sum":7}]`)
	})
}

// over proves that a client is told why its session is over, and disconnected so that a
// browser does not come back by itself.
func over(t *testing.T, c *wiretest.Client, code, reason string) {
	t.Helper()
	require.Equal(t, []string{fmt.Sprintf(`42["session:revoked",{"code":%q,"reason":%q}]`, code, reason), "41"}, c.Rest())
}

func TestRevoked(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		c, _ := h.enter(t, "ann", transport)
		second, _ := h.enter(t, "ann", transport)
		other, _ := h.enter(t, "root", transport)
		h.book.end("s-ann", "SESSION_REVOKED", "by an operator")
		over(t, c, "SESSION_REVOKED", "by an operator")
		over(t, second, "SESSION_REVOKED", "by an operator")
		alive(t, other)
		closed := h.lines(t, "connection closed", 2)
		require.Equal(t, "server namespace disconnect", closed[0]["reason"])
	})
}

func TestRevokedBeforeItIsConnected(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		h.book.set(func() { h.book.early = true })
		c := wiretest.Open(t, h.url, transport)
		c.Send(`40{"sessionId":"s-ann"}`, `421["game:add"]`)
		rest := c.Rest()
		require.Len(t, rest, 5, "%q", rest)
		require.True(t, strings.HasPrefix(rest[0], "40{"))
		require.True(t, strings.HasPrefix(rest[1], `42["session",`))
		require.True(t, strings.HasPrefix(rest[2], `42["limits",`))
		require.Equal(t, `42["session:revoked",{"code":"SESSION_EXPIRED","reason":"too late"}]`, rest[3])
		require.Equal(t, "41", rest[4])
	})
}

// The end of a session is announced once, at whatever moment of a connect it comes.
func TestRevokedAtAnyMoment(t *testing.T) {
	t.Parallel()
	h := open(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			user := fmt.Sprint("u", i)
			c, err := wiretest.Try(t, h.url, "websocket")
			if err != nil {
				t.Error(err)
				return
			}
			c.Send(`40{"sessionId":"s-` + user + `"}`)
			for range i % 5 {
				if _, err := c.Next(); err != nil {
					break
				}
				if i%5 == 4 {
					break
				}
			}
			for range 2 { // two who tell of it at once
				all.Go(func() { h.book.end("s-"+user, "SESSION_REVOKED", "") })
			}
			var rest []string
			for {
				h.book.end("s-"+user, "SESSION_REVOKED", "") // until it came after the connect
				p, err := c.Next()
				if err != nil {
					break
				}
				if rest = append(rest, p); strings.HasPrefix(p, "44") {
					c.Abort() // its session was gone before it was looked at
				}
			}
			told := 0
			for _, p := range rest {
				if strings.HasPrefix(p, `42["session:revoked"`) {
					told++
				}
			}
			refused := len(rest) > 0 && strings.HasPrefix(rest[0], "44")
			if !refused && (told != 1 || rest[len(rest)-1] != "41") {
				t.Errorf("%d: %q", i, rest)
			}
		})
		if i%20 == 19 {
			all.Wait()
		}
	}
	all.Wait()
}

// Several goroutines may report the end at the same time.
func TestTheEndIsToldOnce(t *testing.T) {
	t.Parallel()
	h := open(t)
	for i := range 60 {
		client, id := h.enter(t, fmt.Sprint("u", i))
		c := h.findConn(id)
		start := make(chan struct{})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				<-start
				h.announceEnd(c.sharedConn, Ended{"SESSION_EXPIRED", ""})
			})
		}
		close(start)
		over(t, client, "SESSION_EXPIRED", "")
		all.Wait()
	}
}

func TestADeadSessionIsNotServed(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, _ := h.enter(t, "ann")
	hold := h.book.the(t, "s-ann")
	hold.gone.Store(true) // known to be dead, and the news of why is on its way
	refused := `{"ok":false,"error":{"code":"UNAUTHENTICATED","message":"Please log in."}}`
	for _, name := range []string{"game:add", "game:quick", "session:ping", "session:logout", "game:unknown"} {
		require.Equal(t, refused, ask(t, c, name, ""))
	}
	require.Zero(t, hold.touches.Load())
	hold.on.Ended("SESSION_EXPIRED", "")
	over(t, c, "SESSION_EXPIRED", "")
}

func TestLogout(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		for name, logout := range map[string]func(h *hall) func() error{
			"the tracker hears of it at once": func(*hall) func() error { return nil },
			"the tracker hears of it later":   func(*hall) func() error { return func() error { return nil } },
			"the tracker hears of it meanwhile": func(h *hall) func() error {
				return func() error {
					go h.book.end("s-ann", "LOGGED_OUT", "by another way")
					return nil
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				h := open(t)
				h.book.set(func() { h.book.logout = logout(h) })
				c, _ := h.enter(t, "ann", transport)
				require.Equal(t, `{"ok":true,"data":{}}`, ask(t, c, "session:logout", ""))
				rest := c.Rest()
				require.Len(t, rest, 2, "%q", rest)
				require.Contains(t, rest[0], `42["session:revoked",{"code":"LOGGED_OUT","reason":`)
				require.Equal(t, "41", rest[1])
			})
		}
	})
}

func TestALogoutThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, _ := h.enter(t, "ann")
	h.book.set(func() {
		h.book.logout = func() error { return fault.Unavailable("session", time.Second, errors.New("refused")) }
	})
	require.Contains(t, ask(t, c, "session:logout", ""), "UNAVAILABLE")
	alive(t, c)
	h.book.set(func() { h.book.logout = func() error { panic("boom") } })
	require.Contains(t, ask(t, c, "session:logout", ""), "INTERNAL")
	alive(t, c)
	h.book.set(func() {
		h.book.logout = func() error { // and the session ends by itself meanwhile
			h.book.end("s-ann", "SESSION_EXPIRED", "")
			return errors.New("boom")
		}
	})
	c.Send(`42["session:logout"]`)
	over(t, c, "SESSION_EXPIRED", "")
}

func TestOneLineForEachConnection(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		c, conn := h.enter(t, "ann", transport)
		alive(t, c)
		require.Equal(t, map[string]any{"conn": conn, "user": "ann", "addr": "127.0.0.1", "transport": transport, "session": "b8d78fe125d0"}, h.lines(t, "connection opened", 1)[0], "a hash: the id is a secret")
		c.Send("1")
		closed := h.lines(t, "connection closed", 1)[0]
		require.IsType(t, int64(0), closed["ms"])
		delete(closed, "ms")
		require.Equal(t, map[string]any{"conn": conn, "user": "ann", "reason": "transport close", "session": "b8d78fe125d0"}, closed)
		require.Len(t, h.logs.All(), 2, "and nothing else")
	})
}

func TestRoomsOfAConnection(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.Socket.MaxRooms = 3 }) // one of them is the user's
	c, conn := h.enter(t, "ann")
	ctx := t.Context()
	n, err := h.Join(ctx, conn, "chat:a")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = h.Join(ctx, conn, "chat:a")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = h.Join(ctx, conn, "chat:b")
	require.NoError(t, err)
	_, err = h.Join(ctx, conn, "chat:c")
	require.ErrorIs(t, err, ErrTooManyRooms)
	require.Equal(t, 2, h.Count(conn, "chat:"))
	require.True(t, h.In(conn, "chat:b"))
	n, err = h.Leave(ctx, conn, "chat:b")
	require.NoError(t, err)
	require.Zero(t, n)
	require.False(t, h.In(conn, "chat:b"))

	h.io.IO.In(socket.Room(conn)).SocketsJoin("chat:b")
	h.io.IO.In(socket.Room(conn)).SocketsJoin("chat:c") // as another program does, over the bus
	line := h.lines(t, "join of another program refused: the connection is in too many rooms", 1)[0]
	require.Regexp(t, `^[0-9a-f]{12}$`, line["session"])
	delete(line, "session")
	require.Equal(t, map[string]any{"conn": conn, "user": "ann", "room": "chat:c", "code": "TOO_MANY_ROOMS"}, line)
	require.Equal(t, 1.0, h.metricSums(t)["gateway_joins_refused_total"])
	_, err = h.Leave(ctx, conn, "chat:b")
	require.NoError(t, err)

	for payload, want := range map[any]string{
		&total{5}:                          `{"sum":5}`,
		Closing{"X", 1}:                    `{"code":"X","reconnectInMs":1}`,
		"text with \" and \u2028 and \x00": "\"text with \\\" and \u2028 and \\u0000\"",
		nil:                                "null",
	} {
		require.NoError(t, h.Cast(ctx, "chat:a", "x", payload))
		c.Expect(`42["x",` + want + `]`)
	}
	require.Error(t, h.Cast(ctx, "chat:a", "x", make(chan int)))
	require.NoError(t, h.SendStatus(map[string]string{"chat": "local"}))
	c.Expect(`42["gateway:status",{"chat":"local"}]`)

	c.Send("1")
	h.lines(t, "connection closed", 1)
	_, err = h.Join(ctx, conn, "chat:a")
	require.ErrorIs(t, err, ErrNotConnected)
	n, err = h.Leave(ctx, conn, "chat:a")
	require.NoError(t, err)
	require.Zero(t, n)
	require.Zero(t, h.Count(conn, ""))
	require.False(t, h.In(conn, "chat:a"))
}
