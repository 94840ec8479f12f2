package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/signedpost"
)

const questSecret = "the secret of the quests"

const questSchema = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$defs": {"Quest": {"type": "object", "description": "One quest.", "properties": {"id": {"type": "string", "maxLength": 8}, "steps": {"type": "integer", "minimum": 0}}, "required": ["id"], "additionalProperties": false}},
  "events": {
    "quest:accept": {"description": "Accepts a quest. The party is told.", "payload": {"$ref": "#/$defs/Quest"}, "data": {"$ref": "#/$defs/Quest"}, "errors": {"QUEST_FULL": "You have too many quests."}},
    "quest:raw": {"description": "Says what the test wants."},
    "quest:hang": {"description": "Never answers."}
  },
  "casts": {"quest:done": {"description": "A quest is done.", "payload": {"$ref": "#/$defs/Quest"}}},
  "connect": {"errors": {"MAINTENANCE": "The world is closed."}}
}`

// A questRequest is what a backend is sent.
type questRequest struct {
	Event          string          `json:"event"`
	Payload        json.RawMessage `json:"payload"`
	Player         map[string]any  `json:"player"`
	Connection     string          `json:"connection"`
	IdempotencyKey string          `json:"idempotencyKey"`
	Returning      bool            `json:"returning"`
	Node           string          `json:"node"`
	Deadline       int64           `json:"deadline"`
}

// A questBackend is a program of the game that serves quest:*.
type questBackend struct {
	*httptest.Server
	t      testing.TB
	folder string
	secret string // that it verifies with
	over   chan struct{}

	mu       sync.Mutex
	requests []questRequest
	header   string                                      // the signature of the last request; guarded by mu
	answer   func(w http.ResponseWriter, r questRequest) // of quest:raw; guarded by mu
	connect  func(r questRequest) string                 // guarded by mu
	isForged atomic.Bool
	garbles  atomic.Bool // the data is not as the schema has it
}

func newQuestBackend(t testing.TB) *questBackend {
	t.Helper()
	b := &questBackend{t: t, folder: t.TempDir(), secret: questSecret, over: make(chan struct{}), connect: func(questRequest) string { return `{}` }}
	b.write("schema.json", questSchema)
	b.write("secret", questSecret+"\n")
	b.Server = httptest.NewServer(b)
	t.Cleanup(func() {
		close(b.over)
		b.CloseClientConnections()
		b.Close()
	})
	return b
}

func (b *questBackend) write(name, text string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(filepath.Join(b.folder, name), []byte(text), 0o600))
}

// config writes a settings file with this backend and more of its settings, and returns its path.
func (b *questBackend) config(more ...string) string {
	b.t.Helper()
	lines := append([]string{
		"url: " + b.URL, `events: ["quest:*"]`, "schema: " + filepath.Join(b.folder, "schema.json"), "secret-file: " + filepath.Join(b.folder, "secret"),
	}, more...)
	b.write("gateway.yaml", "backends:\n  quests:\n    "+strings.Join(lines, "\n    ")+"\n")
	return filepath.Join(b.folder, "gateway.yaml")
}

// ServeHTTP serves one event.
func (b *questBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	secret := b.secret
	b.header = r.Header.Get(signedpost.HeaderName)
	b.mu.Unlock()
	if err := signedpost.Verify(r.Header.Get(signedpost.HeaderName), time.Now(), body, []byte(secret)); err != nil {
		b.isForged.Store(true)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var q questRequest
	if err := json.Unmarshal(body, &q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.requests = append(b.requests, q)
	answer, connect := b.answer, b.connect
	b.mu.Unlock()
	switch q.Event {
	case "connect":
		_, _ = io.WriteString(w, connect(q))
	case "quest:hang":
		select {
		case <-b.over:
		case <-r.Context().Done():
		}
	case "quest:raw":
		answer(w, q)
	default:
		if b.garbles.Load() {
			q.Payload = json.RawMessage(`{"id":7}`)
		}
		_, _ = fmt.Fprintf(w, `{"data":%s}`, q.Payload)
	}
}

// signatures returns those of the last request.
func (b *questBackend) signatures() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(b.header, ",v1=")[1:]
}

// says has quest:raw be answered so.
func (b *questBackend) says(answer string) {
	b.does(func(w http.ResponseWriter, _ questRequest) { _, _ = io.WriteString(w, answer) })
}

func (b *questBackend) does(answer func(w http.ResponseWriter, r questRequest)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

// judges has players who connect be judged so.
func (b *questBackend) judges(connect func(r questRequest) string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connect = connect
}

// seen returns the requests of an event.
func (b *questBackend) seen(event string) (found []questRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.requests {
		if q.Event == event {
			found = append(found, q)
		}
	}
	return found
}

// TestEventsOfABackend has a program of the game serve events, on two nodes.
func TestEventsOfABackend(t *testing.T) {
	t.Parallel()
	b := newQuestBackend(t)
	url := redistest.URL(t)
	f := newAPIFile(t)
	config := b.config("once: true", "limits: [chat]")
	one := serveAPI(t, f.with("--name", "shop", "--scope", "cast"), "--redis", url, "--dev", "--config", config, "--limit", "chat=1000/10s", "--node", "one")
	two := serve(t, "--redis", url, "--dev", "--config", config, "--limit", "chat=1000/10s")
	ann, bob := one.connect(one.guest("ann")), two.connect(two.guest("bob"))

	t.Run("one signed request", func(t *testing.T) {
		require.Equal(t, map[string]any{"id": "q1", "steps": 3.0}, ann.ok("quest:accept", `{"id":"q1","steps":3}`))
		q := b.seen("quest:accept")[0]
		require.JSONEq(t, `{"id":"q1","steps":3}`, string(q.Payload))
		require.Equal(t, "ann", q.Player["userId"])
		require.Equal(t, "one", q.Node)
		require.Len(t, q.Player["session"], 12, "the id is a secret")
		require.Len(t, q.Connection, 20)
		require.Empty(t, q.IdempotencyKey)
		require.Greater(t, q.Deadline, time.Now().Add(-time.Minute).UnixMilli())
		require.False(t, b.isForged.Load())
	})
	t.Run("what the schema refuses reaches no backend", func(t *testing.T) {
		before := len(b.seen("quest:accept"))
		for payload, want := range map[string][2]string{
			`{"id":"q","hp":1}`:             {"hp", "unknown field"},
			`{}`:                            {"id", "required"},
			``:                              {"id", "required"},
			`{"id":7}`:                      {"id", "expected string"},
			`{"id":"q","steps":-1}`:         {"steps", "minimum: got -1, want 0"},
			`{"id":"q","steps":1.5}`:        {"steps", "expected integer"},
			`{"id":"q","id":"r"}`:           {"id", "given twice"},
			`[1]`:                           {"", "expected an object"},
			`"x"`:                           {"", "expected an object"},
			`{"id":"q","__proto__":{}}`:     {"__proto__", "unknown field"},
			`{"id":"q","idempotencyKey":7}`: {"idempotencyKey", "expected a string"},
		} {
			e := ann.refused("quest:accept", payload)
			require.Equal(t, []any{"INVALID", want[0], want[1]}, []any{e["code"], e["field"], e["reason"]}, payload)
		}
		require.Equal(t, "UNKNOWN_EVENT", ann.refused("quest:other", `{}`)["code"])
		require.Len(t, b.seen("quest:accept"), before)
	})
	t.Run("order of a connection", func(t *testing.T) {
		before := len(b.seen("quest:accept"))
		for i := range 100 {
			ann.send(fmt.Sprintf(`42["quest:accept",{"id":"o%d"}]`, i))
		}
		ann.ok("quest:accept", `{"id":"end"}`)
		got := b.seen("quest:accept")[before:]
		require.Len(t, got, 101)
		for i := range 100 {
			require.JSONEq(t, fmt.Sprintf(`{"id":"o%d"}`, i), string(got[i].Payload))
		}
	})
	t.Run("once", func(t *testing.T) {
		before := len(b.seen("quest:accept"))
		for range 3 {
			require.Equal(t, "k1", ann.ok("quest:accept", `{"id":"k1","idempotencyKey":"key-1"}`)["id"])
		}
		got := b.seen("quest:accept")[before:]
		require.Len(t, got, 1)
		require.Equal(t, "key-1", got[0].IdempotencyKey)
		require.JSONEq(t, `{"id":"k1"}`, string(got[0].Payload), "the key stands beside the payload")
		require.Equal(t, "CONFLICT", ann.refused("quest:accept", `{"id":"k2","idempotencyKey":"key-1"}`)["code"])
		require.Equal(t, "k1", two.connect(two.guest("ann")).ok("quest:accept", `{"idempotencyKey":"key-1","id":"k1"}`)["id"], "on another node, in another order")
		b.says(`nothing`)
		require.Equal(t, "BACKEND_ANSWER", ann.refused("quest:raw", `{"idempotencyKey":"key-2"}`)["code"])
		b.says(`{"data":{"again":true}}`)
		require.Equal(t, true, ann.ok("quest:raw", `{"idempotencyKey":"key-2"}`)["again"], "the backend knows the key")
	})
	t.Run("refusals", func(t *testing.T) {
		b.says(`{"error":{"code":"NOT_FOUND","message":"No such quest.","quest":"q9","more":{"a":[1]}}}`)
		require.Equal(t, map[string]any{"code": "NOT_FOUND", "message": "No such quest.", "quest": "q9", "more": map[string]any{"a": []any{1.0}}}, ann.refused("quest:raw", `{}`))
		b.says(`{"error":{"code":"INVALID","message":"No.","field":"id"}}`)
		require.Equal(t, map[string]any{"code": "INVALID", "message": "No.", "field": "id", "reason": ""}, ann.refused("quest:raw", `{}`))
	})
	t.Run("casts come after the answer, on all nodes", func(t *testing.T) {
		b.says(`{"data":{"n":1},"casts":[{"userId":"bob","event":"quest:done","data":{"id":"q1"}},{"userId":"ann","event":"quest:done","data":{"id":"q1"}},{"all":true,"event":"party:news"}]}`)
		ann.next++
		ann.send(fmt.Sprintf(`42%d["quest:raw",{}]`, ann.next))
		require.Equal(t, "q1", bob.event("quest:done")["id"])
		require.Equal(t, "null", bob.received("party:news"))
		require.Equal(t, "null", ann.received("party:news"))
		require.Eventually(t, func() bool {
			ann.mu.Lock()
			defer ann.mu.Unlock()
			answered := slices.IndexFunc(ann.frames, func(f frame) bool { return f.kind == "43" && f.id == ann.next })
			cast := slices.IndexFunc(ann.frames, func(f frame) bool { return f.name == "quest:done" })
			return answered >= 0 && cast > answered
		}, patience, tick)
		ann.event("quest:done")
		one.api(f.key).post("cast", `{"userId":"ann","event":"quest:done","data":{"id":"api"}}`)
		require.Equal(t, "api", ann.event("quest:done")["id"], "a program beside it may cast them as well")
	})
	t.Run("data that its schema refuses", func(t *testing.T) {
		b.garbles.Store(true)
		require.Equal(t, "BACKEND_ANSWER", ann.refused("quest:accept", `{"id":"q"}`)["code"])
		b.garbles.Store(false)
	})
	t.Run("answers that are none", func(t *testing.T) {
		large := strings.Repeat("x", 256<<10)
		deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
		for _, answer := range []string{
			``, `nothing`, `[]`, `{"data":1}x`, `{"data":{},"data":{}}`, `{"dat":{}}`, `{"data":{},"error":{"code":"NOT_FOUND","message":"x"}}`, "{\"data\":\"\xff\"}",
			`{"data":"` + large + `"}`, `{"data":` + deep + `}`,
			`{"error":"x"}`, `{"error":{}}`, `{"error":{"code":"x","message":"x"}}`, `{"error":{"code":"NOT_FOUND"}}`, `{"error":{"code":"NOT_FOUND","message":7}}`,
			`{"error":{"code":"NOT_FOUND","message":"` + strings.Repeat("x", 513) + `"}}`, `{"error":{"code":"UNAUTHENTICATED","message":"x"}}`,
			`{"error":{"code":"RATE_LIMITED","message":"x"}}`, `{"error":{"code":"QUEST_LOST","message":"not in the schema"}}`, `{"error":{"code":"INVALID","message":"x","field":7}}`,
			`{"casts":{}}`, `{"casts":[7]}`, `{"casts":[{"event":"quest:done"}]}`, `{"casts":[{"all":true,"userId":"bob","event":"quest:heard"}]}`,
			`{"casts":[{"userId":"bob","event":"quest:heard"},{"room":"chat:global","event":"quest:done"}]}`, `{"casts":[{"userId":"bob","event":"quest:heard"},{"room":"user:bob","event":"x"}]}`,
			`{"casts":[{"userId":"bob","event":"quest:heard"},{"userId":"bob","event":"chat:message"}]}`, `{"casts":[{"userId":"bob","event":"quest:heard"},{"userId":"bob","event":"disconnect"}]}`,
			`{"casts":[{"userId":"bob","event":"quest:heard"},{"userId":"bob","event":"session"}]}`, `{"casts":[{"userId":"bob","event":"quest:heard"},{"connection":"bob","event":"x"}]}`,
			`{"casts":[{"userId":"bob","event":"quest:heard"},{"userId":"bob","event":"quest:done","data":{"id":7}}]}`, `{"casts":[{"userId":"bob","event":"quest:heard"},{"userId":"bob","evnt":"x"}]}`,
			`{"casts":[{"userId":"bob","event":"quest:heard"},{"userId":"bob","event":"x","data":` + deep + `}]}`,
			`{"casts":[` + strings.Repeat(`{"userId":"bob","event":"quest:heard"},`, 64) + `{"userId":"bob","event":"quest:heard"}]}`,
			`{"error":{"code":"NOT_FOUND","message":"x"},"casts":[{"userId":"bob","event":"quest:heard"}]}`,
		} {
			b.says(answer)
			e := ann.refused("quest:raw", `{}`)
			require.Equal(t, map[string]any{"code": "BACKEND_ANSWER", "message": "That part of the game gave no proper answer.", "feature": "quests"}, e, "%.200s", answer)
		}
		for _, status := range []int{201, 204, 302, 307, 400, 404, 500} {
			b.does(func(w http.ResponseWriter, _ questRequest) {
				w.Header().Set("Location", "http://169.254.169.254/latest/meta-data")
				w.WriteHeader(status)
			})
			require.Equal(t, "BACKEND_ANSWER", ann.refused("quest:raw", `{}`)["code"], status)
		}
		b.says(`{"casts":[{"userId":"bob","event":"quest:end"}]}`)
		require.Empty(t, ann.ok("quest:raw", `{}`))
		bob.received("quest:end")
		_, isHeard := bob.look("42", func(f frame) bool { return f.name == "quest:heard" })
		require.False(t, isHeard, "nothing half done")
	})
	t.Run("casts of an answer keep their order", func(t *testing.T) {
		var casts []string
		for i := range 64 {
			casts = append(casts, fmt.Sprintf(`{"userId":"bob","event":"quest:step%d"}`, i))
		}
		b.says(`{"casts":[` + strings.Join(casts, ",") + `]}`)
		ann.ok("quest:raw", `{}`)
		bob.received("quest:step63")
		bob.mu.Lock()
		defer bob.mu.Unlock()
		next := 0
		for _, f := range bob.frames {
			if strings.HasPrefix(f.name, "quest:step") {
				require.Equal(t, fmt.Sprint("quest:step", next), f.name)
				next++
			}
		}
		require.GreaterOrEqual(t, next, 63)
	})
	t.Run("a repeat casts nothing again", func(t *testing.T) {
		b.says(`{"data":{"n":7},"casts":[{"userId":"bob","event":"quest:once"}]}`)
		for _, p := range []*player{ann, ann, two.connect(two.guest("ann"))} {
			require.Equal(t, 7.0, p.ok("quest:raw", `{"idempotencyKey":"key-casts"}`)["n"])
		}
		b.says(`{"casts":[{"userId":"bob","event":"quest:after"}]}`)
		ann.ok("quest:raw", `{}`)
		bob.received("quest:once")
		bob.received("quest:after")
		_, isAgain := bob.look("42", func(f frame) bool { return f.name == "quest:once" })
		require.False(t, isAgain)
	})
	t.Run("secrets are changed", func(t *testing.T) {
		b.write("secret", "the new secret of the quests\n"+questSecret+"\n")
		require.Eventually(t, func() bool { return strings.Count(one.err.String(), "secrets of backends read again") > 0 }, patience, tick)
		b.mu.Lock()
		b.secret = "the new secret of the quests"
		b.mu.Unlock()
		require.Eventually(t, func() bool { return ann.ask("quest:accept", `{"id":"s"}`)["ok"] == true }, patience, tick)
		require.Len(t, b.signatures(), 2, "each of the secrets signs")

		b.write("secret", "short\n")
		require.Eventually(t, func() bool { return strings.Contains(one.err.String(), "secrets of backends could not be read again") }, patience, tick)
		require.Equal(t, true, ann.ask("quest:accept", `{"id":"s"}`)["ok"], "the old ones stay")
		require.Len(t, b.signatures(), 2)

		b.write("secret", "the new secret of the quests\n")
		require.Eventually(t, func() bool { return ann.ask("quest:accept", `{"id":"s"}`)["ok"] == true && len(b.signatures()) == 1 }, patience, tick, "what was taken out signs no more")
		b.mu.Lock()
		b.secret = questSecret
		b.mu.Unlock()
		require.Equal(t, "BACKEND_ANSWER", ann.refused("quest:accept", `{"id":"s"}`)["code"], "a program that knows only the old one refuses it")
		b.mu.Lock()
		b.secret = "the new secret of the quests"
		b.mu.Unlock()
	})
	t.Run("metrics", func(t *testing.T) {
		text := string(do(t, "GET", one.admin+"/metrics", "").body)
		for _, want := range []string{`gateway_backend_calls_total{backend="quests",code="ok",event="quest:accept"}`, `gateway_backend_calls_total{backend="quests",code="BACKEND_ANSWER",event="quest:raw"}`, `gateway_backend_reachable{backend="quests"} 1`, `gateway_backend_waiting{backend="quests"} 0`, `gateway_backend_seconds_count{backend="quests"}`} {
			require.Contains(t, text, want)
		}
	})
	t.Run("documents of this gateway", func(t *testing.T) {
		types := string(do(t, "GET", one.public+"/events.d.ts", "").body)
		for _, want := range []string{
			"'quest:accept': (payload: {", "idempotencyKey?: string;", "ack: (answer: Answer<QuestsQuest, SharedCode | 'BACKEND_ANSWER' | 'CONFLICT' | 'FORBIDDEN' | 'LOCKED' | 'NOT_FOUND' | 'QUEST_FULL'>) => void) => void;",
			"export interface QuestsQuest {", "'quest:done': (payload: QuestsQuest, offset?: string) => void;", "| 'QUEST_FULL' // You have too many quests.",
			"'quest:raw': (payload: Record<string, unknown>, ",
		} {
			require.Contains(t, types, want)
		}
		asyncAPI := do(t, "GET", one.public+"/asyncapi.json", "").json(t)
		require.Contains(t, asyncAPI["components"].(map[string]any)["schemas"], "QuestsQuest")
		require.Contains(t, asyncAPI["operations"], "quest.accept")
		require.Contains(t, asyncAPI["operations"], "on.quest.done")
		var out, errs output
		require.NoError(t, runProgram(t.Context(), []string{"contract", "--config", config, "markdown"}, environment(nil), &out, &errs))
		for _, want := range []string{"### quest:accept\n\nAccepts a quest. The party is told.\n", "Spends `chat`.", "### type QuestsQuest\n\nOne quest.\n", "| `quest:done` * | [QuestsQuest](#type-questsquest) | A quest is done. |", "| `QUEST_FULL` | You have too many quests. |"} {
			require.Contains(t, out.String(), want)
		}
		out = output{}
		require.NoError(t, runProgram(t.Context(), []string{"contract", "markdown"}, environment(nil), &out, &errs))
		require.NotContains(t, out.String(), "quest:accept")
	})
}

// TestABackendThatIsAway hangs and dies and returns: its events say so, and others notice nothing.
func TestABackendThatIsAway(t *testing.T) {
	t.Parallel()
	b := newQuestBackend(t)
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--config", b.config("timeout: 300ms", "waiting: 3"))
	ann := g.connect(g.guest("ann"))
	b.does(func(w http.ResponseWriter, _ questRequest) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	e := ann.refused("quest:raw", `{}`)
	require.Equal(t, []any{"UNAVAILABLE", "quests"}, []any{e["code"], e["feature"]})
	require.Positive(t, e["retryAfterMs"])

	// It hangs: each event ends by its deadline, a bound on what waits holds, others are served.
	require.Equal(t, "TIMEOUT", ann.refused("quest:hang", `{}`)["code"])
	var players []*player
	for i := range 5 {
		players = append(players, g.connect(g.guest(fmt.Sprint("p", i))))
	}
	for _, p := range players {
		p.send(`421["quest:hang",{}]`)
	}
	ann.ok("session:ping", "")
	ann.ok("chat:join", `{"channel":"global"}`)
	codes := map[string]int{}
	for _, p := range players {
		codes[fmt.Sprint(errorOf(t, p.take("43", func(f frame) bool { return f.id == 1 }).body)["code"])]++
	}
	require.Equal(t, map[string]int{"TIMEOUT": 3, "UNAVAILABLE": 2}, codes)

	// It is known to be away: what it serves is refused at once.
	require.Eventually(t, func() bool {
		ann.refused("quest:hang", `{}`)
		return strings.Contains(g.err.String(), "backend does not answer")
	}, patience, tick)
	require.Eventually(t, func() bool {
		before := len(b.seen("quest:hang"))
		e := ann.refused("quest:hang", `{}`)
		return e["code"] == "UNAVAILABLE" && e["feature"] == "quests" && len(b.seen("quest:hang")) == before
	}, patience, tick)

	// It dies, and returns.
	b.CloseClientConnections()
	address := b.Listener.Addr().String()
	_ = b.Listener.Close()
	require.Equal(t, "UNAVAILABLE", ann.refused("quest:accept", `{"id":"q"}`)["code"])
	again := httptest.NewUnstartedServer(b)
	_ = again.Listener.Close()
	require.Eventually(t, func() (ok bool) {
		l, err := net.Listen("tcp", address)
		again.Listener = l
		return err == nil
	}, patience, tick)
	again.Start()
	t.Cleanup(again.Close)
	require.Eventually(t, func() bool { return ann.ask("quest:accept", `{"id":"q"}`)["ok"] == true }, patience, tick)
	require.Eventually(t, func() bool { return strings.Contains(g.err.String(), "backend answers again") }, patience, tick)

	// An answer that comes late counts for nothing.
	b.does(func(w http.ResponseWriter, r questRequest) {
		_, _ = io.WriteString(w, `{"casts":[{"userId":"ann","event":"quest:late"}],`)
		w.(http.Flusher).Flush()
		select {
		case <-time.After(time.Until(time.UnixMilli(r.Deadline)) + 100*time.Millisecond):
		case <-b.over:
		}
		_, _ = io.WriteString(w, `"data":{}}`)
	})
	require.Equal(t, "TIMEOUT", ann.refused("quest:raw", `{}`)["code"])
	b.says(`{"casts":[{"userId":"ann","event":"quest:end"}]}`)
	ann.ok("quest:raw", `{}`)
	ann.received("quest:end")
	_, isHeard := ann.look("42", func(f frame) bool { return f.name == "quest:late" })
	require.False(t, isHeard)
}

// greeting waits for `session`, and returns it and its offset, as JSON.
func (p *player) greeting() (welcome map[string]any, offset string) {
	p.t.Helper()
	f := p.take("42", func(f frame) bool { return f.name == "session" })
	require.NoError(p.t, json.Unmarshal(f.body, &welcome))
	return welcome, string(f.last)
}

// errorOf returns the error of an answer.
func errorOf(t testing.TB, body []byte) map[string]any {
	t.Helper()
	var a struct {
		Error map[string]any `json:"error"`
	}
	require.NoError(t, json.Unmarshal(body, &a), string(body))
	return a.Error
}

// TestABackendJudgesWhoConnects has a program of the game refuse players, and add to what others
// may.
func TestABackendJudgesWhoConnects(t *testing.T) {
	t.Parallel()
	b := newQuestBackend(t)
	b.judges(func(r questRequest) string {
		switch r.Player["userId"] {
		case "eve":
			return `{"error":{"code":"MAINTENANCE","message":"The world is closed until noon.","reason":"patch"}}`
		case "mallory":
			return `{"roles":7}`
		case "gm":
			return `{"roles":["gm"],"channels":["global","guild:none"],"rooms":["game:lobby"],"data":{"motd":"hello"}}`
		}
		return `{}`
	})
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--dev", "--config", b.config("connect: refuse", "roles: [gm]"))

	refused := g.handshake(g.guest("eve")).take("44", func(frame) bool { return true })
	require.JSONEq(t, `{"message":"The world is closed until noon.","data":{"code":"MAINTENANCE","reason":"patch"}}`, string(refused.body))
	mallory := g.handshake(g.guest("mallory"))
	require.Eventually(t, func() bool { return !mallory.open() }, patience, tick, "an answer that is none judges nobody")
	require.False(t, mallory.ended(), "the client comes back by itself")

	gm, session := (*player)(nil), g.guest("gm")
	gm = g.handshake(session)
	connected := gm.take("40", func(frame) bool { return true })
	welcome, offset := gm.greeting()
	require.Equal(t, []any{"player", "gm"}, welcome["roles"])
	require.Equal(t, []any{"global", "guild:none"}, welcome["channels"])
	require.Equal(t, map[string]any{"motd": "hello"}, welcome["data"])
	require.Equal(t, "q", gm.ok("quest:accept", `{"id":"q"}`)["id"], "the role holds")
	gm.ok("chat:message", `{"channel":"global","text":"hello"}`)
	b.says(`{"casts":[{"room":"game:lobby","event":"lobby:news"}]}`)
	gm.ok("quest:raw", `{}`)
	gm.received("lobby:news")
	ann := g.connect(g.guest("ann"))
	require.Equal(t, "FORBIDDEN", ann.refused("quest:accept", `{"id":"q"}`)["code"])
	require.Contains(t, g.err.String(), `"code":"MAINTENANCE"`)

	// The same player comes back: with the same rights it goes on, with others it gets a new
	// connection.
	var told struct{ PID string }
	require.NoError(t, json.Unmarshal(connected.body, &told))
	come := func(pid string) (p *player, welcome map[string]any, nextPID string) {
		_ = gm.conn.Close()
		p, _, err := dial(t, g)
		require.NoError(t, err)
		p.send(fmt.Sprintf(`40{"sessionId":%q,"pid":%q,"offset":%s}`, session, pid, offset))
		f := p.take("40", func(frame) bool { return true })
		var told struct{ PID string }
		require.NoError(t, json.Unmarshal(f.body, &told))
		welcome, offset = p.greeting()
		return p, welcome, told.PID
	}
	before := len(b.seen("connect"))
	var pid string
	gm, welcome, pid = come(told.PID)
	require.Equal(t, true, welcome["recovered"])
	require.Equal(t, []any{"player", "gm"}, welcome["roles"])
	require.True(t, b.seen("connect")[before].Returning)
	b.judges(func(questRequest) string { return `{}` })
	gm, welcome, _ = come(pid)
	require.Equal(t, false, welcome["recovered"], "its rights have changed")
	require.Equal(t, []any{"player"}, welcome["roles"])
	require.Equal(t, "FORBIDDEN", gm.refused("quest:accept", `{"id":"q"}`)["code"])

	// The backend is away.
	admits := serve(t, "--redis", url, "--dev", "--config", b.config("connect: admit"))
	b.CloseClientConnections()
	_ = b.Listener.Close()
	p := g.handshake(g.guest("ann"))
	require.Eventually(t, func() bool { return !p.open() }, patience, tick)
	admits.connect(admits.guest("ann")).ok("session:ping", "")
}

// TestABackendThatJudgesHangs lets others in meanwhile, and the client whose judgement hangs comes
// back by itself.
func TestABackendThatJudgesHangs(t *testing.T) {
	t.Parallel()
	b := newQuestBackend(t)
	b.judges(func(r questRequest) string {
		if r.Player["userId"] == "eve" {
			<-b.over
		}
		return `{"data":{"for":"` + r.Player["userId"].(string) + `"}}`
	})
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--config", b.config("connect: admit", "timeout: 2s", "waiting: 2"))
	eve := g.handshake(g.guest("eve"))
	require.Eventually(t, func() bool { return len(b.seen("connect")) == 1 }, patience, tick)
	for i := range 5 {
		p := g.handshake(g.guest(fmt.Sprint("p", i)))
		p.take("40", func(frame) bool { return true })
		welcome, _ := p.greeting()
		require.Equal(t, map[string]any{"for": fmt.Sprint("p", i)}, welcome["data"], "it was judged")
		p.ok("quest:accept", `{"id":"q"}`)
		_ = p.conn.Close()
	}
	welcome, _ := eve.greeting()
	require.Nil(t, welcome["data"], "its time is over, and it is let in with nothing added")
}

// TestBackendsThatAreRefused names what is wrong with the settings of backends, with its line,
// before anything is served.
func TestBackendsThatAreRefused(t *testing.T) {
	t.Parallel()
	b := newQuestBackend(t)
	schema, secret := filepath.Join(b.folder, "schema.json"), filepath.Join(b.folder, "secret")
	b.write("short", "short\n")
	b.write("broken.json", "{\n  \"events\": {\n    \"quest:accept\": {\"payload\": {\"type\": \"strin\"}}\n  }\n}")
	b.write("syntax.json", "{\n  \"events\": {,}\n}")
	b.write("typo.json", "{\n  \"event\": {}\n}")
	b.write("remote.json", `{"events":{"quest:accept":{"payload":{"$ref":"https://example.com/x.json"}}}}`)
	b.write("draft7.json", `{"$schema":"http://json-schema.org/draft-07/schema#","events":{"quest:accept":{}}}`)
	b.write("chat.json", `{"events":{"chat:poll":{}}}`)
	b.write("code.json", `{"events":{"quest:accept":{"errors":{"RATE_LIMITED":"x"}}}}`)
	b.write("cast.json", `{"events":{"quest:accept":{}},"casts":{"trade:won":{}}}`)
	in := func(name string) string { return filepath.Join(b.folder, name) }
	for name, c := range map[string]struct {
		entry string
		line  int
		fault string
	}{
		"http elsewhere":      {"url: http://quests.example/", 3, "must be https"},
		"link-local":          {"url: https://169.254.169.254/", 3, "link-local"},
		"no url":              {"timeout: 1s", 2, "is required"},
		"a login":             {"url: https://a:b@quests.example/", 3, "login"},
		"a word too much":     {"url: https://quests.example/\n    urls: x", 2, "field urls not found"},
		"a slow one":          {"url: https://quests.example/\n    timeout: 1h", 4, "handler-timeout"},
		"a connect":           {"url: https://quests.example/\n    connect: maybe", 4, "refuse or admit"},
		"no such schema":      {"url: https://quests.example/\n    schema: /nowhere.json", 4, "no such file"},
		"a wrong schema":      {"url: https://quests.example/\n    schema: " + in("broken.json"), 4, "quest:accept"},
		"no JSON":             {"url: https://quests.example/\n    schema: " + in("syntax.json"), 4, "line 2"},
		"a typo":              {"url: https://quests.example/\n    schema: " + in("typo.json"), 4, "event"},
		"another file":        {"url: https://quests.example/\n    schema: " + in("remote.json"), 4, "another file"},
		"an older draft":      {"url: https://quests.example/\n    schema: " + in("draft7.json"), 4, "2020-12"},
		"another feature":     {"url: https://quests.example/\n    schema: " + in("chat.json"), 4, "chat:poll is not among"},
		"a code of ours":      {"url: https://quests.example/\n    schema: " + in("code.json"), 4, "RATE_LIMITED"},
		"a short secret":      {"url: https://quests.example/\n    secret-file: " + in("short"), 4, "16 to 256 bytes"},
		"no such authority":   {"url: https://quests.example/\n    ca: /nowhere.pem", 4, "no such file"},
		"events of a feature": {`url: https://quests.example/` + "\n    events: [\"chat:*\"]\n    schema: " + in("chat.json"), 4, "chat:poll: the gateway has events of chat itself"},
		"casts of a feature":  {"url: https://quests.example/\n    schema: " + in("cast.json"), 4, "trade:won"},
		"no such limit":       {"url: https://quests.example/\n    limits: [nothing]", 4, "nothing"},
		"no name":             {"url: https://quests.example/\n    events: [quest]", 4, "quest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entry := c.entry
			for key, line := range map[string]string{"secret-file": secret, "events": `["quest:*"]`, "schema": schema} {
				if !strings.Contains(entry, key+":") {
					entry += "\n    " + key + ": " + line
				}
			}
			path := writeFile(t, "backends:\n  quests:\n    "+entry+"\n")
			var out, errs output
			err := runProgram(t.Context(), []string{"config", "check", "--json", path}, environment(nil), &out, &errs)
			require.Error(t, err)
			var faults []struct {
				Line  int
				Key   string
				Fault string
			}
			require.NoError(t, json.Unmarshal([]byte(out.String()), &faults), out.String())
			require.Len(t, faults, 1, out.String())
			require.Contains(t, faults[0].Fault, c.fault)
			require.Equal(t, c.line, faults[0].Line, out.String())
			require.Contains(t, faults[0].Key, "backends: quests")
			out = output{}
			err = runProgram(t.Context(), []string{"serve", "--dev", "--addr", "127.0.0.1:0", "--admin-addr", "", "--config", path}, environment(nil), &out, &errs)
			require.ErrorContains(t, err, c.fault, "it is not served")
		})
	}
}
