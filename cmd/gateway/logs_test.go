package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// lines are the log lines so far; each must be JSON. There may be none yet.
func (g *gate) lines() (all []map[string]any, err error) {
	for line := range strings.Lines(g.err.String()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all = append(all, v)
	}
	return all, nil
}

// logged waits until n lines with that message and those fields are there, and returns them.
func (g *gate) logged(n int, msg string, fields map[string]any) (found []map[string]any) {
	g.t.Helper()
	var broken error
	require.Eventually(g.t, func() bool {
		found = nil
		lines, err := g.lines()
		if broken = err; err != nil {
			return true
		}
	next:
		for _, l := range lines {
			if l["msg"] != msg {
				continue
			}
			for k, v := range fields {
				if l[k] != v {
					continue next
				}
			}
			found = append(found, l)
		}
		return len(found) >= n
	}, patience, tick, "%s %v\n%s", msg, fields, g.err)
	require.NoError(g.t, broken)
	require.Len(g.t, found, n, "%s %v", msg, fields)
	return found
}

func TestLogs(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--dev", "--node", "one", "--log-level", "debug", patientLimits, "--limit", "chat=3/1m")
	const text, token = "my-very-private-words", "not-a-session-but-secret"
	id := g.guest("ann")
	p := g.connect(id)
	opened := g.logged(1, "connection opened", map[string]any{"user": "ann", "node": "one", "addr": "127.0.0.1", "transport": "websocket"})[0]
	require.NotEmpty(t, opened["conn"])

	// Every way to fail, each a line.
	p.ok("chat:join", `{"channel":"global"}`)
	for range 3 {
		p.ok("chat:message", `{"channel":"global","text":"`+text+`"}`)
	}
	p.refused("chat:message", `{"channel":"global","text":"`+text+`"}`)
	p.refused("chat:join", `{"channel":"`+text+`"}`)
	p.refused("chat:nonsense\u200b"+strings.Repeat("x", 100), `{}`)
	p.refused("combat:state", `{"combatId":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}`)
	p.refused("chat:message", `{"unheard":1}`)
	p.send(`42["chat:leave",{"channel":7}]`) // without an acknowledgement
	require.Equal(t, "INVALID", p.event("error")["code"])
	for _, want := range []struct {
		n           int
		event, code string
	}{
		{2, "chat:message", "RATE_LIMITED"},
		{1, "chat:join", "INVALID"},
		{1, "chat:nonsense?" + strings.Repeat("x", 48) + "…", "UNKNOWN_EVENT"},
		{1, "combat:state", "NOT_FOUND"},
		{1, "chat:leave", "INVALID"},
	} {
		line := g.logged(want.n, "event refused", map[string]any{"event": want.event, "code": want.code, "user": "ann", "conn": opened["conn"]})[0]
		require.Contains(t, line, "ms")
		require.Contains(t, line, "at")
	}

	why := g.logged(1, "event refused", map[string]any{"event": "chat:join", "code": "INVALID"})[0]
	require.Equal(t, "channel", why["field"])
	require.NotEmpty(t, why["reason"])
	require.NotEmpty(t, why["session"])
	for _, bad := range []string{token, "<" + token + ">", ""} {
		g.handshake(bad).take("44", func(frame) bool { return true })
	}
	g.logged(2, "connection refused", map[string]any{"code": "SESSION_INVALID", "addr": "127.0.0.1"})
	g.logged(1, "connection refused", map[string]any{"code": "SESSION_REQUIRED"})
	do(t, "GET", g.public+"/socket.io/?EIO=3&transport=polling", "")
	g.logged(1, "connection refused", map[string]any{"code": "VERSION_UNSUPPORTED", "status": 400.0, "transport": "polling"})
	do(t, "POST", g.public+"/auth/logout", "", bearer(token)...)
	do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"`+text+`","x":1}`, bearer(id)...)
	do(t, "POST", g.public+"/auth/login", `{"username":"`+text+` "}`)

	other := g.guest("bob")
	q := g.connect(other)
	must(t, "session", "revoke", other, "--redis", url)
	require.True(t, q.ended())
	require.NoError(t, p.conn.Close())
	closed := g.logged(1, "connection closed", map[string]any{"user": "ann", "conn": opened["conn"]})[0]
	require.NotEmpty(t, closed["reason"])
	require.Contains(t, closed, "ms")
	g.logged(1, "connection closed", map[string]any{"user": "bob"})
	require.NoError(t, g.stop())

	for _, secret := range []string{id, other, token, text} {
		require.NotContains(t, g.err.String(), secret)
	}
	require.Len(t, g.logged(2, "connection opened", nil), 2)
}

// An outage is told with its cause, and still without secrets.
func TestLogsOfAnOutage(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g := serve(t, "--redis", redis.URL(), "--dev", "--limit", "chat=5/1m")
	id := g.guest("ann")
	p := g.connect(id)
	redis.Kill()
	p.refused("combat:start", `{"npc":"training-dummy"}`)
	p.ok("session:ping", "")
	line := g.logged(1, "event failed", map[string]any{"event": "combat:start", "code": "UNAVAILABLE", "user": "ann"})[0]
	require.NotEmpty(t, line["cause"])
	g.logged(1, "redis changed", map[string]any{"to": "down"})
	g.status(g.public+"/health/ready", 503, patience)
	do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"x"}`, bearer(id)...)
	do(t, "POST", g.public+"/auth/logout", "", bearer(id)...)
	_, _, err := dial(t, g)
	require.Error(t, err)
	g.logged(1, "connection refused", map[string]any{"code": "UNAVAILABLE", "status": 503.0, "addr": "127.0.0.1"})
	require.NoError(t, g.stop())
	require.NotContains(t, g.err.String(), id)
}
