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

// An outage is one line, with its cause, and its end is one, with its length, what was held back
// and how many lines it stands for: of everybody who noticed. No line has a secret.
func TestLogsOfAnOutage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lose, back func(*redistest.Instance) }{
		"killed":  {(*redistest.Instance).Kill, (*redistest.Instance).Restart},
		"hanging": {(*redistest.Instance).Pause, (*redistest.Instance).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
			one, two := serve(t, "--redis", redis.URL(), "--dev"), serve(t, "--redis", redis.URL(), "--dev")
			ids := []string{one.guest("ann"), two.guest("bob")}
			ann, bob := one.connect(ids[0]), two.connect(ids[1])
			ann.ok("chat:join", `{"channel":"global"}`)
			bob.ok("chat:join", `{"channel":"global"}`)
			before := map[*gate]int{one: len(one.err.String()), two: len(two.err.String())}

			c.lose(redis)
			for range 5 {
				ann.refused("combat:start", `{"npc":"training-dummy"}`)
			}
			for _, g := range []*gate{one, two} {
				require.NotEmpty(t, g.logged(1, "redis changed", map[string]any{"to": "down"})[0]["why"])
				g.status(g.public+"/health/ready", 503, patience)
				do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"x"}`, bearer(ids[0])...)
				do(t, "POST", g.public+"/auth/logout", "", bearer(ids[0])...)
			}
			for range 5 {
				require.Equal(t, true, ann.ok("chat:message", `{"channel":"global","text":"x"}`)["local"])
				bob.refused("trade:execute", `{"to":"ann","give":{"items":[],"gold":1},"idempotencyKey":"k"}`)
			}
			_, _, err := dial(t, one)
			require.Error(t, err)
			one.logged(1, "connection refused", map[string]any{"code": "UNAVAILABLE", "status": 503.0, "addr": "127.0.0.1"})

			c.back(redis)
			for range 5 {
				require.Equal(t, "x", bob.event("chat:message")["text"])
			}
			for _, g := range []*gate{one, two} {
				end := g.logged(1, "redis changed", map[string]any{"to": "up"})[0]
				require.Equal(t, "down", end["from"])
				require.Positive(t, end["ms"])
				require.EqualValues(t, 0, end["lost"])
				require.EqualValues(t, 0, end["missed"])
				require.Contains(t, end, "durability")
				if g == one {
					require.EqualValues(t, 5, end["local"], "the others heard it later")
				}
				left := 0.0
				for _, n := range end["lines"].(map[string]any) {
					left += n.(float64)
				}
				require.Greater(t, left, 5.0, "%v", end["lines"])
				require.NoError(t, g.stop())
				all := []string{}
				for line := range strings.Lines(g.err.String()[before[g]:]) {
					if !strings.Contains(line, `"msg":"connection `) && !strings.Contains(line, `"msg":"draining"`) && !strings.Contains(line, `"msg":"drained"`) && !strings.Contains(line, `"msg":"stopped"`) {
						all = append(all, line)
					}
				}
				require.Len(t, all, 2, "its beginning and its end: %s", strings.Join(all, ""))
				for _, id := range ids {
					require.NotContains(t, g.err.String(), id)
				}
			}
		})
	}
}
