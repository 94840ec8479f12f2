package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

var apiLine = regexp.MustCompile(`(?m)^server api +(http://\S+/server/v1/)$`)

// An apiFile is a file of keys of the server API.
type apiFile struct {
	t     testing.TB
	path  string
	lines []string
	key   string // the last one
}

// with adds a key, and returns the file.
func (f *apiFile) with(args ...string) *apiFile {
	f.t.Helper()
	f.add(args...)
	return f
}

func newAPIFile(t testing.TB) *apiFile {
	t.Helper()
	return &apiFile{t: t, path: filepath.Join(t.TempDir(), "keys")}
}

// add makes a key by the command, and writes it into the file.
func (f *apiFile) add(args ...string) (key string) {
	f.t.Helper()
	var out, errs output
	require.NoError(f.t, runProgram(f.t.Context(), append([]string{"api-key", "create"}, args...), environment(nil), &out, &errs))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(f.t, lines, 2)
	require.NotContains(f.t, lines[1], lines[0])
	f.lines, f.key = append(f.lines, lines[1]), lines[0]
	f.write(f.lines...)
	return lines[0]
}

func (f *apiFile) write(lines ...string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(f.path, []byte("# keys\n"+strings.Join(lines, "\n")+"\n"), 0o600))
}

// An apiClient is a program that calls the server API of one node with one key.
type apiClient struct {
	t    testing.TB
	root string
	key  string
}

// api returns a program that calls this node.
func (g *gate) api(key string) apiClient {
	g.t.Helper()
	return apiClient{g.t, apiLine.FindStringSubmatch(g.out.String())[1], key}
}

// serveAPI serves a node with a server API.
func serveAPI(t testing.TB, f *apiFile, args ...string) *gate {
	t.Helper()
	return serve(t, append([]string{"--api-addr", "127.0.0.1:0", "--api-keys-file", f.path}, args...)...)
}

func (a apiClient) do(method, path, body string, headers ...string) answer {
	a.t.Helper()
	return do(a.t, method, a.root+path, body, append(headers, bearer(a.key)...)...)
}

// post calls with a body, and returns the answer, which must be ok.
func (a apiClient) post(path, body string, headers ...string) map[string]any {
	a.t.Helper()
	r := a.do("POST", path, body, headers...)
	require.Equal(a.t, 200, r.status, "%s %s: %s", path, body, r.body)
	return r.json(a.t)
}

// get calls with a query, and returns the answer, which must be ok.
func (a apiClient) get(path string) map[string]any {
	a.t.Helper()
	r := a.do("GET", path, "")
	require.Equal(a.t, 200, r.status, "%s: %s", path, r.body)
	return r.json(a.t)
}

// refused calls, and returns the code of the refusal.
func (a apiClient) refused(method, path, body string, headers ...string) string {
	a.t.Helper()
	r := a.do(method, path, body, headers...)
	require.NotEqual(a.t, 200, r.status, "%s %s: %s", path, body, r.body)
	return r.problem(a.t)
}

// connectionOf returns the id of the only connection of a user.
func (a apiClient) connectionOf(user string) string {
	a.t.Helper()
	var id string
	require.Eventually(a.t, func() bool {
		list := a.get("connections?userId=" + user)["connections"].([]any)
		if len(list) == 1 {
			id = list[0].(map[string]any)["connection"].(string)
		}
		return id != ""
	}, patience, tick)
	return id
}

// received waits for an event, and returns its payload.
func (p *player) received(name string) string {
	p.t.Helper()
	return string(p.take("42", func(f frame) bool { return f.name == name }).body)
}

const allScopes = "cast,connections,presence,history,sessions,moderation,goods,limits"

// TestServerAPI makes every call on two nodes: what one is asked to do reaches the players of both.
func TestServerAPI(t *testing.T) {
	t.Parallel()
	f := newAPIFile(t)
	key := f.add("--name", "shop", "--scope", allScopes)
	url := redistest.URL(t)
	one, two := serveAPI(t, f, "--redis", url, "--dev", "--node", "one"), serveAPI(t, f, "--redis", url, "--dev", "--node", "two")
	a := one.api(key)
	ann, bob := one.connect(one.guest("ann")), two.connect(two.guest("bob"))
	ann.ok("chat:join", `{"channel":"global"}`)
	bob.ok("chat:join", `{"channel":"global"}`)
	annConn, bobConn := a.connectionOf("ann"), a.connectionOf("bob")

	t.Run("cast", func(t *testing.T) {
		require.Eventually(t, func() bool { return a.post("cast", `{"all":true,"event":"quest:probe"}`)["reached"] == 2.0 }, patience, tick)
		for _, c := range []struct {
			to          string
			reached     int
			recoverable bool
		}{
			{`"all":true`, 2, false},
			{`"channel":"global"`, 2, true},
			{`"userId":"bob"`, 1, true},
			{`"connection":"` + bobConn + `"`, 1, true},
			{`"connection":"` + annConn + `"`, 1, true},
			{`"userId":"nobody"`, 0, true},
			{`"connection":"xxxxxxxxxxxxxxxxxxxx"`, 0, true},
			{`"channel":"global","volatile":true`, 2, false},
			{`"room":"game:raid-7"`, 0, true},
		} {
			out := a.post("cast", fmt.Sprintf(`{%s,"event":"quest:done","data":{"id":7,"text":"ä\n"}}`, c.to))
			require.Equal(t, map[string]any{"reached": float64(c.reached), "missing": 0.0, "recoverable": c.recoverable, "local": false}, out, c.to)
		}
		for range 5 { // all twice, the channel, and himself
			require.JSONEq(t, `{"id":7,"text":"ä\n"}`, bob.received("quest:done"))
		}
		for range 4 {
			ann.received("quest:done")
		}
	})

	t.Run("join, leave", func(t *testing.T) {
		done := map[string]any{"done": 1.0, "refused": []any{}, "silent": []any{}}
		require.Equal(t, done, a.post("connections/join", `{"userId":"bob","room":"game:raid-7"}`))
		require.Equal(t, done, a.post("connections/join", `{"connection":"`+annConn+`","room":"game:raid-7"}`))
		require.Equal(t, 2.0, a.post("cast", `{"room":"game:raid-7","event":"raid:began"}`)["reached"])
		ann.received("raid:began")
		bob.received("raid:began")
		list := a.get("connections?room=game:raid-7")
		require.Equal(t, 2.0, list["total"])
		require.Equal(t, done, a.post("connections/leave", `{"userId":"bob","room":"game:raid-7"}`))
		require.Equal(t, 1.0, a.post("cast", `{"room":"game:raid-7","event":"raid:ended"}`)["reached"])
		require.Equal(t, done, a.post("connections/join", `{"userId":"bob","channel":"zone:7"}`))
		require.Equal(t, 1.0, a.get("connections?channel=zone:7")["total"])
		require.Eventually(t, func() bool { return a.get("presence/channel?channel=zone:7")["total"] == 1.0 }, patience, tick)
		require.Equal(t, "NOT_FOUND", a.refused("POST", "connections/join", `{"userId":"nobody","room":"game:raid-7"}`))
	})

	t.Run("presence, history", func(t *testing.T) {
		require.Eventually(t, func() bool { return a.get("presence/user?userId=bob")["online"] == true }, patience, tick)
		require.Equal(t, false, a.get("presence/user?userId=nobody")["online"])
		require.Equal(t, 2.0, a.get("presence/channel?limit=1")["total"])
		ann.ok("chat:message", `{"channel":"global","text":"hello"}`)
		require.Eventually(t, func() bool { return len(a.get("history?channel=global")["messages"].([]any)) == 1 }, patience, tick)
		require.Equal(t, "INVALID", a.refused("GET", "history?channel=global&limit=x", ""))
		require.Equal(t, "INVALID", a.refused("GET", "history?channel=global&channel=x", ""))
		require.Equal(t, "INVALID", a.refused("GET", "history?channel=global&what=x", ""))
	})

	t.Run("sessions", func(t *testing.T) {
		made := a.post("sessions/create", `{"userId":"eve","username":"Eve","roles":["vip"],"ttlMs":60000}`)
		eve := two.connect(made["sessionId"].(string))
		shown := a.get("sessions?session=" + made["session"].(string))["sessions"].([]any)[0].(map[string]any)
		require.Equal(t, "eve", shown["userId"])
		require.NotContains(t, shown, "sessionId")
		require.Len(t, a.get("sessions?userId=eve")["sessions"], 1)
		require.Equal(t, 1.0, a.post("sessions/revoke", `{"session":"`+made["session"].(string)+`","reason":"over"}`)["ended"])
		require.Contains(t, eve.received("session:revoked"), "over")
		require.Equal(t, "NOT_FOUND", a.refused("POST", "sessions/revoke", `{"session":"`+made["session"].(string)+`"}`))
		require.Equal(t, "NOT_FOUND", a.refused("GET", "sessions?session=0123456789ab", ""))
	})

	t.Run("bans, sanctions", func(t *testing.T) {
		require.Equal(t, "NOT_FOUND", a.refused("GET", "bans?userId=mal", ""))
		require.Equal(t, 0.0, a.post("bans/set", `{"userId":"mal","forMs":60000,"reason":"spam"}`)["endedSessions"])
		require.Equal(t, "spam", a.get("bans?userId=mal")["reason"])
		a.post("bans/lift", `{"userId":"mal"}`)
		require.Equal(t, "NOT_FOUND", a.refused("POST", "bans/lift", `{"userId":"mal"}`))
		require.Equal(t, "api-key shop", a.post("sanctions/impose", `{"kind":"mute","userId":"bob","forMs":60000}`)["by"])
		require.Contains(t, bob.received("chat:sanction"), `"kind":"mute"`)
		require.Len(t, a.get("sanctions?userId=bob")["sanctions"], 1)
		a.post("sanctions/lift", `{"kind":"mute","userId":"bob"}`)
		require.Empty(t, a.get("sanctions?userId=bob")["sanctions"])
	})

	t.Run("goods, limits", func(t *testing.T) {
		mint := `{"characterId":"hero","items":[{"itemId":"sword","qty":2}],"gold":5}`
		first := a.post("goods/mint", mint, "Idempotency-Key", "order-7")
		require.Equal(t, first, a.post("goods/mint", mint, "Idempotency-Key", "order-7"))
		require.Equal(t, "CONFLICT", a.refused("POST", "goods/mint", strings.Replace(mint, "2", "3", 1), "Idempotency-Key", "order-7"))
		owned := a.get("goods/inventory?characterId=hero")
		require.Equal(t, 5.0, owned["gold"])
		require.Equal(t, "NOT_FOUND", a.refused("GET", "goods/trade?tradeId=nothing", ""))
		require.NotEmpty(t, a.get("limits")["policies"])
		a.post("limits/set", `{"rules":["chat@vip=7/1s"]}`)
		require.Equal(t, "INVALID", a.refused("POST", "limits/set", `{"rules":["chat@vip=9/1s","nothing=1/1s"]}`))
		text, err := json.Marshal(a.get("limits"))
		require.NoError(t, err)
		require.Contains(t, string(text), "chat@vip=7/1s")
	})

	t.Run("disconnect, revoke all", func(t *testing.T) {
		require.Equal(t, 1.0, a.post("connections/disconnect", `{"connection":"`+bobConn+`"}`)["done"])
		bob.take("41", func(frame) bool { return true })
		require.Equal(t, "NOT_FOUND", a.refused("POST", "connections/disconnect", `{"connection":"`+bobConn+`"}`))
		a.post("sessions/create", `{"userId":"kim","username":"Kim"}`)
		a.post("sessions/create", `{"userId":"kim","username":"Kim"}`)
		require.Equal(t, 2.0, a.post("sessions/revoke", `{"userId":"kim","reason":"sold"}`)["ended"])
		require.Empty(t, a.get("sessions?userId=kim")["sessions"])
	})

	t.Run("audit", func(t *testing.T) {
		out, _, code := command(t, "audit-log", "--redis", url)
		require.Zero(t, code)
		for _, what := range []string{
			"session create +eve", "session revoke +eve", "session revoke-user +kim", "user ban +mal", "user unban +mal", "chat mute +bob", "chat unmute +bob",
			"trade mint +hero", "limits set +chat", "api disconnect +connection " + bobConn,
		} {
			require.Regexp(t, `api-key shop +`+what, out)
		}
	})
}

// TestServerAPIKeys is who may call: a key with the scope, and none that was taken out of the file.
func TestServerAPIKeys(t *testing.T) {
	t.Parallel()
	f := newAPIFile(t)
	shop, mod := f.add("--name", "shop", "--scope", "cast", "--limit", "5/1h"), f.add("--name", "mod", "--scope", "moderation")
	g := serveAPI(t, f, "--redis", redistest.URL(t), patientLimits)
	for name, c := range map[string]struct{ key, code string }{
		"none":            {"", "UNAUTHENTICATED"},
		"another":         {shop + "x", "UNAUTHENTICATED"},
		"a long one":      {strings.Repeat("x", 5000), "UNAUTHENTICATED"},
		"without a right": {mod, "FORBIDDEN"},
	} {
		require.Equal(t, c.code, g.api(c.key).refused("POST", "cast", `{"all":true,"event":"x:y"}`), name)
	}
	require.Equal(t, "Bearer", g.api("").do("POST", "batch", `{}`).header.Get("WWW-Authenticate"))
	require.Equal(t, "NOT_FOUND", g.api(shop).refused("GET", "nothing", ""))
	require.Equal(t, "NOT_FOUND", g.api(shop).refused("GET", "cast", ""))

	for range 3 {
		g.api(shop).post("cast", `{"all":true,"event":"x:y"}`)
	}
	entry := `{"call":"cast","body":{"all":true,"event":"x:y"}}`
	require.Equal(t, "RATE_LIMITED", g.api(shop).refused("POST", "batch", `{"calls":[`+strings.Repeat(entry+",", 2)+entry+`]}`), "three, where two are left")
	require.Len(t, g.api(shop).post("batch", `{"calls":[`+entry+","+entry+`]}`)["answers"], 2)
	limited := g.api(shop).do("POST", "cast", `{"all":true,"event":"x:y"}`)
	require.Equal(t, 429, limited.status)
	require.NotEmpty(t, limited.header.Get("Retry-After"))

	f.write(f.lines[0], "- {name: mod, oops}") // a file that is wrong changes nothing
	g.logged(1, "keys of the server API could not be read again: the old ones stay", nil)
	require.Equal(t, "NOT_FOUND", g.api(mod).refused("GET", "bans?userId=ann", ""))
	f.write(f.lines[0])
	require.Eventually(t, func() bool { return g.api(mod).do("GET", "bans?userId=ann", "").status == 401 }, patience, tick)
	f.write(f.lines...)
	require.Eventually(t, func() bool { return g.api(mod).do("GET", "bans?userId=ann", "").status == 404 }, patience, tick)
}

// SIGHUP reads the file of keys again, also one that does not look changed: it has the size and the
// time of the one before.
func TestServerAPIKeysFollowSIGHUP(t *testing.T) { // not parallel: the signal reaches every gateway of this process
	f := newAPIFile(t)
	mod := f.add("--name", "mod", "--scope", "moderation")
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(f.path, old, old))
	g := serveAPI(t, f, "--redis", redistest.URL(t), patientLimits)
	status := func() int { return g.api(mod).do("GET", "bans?userId=ann", "").status }
	replace := func(from, to string) {
		text, err := os.ReadFile(f.path)
		require.NoError(t, err)
		changed := strings.Replace(string(text), from, to, 1)
		require.NotEqual(t, string(text), changed)
		require.Len(t, changed, len(text))
		require.NoError(t, os.WriteFile(f.path+".new", []byte(changed), 0o600))
		require.NoError(t, os.Chtimes(f.path+".new", old, old))
		require.NoError(t, os.Rename(f.path+".new", f.path))
	}
	hangUp := func() { require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP)) }
	require.Equal(t, 404, status())

	replace(`"moderation"`, `"moderatiox"`)
	hangUp()
	g.logged(1, "keys of the server API could not be read again: the old ones stay", nil)
	require.Equal(t, 404, status())
	require.NotContains(t, g.err.String(), "keys of the server API read again", "nothing but the signal has it read")

	replace(`"moderatiox"`, `"history"   `)
	hangUp()
	g.logged(1, "keys of the server API read again", nil)
	require.Equal(t, 403, status())
}

// TestServerAPIRefuses is what a program must not send: each is refused with a code that names the
// field, and nothing of it is done.
func TestServerAPIRefuses(t *testing.T) {
	t.Parallel()
	f := newAPIFile(t)
	g := serveAPI(t, f.with("--name", "shop", "--scope", allScopes), "--redis", redistest.URL(t), "--dev")
	a := g.api(f.key)
	ann := g.connect(g.guest("ann"))
	for name, c := range map[string]struct{ path, body, code, field string }{
		"no receiver":             {"cast", `{"event":"x:y"}`, "INVALID", ""},
		"two receivers":           {"cast", `{"all":true,"userId":"ann","event":"x:y"}`, "INVALID", ""},
		"a foreign room":          {"cast", `{"room":"user:ann","event":"x:y"}`, "INVALID", "room"},
		"a room of the chat":      {"cast", `{"room":"chat:global","event":"x:y"}`, "INVALID", "room"},
		"a connection as a room":  {"cast", `{"connection":"user:ann","event":"x:y"}`, "INVALID", "connection"},
		"no channel":              {"cast", `{"channel":"../x","event":"x:y"}`, "INVALID", "channel"},
		"no user":                 {"cast", `{"userId":" ann","event":"x:y"}`, "INVALID", "userId"},
		"no event":                {"cast", `{"all":true}`, "INVALID", "event"},
		"a reserved event":        {"cast", `{"all":true,"event":"disconnect"}`, "INVALID", "event"},
		"an unprintable event":    {"cast", `{"all":true,"event":"a\u0000"}`, "INVALID", "event"},
		"an event of the gateway": {"cast", `{"all":true,"event":"chat:message"}`, "FORBIDDEN", "event"},
		"another of the gateway":  {"cast", `{"all":true,"event":"trade:forged"}`, "FORBIDDEN", "event"},
		"one without a feature":   {"cast", `{"all":true,"event":"limits"}`, "FORBIDDEN", "event"},
		"an unknown field":        {"cast", `{"all":true,"event":"x:y","datum":1}`, "INVALID", "datum"},
		"a wrong type":            {"cast", `{"all":"yes","event":"x:y"}`, "INVALID", "all"},
		"deep data":               {"cast", `{"all":true,"event":"x:y","data":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, "INVALID", "data"},
		"large data":              {"cast", `{"all":true,"event":"x:y","data":"` + strings.Repeat("x", 256<<10) + `"}`, "PAYLOAD_TOO_LARGE", "data"},
		"a large body":            {"cast", `{"all":true,"event":"x:y","data":"` + strings.Repeat("x", 1_000_000) + `"}`, "PAYLOAD_TOO_LARGE", ""},
		"no JSON":                 {"cast", `{"all":true,`, "INVALID", ""},
		"a list":                  {"cast", `[]`, "INVALID", ""},
		"a name twice":            {"cast", `{"all":true,"all":true,"event":"x:y"}`, "INVALID", ""},
		"join of a foreign room":  {"connections/join", `{"userId":"ann","room":"user:bob"}`, "INVALID", "room"},
		"join of nothing":         {"connections/join", `{"userId":"ann"}`, "INVALID", ""},
		"a ban without an end":    {"bans/set", `{"userId":"ann"}`, "INVALID", "forMs"},
		"a session without user":  {"sessions/create", `{"username":"x"}`, "INVALID", "userId"},
		"a short session":         {"sessions/create", `{"userId":"x","username":"x","ttlMs":5}`, "INVALID", "ttlMs"},
		"a bad role":              {"sessions/create", `{"userId":"x","username":"x","roles":["\n"]}`, "INVALID", "roles[0]"},
		"nothing to mint":         {"goods/mint", `{"characterId":"x"}`, "TRADE_EMPTY", ""},
		"a mint of less":          {"goods/mint", `{"characterId":"x","items":[{"itemId":"sword","qty":-1}]}`, "INVALID", "items[0].qty"},
		"an empty batch":          {"batch", `{"calls":[]}`, "INVALID", "calls"},
		"a long batch":            {"batch", `{"calls":[` + strings.Repeat(`{"call":"cast"},`, 100) + `{"call":"cast"}]}`, "INVALID", "calls"},
	} {
		r := a.do("POST", c.path, c.body)
		require.Equal(t, c.code, r.problem(t), "%s: %s", name, r.body)
		if c.field != "" {
			require.Equal(t, c.field, r.json(t)["field"], "%s: %s", name, r.body)
		}
	}
	require.Equal(t, 0.0, a.get("goods/inventory?characterId=x")["gold"])
	require.Empty(t, a.get("sessions?userId=x")["sessions"])
	require.Equal(t, 1.0, a.post("cast", `{"all":true,"event":"last:one"}`)["reached"])
	ann.received("last:one")
	ann.mu.Lock()
	defer ann.mu.Unlock()
	for _, f := range ann.frames {
		require.NotContains(t, []string{"x:y", "chat:message", "disconnect"}, f.name)
	}
}

// TestServerAPIOnce is idempotency, and batches: each call of one has its own answer, in order.
func TestServerAPIOnce(t *testing.T) {
	t.Parallel()
	f := newAPIFile(t)
	url := redistest.URL(t)
	shop := f.add("--name", "shop", "--scope", allScopes)
	other := f.add("--name", "other", "--scope", "cast")
	one, two := serveAPI(t, f, "--redis", url, "--dev"), serveAPI(t, f, "--redis", url, "--dev")
	a := one.api(shop)
	ann := one.connect(one.guest("ann"))
	cast := func(n int) string { return fmt.Sprintf(`{"userId":"ann","event":"n:%d","data":%d}`, n, n) }

	once := []string{"Idempotency-Key", "cast-1"}
	first := a.post("cast", cast(1), once...)
	require.Equal(t, 1.0, first["reached"])
	require.Equal(t, first, two.api(shop).post("cast", `{ "data":1, "event":"n:1", "userId":"ann" }`, once...), "the same payload, on another node")
	require.Equal(t, "CONFLICT", a.refused("POST", "cast", cast(2), once...))
	require.Equal(t, 1.0, one.api(other).post("cast", cast(2), once...)["reached"], "another program's key")
	require.Equal(t, "INVALID", a.refused("POST", "cast", cast(2), "Idempotency-Key", strings.Repeat("x", 65)))
	require.Equal(t, "INVALID", a.refused("GET", "limits", "", "Idempotency-Key", "x"))
	require.Equal(t, "INVALID", a.refused("POST", "cast", `{}`, "Idempotency-Key", "mended"))
	a.post("cast", cast(3), "Idempotency-Key", "mended")

	batch := `{"calls":[
		{"call":"cast","body":` + cast(4) + `},
		{"call":"cast","body":{"room":"user:ann","event":"n:9"}},
		{"call":"nothing"},
		{"call":"sessions.create","body":{"userId":"kim","username":"Kim"}},
		{"call":"sessions.show","body":{"userId":"kim"}},
		{"call":"cast","body":` + cast(5) + `,"idempotencyKey":"own"},
		{"call":"cast","body":` + cast(6) + `}]}`
	type entry struct {
		Status int
		Data   map[string]any
		Error  map[string]any
	}
	var answers [2]struct{ Answers []entry }
	for i := range answers {
		r := a.do("POST", "batch", batch, "Idempotency-Key", "batch-1")
		require.Equal(t, 200, r.status, "%s", r.body)
		require.NoError(t, json.Unmarshal(r.body, &answers[i]))
	}
	for _, a := range answers {
		require.Len(t, a.Answers[4].Data["sessions"], 1)
		a.Answers[4].Data = nil // when the session ends is read anew
	}
	var statuses []int
	for _, e := range answers[0].Answers {
		statuses = append(statuses, e.Status)
	}
	require.Equal(t, []int{200, 400, 400, 200, 200, 200, 200}, statuses)
	require.Equal(t, "room", answers[0].Answers[1].Error["field"])
	require.Equal(t, answers, [2]struct{ Answers []entry }{answers[1], answers[0]}, "a repeat of the batch does nothing again")
	require.Len(t, a.get("sessions?userId=kim")["sessions"], 1)

	a.post("batch", `{"calls":[{"call":"cast","body":`+cast(7)+`},{"call":"cast","body":`+cast(8)+`}]}`)
	for n := 1; n <= 8; n++ { // each once, in order
		var e frame
		require.Eventually(t, func() (ok bool) {
			e, ok = ann.look("42", func(f frame) bool { return strings.HasPrefix(f.name, "n:") })
			return ok
		}, patience, time.Millisecond)
		require.Equal(t, fmt.Sprintf("n:%d", n), e.name)
	}
	_, found := ann.look("42", func(f frame) bool { return strings.HasPrefix(f.name, "n:") })
	require.False(t, found)
}
