package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
)

// withoutJSON are the commands that print no data, or whose argument says in which form.
var withoutJSON = map[string]bool{"serve": true, "contract": true, "help": true, "loadtest": true, "completion": true, "man": true}

// leafCommands returns the commands that do something, by their words.
func leafCommands(n *kong.Node, words ...string) (all []string) {
	if len(n.Children) == 0 {
		return []string{strings.Join(words, " ")}
	}
	for _, c := range n.Children {
		all = append(all, leafCommands(c, append(words[:len(words):len(words)], c.Name)...)...)
	}
	return all
}

// Every command that prints data takes --json, also those that change something. With it a command
// prints one JSON document, in which no session id stands, except that of a session it made.
func TestEveryCommandPrintsJSON(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--dev", "--node", "one")
	ids := []string{g.guest("ann"), g.guest("bob"), g.guest("cat")}
	ann := g.connect(ids[0])
	must(t, "trade", "mint", "--character", "ann", "--gold", "9", "--redis", url)
	gift, _ := ann.ok("trade:execute", `{"to":"bob","give":{"items":[],"gold":4},"idempotencyKey":"k"}`)["tradeId"].(string)
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	locks := lock.New(lock.Config{Node: "test"}, rdb)
	t.Cleanup(locks.Close)
	_, err = locks.Acquire(t.Context(), "a:lock", lock.Options{TTL: time.Minute, MaxHold: time.Minute})
	require.NoError(t, err)
	file := writeFile(t, "dev: true\n")

	tried := map[string]bool{}
	for _, c := range []struct {
		command, args string
		want          string // a part of what is printed, without spaces
		code          int
	}{
		{"user show", "ann", `"userId":"ann"`, 0},
		{"user ban", "eve --for 1h --reason bots", `{"userId":"eve","sessions":0,"forMs":3600000,"reason":"bots"}`, 0},
		{"user unban", "eve", `{"userId":"eve"}`, 0},
		{"session create", "--user dan --username dan", `"sessionId":`, 0},
		{"session show", ids[0], `"userId":"ann"`, 0},
		{"session list", "ann", `"userId":"ann"`, 0},
		{"session revoke", ids[1], `"userId":"bob"`, 0},
		{"session revoke-user", "cat --reason cheats", `{"userId":"cat","sessions":1,"reason":"cheats"}`, 0},
		{"session stats", "", `"active":`, 0},
		{"connections", "--session " + ids[0], `"total":1`, 0},
		{"node list", "", `"node":"one","answers":true`, 0},
		{"node drain", "one", `"by":"`, 0},
		{"node undrain", "one", `"node":"one","answers":true`, 0},
		{"limits show", "", `"name":"chat"`, 0},
		{"limits check", "chat ann", `"allowed":true`, 0},
		{"limits reset", "chat ann", `"policy":"chat","subject":"ann"`, 0},
		{"limits block", "chat eve --for 1m", `"blockedUntil":`, 0},
		{"limits set", "chat=7/10s chat@vip=9/10s", `[{"policy":"chat","from":"10/10s","to":"7/10s"},{"policy":"chat@vip","from":"","to":"9/10s"}]`, 0},
		{"limits top", "", `"policies":`, 0},
		{"limits history", "", `"what":"limitsset","target":"chat@vip"`, 0},
		{"trade mint", "--character ann --item sword --qty 2", `"characterId":"ann","goods":{"items":[{"itemId":"sword","qty":2}],"gold":0}`, 0},
		{"trade show", gift, `"status":"completed"`, 0},
		{"trade list", "", gift, 0},
		{"trade history", "--character bob", gift, 0},
		{"trade audit", "", `"trades":1`, 0},
		{"inventory show", "ann", `"gold":5`, 0},
		{"lock list", "", `"name":"a:lock"`, 0},
		{"lock show", "a:lock", `"name":"a:lock"`, 0},
		{"lock cleanup", "", `{"removed":0}`, 0},
		{"jobs list", "", `"name":"temp"`, 0},
		{"jobs run", "temp", `{"job":"temp","tookMs":`, 0},
		{"webhooks list", "", `{"waiting":0,"dropped":0,"total":0,"parked":[]}`, 0},
		{"webhooks replay", "--all", `{"replayed":0}`, 0},
		{"config show", "", `"node":"one"`, 0},
		{"config diff", "", `{"diffs":[],"silent":[]}`, 0},
		{"config check", file, `[]`, 0},
		{"audit-log", "", `"what":"userban","target":"eve"`, 0},
		{"doctor", "", `"verdict":"ok"`, 1}, // the test's Redis keeps nothing
		{"health", "--admin-addr " + strings.TrimPrefix(g.admin, "http://"), `"status":"ok"`, 0},
		{"version", "", `"go":"go1`, 0},
		{"api-key create", "--name shop --scope cast", `"line":`, 0},
	} {
		tried[c.command] = true
		args := append(strings.Fields(c.command+" "+c.args), "--json")
		if c.command != "health" && c.command != "version" && c.command != "api-key create" && c.command != "config check" {
			args = append(args, "--redis", url)
		}
		out, errs, code := command(t, args...)
		require.Equal(t, c.code, code, "%s: %s", c.command, errs)
		d := json.NewDecoder(strings.NewReader(out))
		var data json.RawMessage
		require.NoError(t, d.Decode(&data), "%s: %s", c.command, out)
		require.False(t, d.More(), "%s: one document: %s", c.command, out)
		require.Contains(t, strings.Join(strings.Fields(out), ""), c.want, c.command)
		for _, id := range ids {
			require.NotContains(t, out, id, c.command)
		}
	}
	for _, name := range leafCommands(model(t).Node) {
		require.NotEqual(t, tried[name], withoutJSON[name], "%s has --json, and a case here", name)
	}
}
