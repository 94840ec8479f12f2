package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// TestServerAPIWithASilentNode has a node that is stopped (SIGSTOP) and keeps its connections to
// Redis: every answer comes about a second later, has what the other nodes did, and names the node
// that may have done more. Nothing is lost when it goes on.
func TestServerAPIWithASilentNode(t *testing.T) {
	t.Parallel()
	f, redis := newAPIFile(t), redistest.URL(t)
	key := f.add("--name", "shop", "--scope", allScopes)
	one := serveAPI(t, f, "--redis", redis, "--dev", "--node", "one", patientLimits)
	two, process := start(t, "--redis", redis, "--node", "two")
	a := one.api(key)
	ann, bob := one.connect(one.guest("ann")), two.connect(two.guest("bob"))
	ann.ok("chat:join", `{"channel":"global"}`)
	bob.ok("chat:join", `{"channel":"global"}`)
	a.connectionOf("ann")
	bobConn := a.connectionOf("bob")
	reachesBoth := func() bool {
		out := a.post("cast", `{"all":true,"event":"quest:probe"}`)
		return out["reached"] == 2.0 && out["missing"] == 0.0
	}
	require.Eventually(t, reachesBoth, patience, tick)
	a.post("connections/join", `{"userId":"bob","room":"game:raid"}`)
	a.post("connections/join", `{"userId":"ann","room":"game:raid"}`)
	require.Equal(t, 2.0, a.post("cast", `{"room":"game:raid","event":"quest:probe"}`)["reached"])

	require.NoError(t, process.Process.Signal(syscall.SIGSTOP))
	goOn := func() { _ = process.Process.Signal(syscall.SIGCONT) }
	t.Cleanup(goOn)
	silent := []any{"two"}
	soon := func(what string, call func() map[string]any) map[string]any {
		begun := time.Now()
		out := call()
		require.Less(t, time.Since(begun), 8*time.Second, what) // a second and a quarter on a machine that is not busy
		return out
	}
	post := func(path, body string) map[string]any {
		return soon(body, func() map[string]any { return a.post(path, body) })
	}
	for to, reached := range map[string]float64{
		`"all":true`: 1, `"channel":"global"`: 1, `"room":"game:raid"`: 1, `"userId":"bob"`: 0, `"connection":"` + bobConn + `"`: 0, `"channel":"global","volatile":true`: 1,
	} {
		out := post("cast", `{`+to+`,"event":"quest:done"}`)
		require.Equal(t, reached, out["reached"], to)
		require.GreaterOrEqual(t, out["missing"], 1.0, to) // a busy node may hear its own cast late
		require.Equal(t, silent, out["silent"], to)
		require.Equal(t, false, out["local"], to)
	}
	for _, path := range []string{"connections?userId=bob", "connections?connection=" + bobConn, "connections?channel=global", "connections?room=game:raid"} {
		list := soon(path, func() map[string]any { return a.get(path) })
		require.Equal(t, silent, list["silent"], path)
		require.Equal(t, strings.Contains(path, "global") || strings.Contains(path, "raid"), list["total"] == 1.0, path)
	}
	for _, path := range []string{"connections/join", "connections/leave"} {
		require.Equal(t, map[string]any{"done": 0.0, "refused": []any{}, "silent": silent}, post(path, `{"userId":"bob","room":"game:other"}`))
	}

	// Casts of a batch wait together, and a repeat gets the same answer at once.
	entry := `{"call":"cast","body":{"channel":"global","event":"quest:batch"}}`
	batch := post("batch", `{"calls":[`+strings.Repeat(entry+",", 99)+entry+`]}`)["answers"].([]any)
	require.Len(t, batch, 100)
	for _, one := range batch {
		data := one.(map[string]any)["data"].(map[string]any)
		require.GreaterOrEqual(t, data["missing"], 1.0)
		delete(data, "missing")
		require.Equal(t, map[string]any{"reached": 1.0, "silent": silent, "recoverable": true, "local": false}, data)
	}
	once := a.post("cast", `{"userId":"bob","event":"quest:once"}`, "Idempotency-Key", "k")
	require.GreaterOrEqual(t, once["missing"], 1.0)
	require.Equal(t, once, a.post("cast", `{"userId":"bob","event":"quest:once"}`, "Idempotency-Key", "k"))

	goOn()
	require.Eventually(t, reachesBoth, patience, tick)
	require.Equal(t, "null", bob.received("quest:once"))
	require.Equal(t, 1.0, a.get("connections?userId=bob")["total"])

	require.NoError(t, process.Process.Signal(syscall.SIGSTOP))
	out := post("connections/disconnect", `{"userId":"bob"}`)
	require.Equal(t, map[string]any{"done": 0.0, "refused": []any{}, "silent": silent}, out)
	goOn()
	bob.take("41", func(frame) bool { return true }) // it was asked, and does it when it can
	text, err := json.Marshal(out)
	require.NoError(t, err)
	log, _, code := command(t, "audit-log", "--redis", redis)
	require.Zero(t, code)
	require.Regexp(t, `api disconnect +bob`, log, "%s", text)
}
