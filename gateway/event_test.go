package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	"github.com/aeturnis/realtime/event"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	internal := `{"ok":false,"error":{"code":"INTERNAL","message":"Something went wrong on our side."}}`
	invalid := func(field, reason string) string {
		return fmt.Sprintf(`{"ok":false,"error":{"code":"INVALID","message":"The request is not valid.","field":%q,"reason":%q}}`, field, reason)
	}
	for name, c := range map[string]struct{ event, payload, want string }{
		"a payload":           {"game:add", `{"a":1,"b":2}`, `{"ok":true,"data":{"sum":3}}`},
		"an instant event":    {"game:quick", `{"a":1,"b":2}`, `{"ok":true,"data":{"sum":3}}`},
		"no payload":          {"game:add", "", `{"ok":true,"data":{"sum":0}}`},
		"null":                {"game:add", "null", `{"ok":true,"data":{"sum":0}}`},
		"spaces":              {"game:add", ` { "a" : 1 } `, `{"ok":true,"data":{"sum":1}}`},
		"an unknown event":    {"game:unknown", "", `{"ok":false,"error":{"code":"UNKNOWN_EVENT","message":"There is no such event."}}`},
		"no name":             {"", "", `{"ok":false,"error":{"code":"UNKNOWN_EVENT","message":"There is no such event."}}`},
		"two payloads":        {"game:add", `{"a":1},{"b":2}`, invalid("", "one payload at most")},
		"two to an instant":   {"game:quick", `{"a":1},{"b":2}`, invalid("", "one payload at most")},
		"a wrong field":       {"game:add", `{"a":11}`, invalid("a", "at most 10")},
		"an unknown field":    {"game:add", `{"c":1}`, invalid("c", "unknown field")},
		"a list":              {"game:add", `[1]`, invalid("", "expected an object")},
		"a string":            {"game:add", `"x"`, invalid("", "expected an object")},
		"a lone surrogate":    {"game:add", `{"\ud800":1}`, invalid("\ufffd", "unknown field")},
		"something for none":  {"session:ping", `{"a":1}`, invalid("a", "unknown field")},
		"a role that is not":  {"game:admin", "", `{"ok":false,"error":{"code":"FORBIDDEN","message":"You may not do that."}}`},
		"a rule":              {"game:rule", "", `{"ok":false,"error":{"code":"COMBAT_OVER","message":"That fight has ended.","winner":"ann"}}`},
		"a deadline":          {"game:slow", "", `{"ok":false,"error":{"code":"TIMEOUT","message":"That took too long."}}`},
		"a panic":             {"game:panic", "", internal},
		"a panic, instant":    {"game:nil", "", internal},
		"an error":            {"game:broken", "", internal},
		"what is no JSON":     {"game:nan", "", internal},
		"details that are no": {"game:details", "", internal},
	} {
		t.Run(name, func(t *testing.T) {
			for _, transport := range []string{"websocket", "polling"} {
				client, _ := h.enter(t, "ann", transport)
				require.Equal(t, c.want, ask(t, client, c.event, c.payload))
				alive(t, client)
				if payload := c.payload; !strings.Contains(c.want, `"ok":true`) { // without an acknowledgement
					if payload != "" {
						payload = "," + payload
					}
					client.Send(fmt.Sprintf("42[%q%s]", c.event, payload))
					refusal := strings.TrimSuffix(strings.TrimPrefix(c.want, `{"ok":false,"error":`), "}")
					client.Expect(`42["error",` + refusal + `]`)
				} else {
					client.Send(fmt.Sprintf("42[%q]", c.event))
				}
				alive(t, client) // and nothing was sent in between
			}
		})
	}
}

func TestBinaryIsNotTaken(t *testing.T) {
	t.Parallel()
	c, _ := open(t).enter(t, "ann")
	c.Send(`451-7["game:add",{"_placeholder":true,"num":0}]`, "bAQID")
	c.Expect(`437[{"ok":false,"error":{"code":"INVALID","message":"The request is not valid.","field":"","reason":"binary values are not taken"}}]`)
	alive(t, c)
}

func TestRoles(t *testing.T) {
	t.Parallel()
	h := open(t)
	root, _ := h.enter(t, "root")
	require.Equal(t, `{"ok":true,"data":{"sum":3}}`, ask(t, root, "game:admin", `{"a":1,"b":2}`))
	ann, _ := h.enter(t, "ann")
	require.Contains(t, ask(t, ann, "game:hidden", ""), "FORBIDDEN")
	require.Empty(t, h.purse.spent, "a limit is not spent on who may not")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, conn := h.enter(t, "ann")
	refused := `{"ok":false,"error":{"code":"RATE_LIMITED","message":"Too many requests. Please slow down.","policy":"combat","scope":"user","limit":2,"remaining":0,"windowMs":60000,"retryAfterMs":900}}`
	require.Contains(t, ask(t, c, "game:both", ""), `"policy":"none"`)
	require.Empty(t, h.purse.spent, "all or none")
	require.Contains(t, ask(t, c, "game:limited", ""), `"ok":true`)
	require.Equal(t, Subject{User: "ann", Session: "s-ann", IP: "127.0.0.1", Conn: conn}, h.purse.last)
	require.Contains(t, ask(t, c, "game:limited", `{"a":77}`), "INVALID", "spent before the rules judge")
	require.Equal(t, refused, ask(t, c, "game:limited", ""))
	require.Equal(t, refused, ask(t, c, "game:limited", `{"a":77}`))
	alive(t, c)
	root, _ := h.enter(t, "root")
	require.Contains(t, ask(t, root, "game:limited", ""), `"ok":true`)
}

func TestEveryEventIsAnsweredInOrder(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"websocket", "polling"} {
		h := open(t, func(c *Config) { c.CloseAfter = -1 })
		c, _ := h.enter(t, "ann", transport)
		names := []string{"session:ping", "game:add", "game:panic", "game:quick", "game:unknown", "game:both"}
		var packets []string
		for i := range 500 {
			packets = append(packets, fmt.Sprintf("42%d[%q]", i, names[i*7%len(names)]))
		}
		c.Send(packets...)
		for i := range 500 {
			require.True(t, strings.HasPrefix(c.Read(), fmt.Sprintf("43%d[", i)))
		}
	}
}

func TestThePlayer(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, conn := h.enter(t, "ann")
	other, _ := h.enter(t, "ann")
	who := func(character string) string {
		return fmt.Sprintf(`{"ok":true,"data":{"user":"ann","character":%q,"conn":%q,"addr":"127.0.0.1","name":"The ann"}}`, character, conn)
	}
	require.JSONEq(t, who(""), ask(t, c, "game:whoami", ""))
	require.Contains(t, ask(t, c, "session:character", `{"characterId":""}`), `"field":"characterId","reason":"required"`)
	require.Contains(t, ask(t, c, "session:character", `{"characterId":"nobody"}`), "NOT_FOUND")
	require.JSONEq(t, who(""), ask(t, c, "game:whoami", ""))
	require.Regexp(t, `^{"ok":true,"data":{"sessionId":"s-ann","userId":"ann","username":"The ann","characterId":"hero","roles":\[\],"ttlMs":60000,"expiresAt":\d{13},"serverTime":\d{13},"node":"n1","recovered":false}}$`,
		ask(t, other, "session:character", `{"characterId":"hero"}`))
	require.JSONEq(t, who("hero"), ask(t, c, "game:whoami", ""), "every connection of the session")
}

func TestPing(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, transport := range []string{"websocket", "polling"} {
		c, _ := h.enter(t, "ann", transport)
		for _, payload := range []string{"", "null", "{}"} {
			require.Regexp(t, `^{"ok":true,"data":{"ttlMs":60000,"serverTime":\d{13}}}$`, ask(t, c, "session:ping", payload))
		}
	}
}

func TestOnlyAdmittedEventsTouch(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, conn := h.enter(t, "ann")
	hold := h.book.the(t, "s-ann")
	touches := func(want int32, why string) {
		t.Helper()
		alive(t, c) // one touch; and the one before it is over
		require.Eventually(t, func() bool { return hold.touches.Load() == want+1 }, 5*time.Second, tick, why)
		hold.touches.Store(0)
	}
	touches(0, "a greeting is a delivery")
	for _, name := range []string{"game:unknown", "game:both", "game:admin", "game:rule", "game:panic"} {
		ask(t, c, name, "")
		c.Send(fmt.Sprintf("42[%q]", name))
		c.Read()
	}
	ask(t, c, "game:add", `{"a":11}`)
	touches(0, "a refusal is no activity")
	_, err := h.Join(t.Context(), conn, "zone")
	require.NoError(t, err)
	for range 10 {
		require.NoError(t, h.Cast(t.Context(), "zone", "zone:tick", &total{1}))
		c.Expect(`42["zone:tick",{"sum":1}]`)
	}
	touches(0, "a delivery is no activity")
	ask(t, c, "game:add", "")
	ask(t, c, "game:quick", "")
	c.Send(`42["game:add"]`)
	touches(3, "three were admitted")
	ask(t, c, "session:ping", "")
	touches(2, "a ping, which counts in its own answer already")
	ask(t, c, "session:time", "")
	touches(0, "a program reads the clock, not a player")
}

func TestFailuresAreLoggedOnce(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.Timeout = 20 * time.Millisecond })
	c, conn := h.enter(t, "ann")
	alive(t, c) // the line about the connection is written
	const text = "what-the-player-wrote"
	for name, want := range map[string]struct {
		level   zapcore.Level
		message string
		code    string
		cause   string
	}{
		"game:panic":  {zapcore.ErrorLevel, "event failed", "INTERNAL", "panic: the secret cause"},
		"game:nil":    {zapcore.ErrorLevel, "event failed", "INTERNAL", "panic: runtime error: invalid memory address or nil pointer dereference"},
		"game:broken": {zapcore.ErrorLevel, "event failed", "INTERNAL", "the secret cause"},
		"game:slow":   {zapcore.WarnLevel, "event failed", "TIMEOUT", "waiting: context deadline exceeded"},
		"game:rule":   {zapcore.InfoLevel, "event refused", "COMBAT_OVER", ""},
		"game:both":   {zapcore.InfoLevel, "event refused", "RATE_LIMITED", ""},
		"game:add":    {zapcore.InfoLevel, "event refused", "INVALID", ""},
		"no:such":     {zapcore.InfoLevel, "event refused", "UNKNOWN_EVENT", ""},
	} {
		h.logs.TakeAll()
		payload := ""
		if name == "game:add" {
			payload = `{"unheard":"` + text + `"}`
		}
		ask(t, c, name, payload)
		alive(t, c)
		all := h.logs.TakeAll()
		require.Len(t, all, 1, name)
		fields := all[0].ContextMap()
		require.Equal(t, want.level, all[0].Level, name)
		require.Equal(t, want.message, all[0].Message, name)
		require.Equal(t, []any{conn, "ann", want.code}, []any{fields["conn"], fields["user"], fields["code"]}, name)
		require.IsType(t, int64(0), fields["ms"])
		require.Equal(t, name, fields["event"])
		if want.code == "INVALID" {
			require.Equal(t, "unheard", fields["field"])
			require.NotEmpty(t, fields["reason"])
		}
		require.Len(t, fields["session"], 12)
		if want.cause != "" {
			require.Equal(t, want.cause, fields["cause"])
		}
		if strings.HasPrefix(want.cause, "panic") {
			require.Contains(t, fields["stack"], "fakes_test.go", "where it happened")
		} else {
			require.NotContains(t, fields, "stack")
		}
		line := fmt.Sprint(all[0].Message, fields)
		require.NotContains(t, line, text)
		require.NotContains(t, line, "s-ann")
	}
}

func TestTwoRoutesWithOneName(t *testing.T) {
	t.Parallel()
	b := &book{}
	for _, r := range [][]event.Route{append(routes(), routes()[0]), {event.On("session:ping", func(_ context.Context, _ event.Player, n nothing) (nothing, error) { return n, nil })}} {
		require.PanicsWithValue(t, fmt.Sprintf("gateway: two routes are named %q", r[len(r)-1].Name), func() {
			New(Config{Auth: b, Tracker: b, Sessions: b, Limiter: &purse{}, Routes: r})
		})
	}
	h := open(t)
	require.Len(t, h.Routes(), len(routes())+4)
}
