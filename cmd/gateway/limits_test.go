package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/ops"
	"github.com/aeturnis/realtime/internal/redistest"
)

// One address connects so often, over either transport, before anything else is looked at.
func TestConnectsAreLimitedByAddress(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), patientLimits, "--limit", "connect=4/1m")
	for range 2 {
		_, _, err := dial(t, g)
		require.NoError(t, err)
		require.Equal(t, 200, do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "").status)
	}
	_, res, err := dial(t, g)
	require.Error(t, err)
	require.Equal(t, 429, res.StatusCode)
	after, err := strconv.Atoi(res.Header.Get("Retry-After"))
	require.NoError(t, err)
	require.InDelta(t, 55, after, 6)
	poll := do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "")
	require.Equal(t, 429, poll.status)
	require.NotContains(t, string(poll.body), `"sid"`)
	g.logged(2, "connection refused", map[string]any{"code": "RATE_LIMITED", "addr": "127.0.0.1", "reason": "Too many requests. Please slow down."})
	require.Contains(t, string(do(t, "GET", g.admin+"/metrics", "").body), `gateway_connections_refused_total{code="RATE_LIMITED"} 2`)
}

func TestTheAPIIsLimited(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), patientLimits, "--limit", "api=2/1m")
	for i := range 4 {
		a := do(t, "GET", g.public+"/api/nothing", "")
		require.Equal(t, i < 2, a.status == 404, a.status)
		require.Equal(t, `"api";q=2;w=60`, a.header.Get("RateLimit-Policy"))
	}
}

const shout = `{"channel":"global","text":"x"}`

// talker is ann, who has joined the channel, and how many messages she may send at once.
func talker(t *testing.T, g *gate) (p *player, admitted func() int) {
	t.Helper()
	p = g.connect(g.guest("ann"))
	p.ok("chat:join", `{"channel":"global"}`)
	return p, func() (n int) {
		for p.ask("chat:message", shout)["ok"] == true {
			n++
		}
		return n
	}
}

// An operator's change holds on every node at once, is told to players, and loses no window.
func TestLimitsAreSetOnEveryNode(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	one := serve(t, "--redis", url, "--dev", patientLimits, "--limit", "chat=4/1m", "--limit-close-after", "0")
	two := serve(t, "--redis", url, "--dev", patientLimits, "--limit", "chat=4/1m", "--limit-close-after", "0")
	_, here := talker(t, one)
	p, there := talker(t, two)
	require.Equal(t, 4, here())
	require.Zero(t, there())

	must(t, "limits", "set", "chat=6/1m", "--redis", url)
	told := p.take("42", func(f frame) bool { return f.name == "limits" && contains(f.body, `"name":"chat","limit":6`) })
	require.NotEmpty(t, told.body)
	require.Equal(t, 2, there(), "four and two are six")
	require.Contains(t, must(t, "limits", "show", "--redis", url), "chat=6/1m0s")

	must(t, "limits", "set", "chat@vip=9/1m", "chat=off", "--redis", url)
	require.Eventually(t, func() bool { return p.ask("chat:message", shout)["ok"] == true }, patience, tick)
	must(t, "limits", "set", "chat=default", "chat@vip=default", "--redis", url)
	require.Eventually(t, func() bool { return p.ask("chat:message", shout)["ok"] == false }, patience, tick)
	require.NotContains(t, must(t, "limits", "show", "--redis", url), "chat=")
}

func contains(b []byte, s string) bool { return strings.Contains(string(b), s) }

func TestLimitsCommands(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--dev", patientLimits, "--limit", "chat=3/1h", "--limit", "chat@vip=7/1h", "--limit", "trade=off")
	p, admitted := talker(t, g)
	require.Equal(t, 3, admitted())

	var policies []ops.PolicyView
	require.NoError(t, json.Unmarshal([]byte(must(t, "limits", "show", "--json", "--redis", url)), &policies))
	seen := map[string]ops.PolicyView{}
	for _, v := range policies {
		seen[v.Name] = v
	}
	require.Equal(t, ops.PolicyView{Name: "chat", Limit: 3, WindowMs: 3_600_000, Scope: "user", Cost: 1, Roles: []string{"vip=7/1h0m0s"}, Overrides: []string{}}, seen["chat"], "as the gateway has it")
	require.Zero(t, seen["trade"].Limit)

	out, _, code := command(t, "limits", "check", "chat", "ann", "--json", "--redis", url)
	require.Equal(t, cli.ExitNo, code)
	var w ops.WindowView
	require.NoError(t, json.Unmarshal([]byte(out), &w))
	require.Zero(t, w.Remaining)
	require.Positive(t, w.RetryAfterMs)
	require.Contains(t, must(t, "limits", "check", "chat", "ann", "--role", "vip", "--redis", url), "4 of 7")
	require.Contains(t, must(t, "limits", "show", "chat", "--redis", url), "ann")

	must(t, "limits", "reset", "chat", "ann", "--redis", url)
	require.Eventually(t, func() bool { return p.ask("chat:message", shout)["ok"] == true }, patience, tick)
	must(t, "limits", "block", "chat", "ann", "--for", "1h", "--redis", url)
	require.Eventually(t, func() bool { return p.ask("chat:message", shout)["ok"] == false }, patience, tick)
	require.Greater(t, p.refused("chat:message", shout)["retryAfterMs"], 3_000_000.0)
	must(t, "limits", "block", "chat", "ann", "--for", "0", "--redis", url)
	require.Eventually(t, func() bool { return p.ask("chat:message", shout)["ok"] == true }, patience, tick)

	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"unknown policy": {[]string{"check", "chatt", "ann"}, cli.ExitUsage},
		"a policy off":   {[]string{"check", "trade", "ann"}, cli.ExitUsage},
		"too long":       {[]string{"block", "chat", "ann", "--for", "10000h"}, cli.ExitUsage},
		"negative":       {[]string{"block", "chat", "ann", "--for=-1s"}, cli.ExitUsage},
		"bad rule":       {[]string{"set", "chat=10"}, cli.ExitUsage},
		"unknown rule":   {[]string{"set", "trade=5/1s", "chatt=10/1s"}, cli.ExitUsage},
	} {
		_, stderr, code := command(t, append(append([]string{"limits"}, c.args...), "--redis", url)...)
		require.Equal(t, c.code, code, "%s: %s", name, stderr)
	}
	require.NotContains(t, must(t, "limits", "show", "--redis", url), "trade=5", "all or nothing")
	_, _, code = command(t, "limits", "show", "--redis", "redis://127.0.0.1:1")
	require.Equal(t, cli.ExitUnreachable, code)
	require.Contains(t, must(t, "limits", "show", "--redis", redistest.URL(t)), "combat", "without a gateway, the defaults")
}

// The file has policies of its own, with scope, cost, roles and the events that spend them;
// SIGHUP reads it again and keeps the windows.
func TestPoliciesOfTheFile(t *testing.T) { // not parallel: the signal reaches every gateway of this process
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	write := func(limit int) {
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
redis: %s
dev: true
limit-close-after: 0
policies:
  chat: {limit: %d, window: 1m, cost: 2, roles: {vip: 40/1m, moderator: off}}
  shouts: {limit: 5, window: 1m, scope: session, message: "Not so loud.", events: ["chat:message"]}
  tabs: {limit: 50, window: 1m, scope: connection, events: ["chat:message"]}
`, redistest.URL(t), limit), 0o600))
	}
	write(4)
	g := serve(t, "--config", file)
	p, admitted := talker(t, g)
	require.Equal(t, 2, admitted(), "each costs two of four")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(string(before)+"nonsense: 1\n"), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	g.logged(1, "settings could not be read again", nil)
	require.Zero(t, admitted())

	write(20)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	g.logged(1, "settings read again: limits", nil)
	require.Equal(t, 3, admitted(), "five shouts, of which two were spent")
	require.Equal(t, "shouts", p.refused("chat:message", shout)["policy"])
	require.Equal(t, "session", p.refused("chat:message", shout)["scope"])
	require.Equal(t, "Not so loud.", p.refused("chat:message", shout)["message"])

	speak := func(id string) answer {
		return do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"hi"}`, bearer(id)...)
	}
	dan, eve := g.guest("dan"), g.guest("eve")
	for range 5 {
		require.Equal(t, http.StatusOK, speak(dan).status)
	}
	a := speak(dan)
	require.Equal(t, "RATE_LIMITED", a.problem(t), "without a socket it costs the same")
	require.Equal(t, "Not so loud.", a.json(t)["title"])
	require.Equal(t, "shouts", a.json(t)["policy"])
	require.Equal(t, http.StatusOK, speak(eve).status)

	for name, text := range map[string]string{
		"unknown field": "policies: {chat: {limt: 3}}",
		"bad role":      "policies: {chat: {roles: {vip: 3}}}",
		"no limit":      "policies: {mine: {limit: 3}}",
		"unknown event": `policies: {mine: {limit: 3, window: 1s, events: ["chat:shout"]}}`,
		"bad scope":     "policies: {chat: {scope: planet}}",
		"too dear":      "policies: {chat: {cost: 11}}",
	} {
		require.NoError(t, os.WriteFile(file, []byte("redis: "+redistest.URL(t)+"\n"+text), 0o600))
		_, stderr, code := command(t, "serve", "--config", file, "--addr", "127.0.0.1:0", "--admin-addr", "")
		require.Equal(t, cli.ExitUsage, code, "%s: %s", name, stderr)
	}
}

// While limits are local players are told, and when they are Redis's again too.
func TestLocalLimitsAreTold(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g := serve(t, "--redis", redis.URL(), "--dev")
	p, _ := talker(t, g)
	redis.Pause()
	require.Eventually(t, func() bool { p.ask("chat:message", shout); return g.limitsLocal() }, patience, tick)
	told := p.take("42", func(f frame) bool { return f.name == "gateway:status" && contains(f.body, `"limits":"local"`) })
	require.NotEmpty(t, told.body)
	redis.Resume()
	p.take("42", func(f frame) bool { return f.name == "gateway:status" && contains(f.body, `"limits":"ok"`) })
}

func (g *gate) limitsLocal() bool {
	limits, _ := g.detailed()["limits"].(map[string]any)
	return limits["local"] == true
}

// Malformed and unknown events are limited by connection, and end it when they go on.
func TestErrorsAreLimited(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", patientLimits, "--limit", "errors=3/1m")
	p := g.connect(g.guest("ann"))
	for i := range 6 {
		e := p.refused([]string{"no:such", "chat:join"}[i%2], `{"nope":1}`)
		require.Equal(t, i >= 3, e["code"] == "RATE_LIMITED", e)
	}
	begun := time.Now()
	for range 40 {
		p.send(`42["no:such"]`)
	}
	e := p.take("42", func(f frame) bool { return f.name == "error" && contains(f.body, `"fatal":true`) })
	require.Contains(t, string(e.body), `"policy":"errors"`)
	require.False(t, p.ended())
	require.Less(t, time.Since(begun), patience)
	g.connect(g.guest("ann"))
}
