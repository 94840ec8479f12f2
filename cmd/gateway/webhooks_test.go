package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/signedpost"
	"github.com/aeturnis/realtime/internal/webhooks"
	"github.com/aeturnis/realtime/keys"
)

// Everything that a gateway, its server and the operators' commands do is told, signed with the
// secret that the file has then; the settings that can not be served are refused at start.
func TestWebhooksOfAGateway(t *testing.T) {
	t.Parallel()
	const first, second = "the first secret, long", "the second secret, long"
	var mu sync.Mutex
	secret, got, bad := first, []webhooks.Event{}, 0 // guarded by mu
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if signedpost.Verify(r.Header.Get(signedpost.HeaderName), time.Now(), body, []byte(secret)) != nil {
			bad++
			w.WriteHeader(http.StatusForbidden)
			return
		}
		var e webhooks.Event
		if json.Unmarshal(body, &e) == nil {
			got = append(got, e)
		}
	}))
	t.Cleanup(receiver.Close)
	await := func(kind string, n int) (all []webhooks.Event) {
		t.Helper()
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			all = nil
			for _, e := range got {
				if e.Type == kind {
					all = append(all, e)
				}
			}
			return len(all) >= n
		}, 30*time.Second, 10*time.Millisecond, "%s", kind)
		return all
	}
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(first+"\n"), 0o600))
	server := redistest.Server(t)
	url, rdb := server.URL(), server.Client()
	g := serve(t, "--redis", url, "--dev", "--node", "one", "--combat-timeout", "1s", "--webhook-url", receiver.URL, "--webhook-secret-file", file, "--webhook-retry", "20ms")
	ids := []string{g.guest("ann"), g.guest("bob")}
	ann := g.connect(ids[0])
	bob := g.connect(ids[1])
	await(webhooks.Connected, 2)
	must(t, "trade", "mint", "--character", "ann", "--gold", "9", "--redis", url) // as the nodes tell it
	minted := await(webhooks.ItemMinted, 1)[0]
	require.Equal(t, []webhooks.Party{{CharacterID: "ann"}}, minted.Players)
	gift, _ := ann.ok("trade:execute", `{"to":"bob","give":{"items":[],"gold":4},"idempotencyKey":"k"}`)["tradeId"].(string)
	require.Equal(t, gift, await(webhooks.TradeCompleted, 1)[0].ID)
	ann.ok("chat:join", `{"channel":"global"}`)
	said, _ := ann.ok("chat:message", `{"channel":"global","text":"well"}`)["id"].(string)
	ann.ok("chat:report", `{"channel":"global","id":"`+said+`","reason":"spam"}`)
	require.Contains(t, string(await(webhooks.ChatReported, 1)[0].Data), `"text":"well"`)
	fight, _ := ann.ok("combat:start", `{"npc":"goblin"}`)["combatId"].(string) // which ends when nobody moves
	ended := await(webhooks.CombatEnded, 1)[0]
	require.Equal(t, "combat-"+fight, ended.ID)
	require.Equal(t, []webhooks.Party{{UserID: "ann", CharacterID: "ann"}}, ended.Players)
	var end map[string]any
	require.NoError(t, json.Unmarshal(ended.Data, &end))
	require.Equal(t, fight, end["combatId"])
	require.Equal(t, ann.event("combat:ended")["outcome"], end["outcome"])

	expired := strings.TrimSpace(must(t, "session", "create", "--user", "cat", "--username", "cat", "--ttl", "1s", "--redis", url))
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), keys.Session(expired)).Val() == 0 }, 30*time.Second, 10*time.Millisecond)
	must(t, "jobs", "run", "sessions", "--redis", url)
	ended = await(webhooks.SessionEnded, 1)[0]
	require.Equal(t, []webhooks.Party{{UserID: "cat"}}, ended.Players)
	require.Contains(t, string(ended.Data), `"SESSION_EXPIRED"`)
	require.NotContains(t, string(ended.Data), expired)

	refused := func() int {
		mu.Lock()
		defer mu.Unlock()
		return bad
	}
	require.Zero(t, refused(), "all are signed")
	mu.Lock()
	secret = second
	mu.Unlock()
	must(t, "session", "revoke", ids[1], "--redis", url)
	require.Eventually(t, func() bool { return refused() > 0 }, 30*time.Second, 10*time.Millisecond, "the receiver has the new secret, the gateway the old one")
	require.NoError(t, os.WriteFile(file, []byte(second+"\n"), 0o600))
	ended = await(webhooks.SessionEnded, 2)[1]
	require.Equal(t, "bob", ended.Players[0].UserID)
	require.NotContains(t, string(ended.Data), ids[1])
	gone := await(webhooks.Disconnected, 1)[0]
	require.Equal(t, "bob", gone.Players[0].UserID)
	_ = bob
	require.Zero(t, rdb.XLen(t.Context(), keys.WebhooksParked).Val())

	for _, wrong := range [][]string{
		{"--webhook-url", receiver.URL},
		{"--webhook-secret-file", file},
		{"--webhook-url", "http://game.example/", "--webhook-secret-file", file},
		{"--webhook-url", "http://169.254.169.254/", "--webhook-secret-file", file},
		{"--webhook-url", receiver.URL, "--webhook-secret-file", file, "--webhook-events", "trades"},
		{"--webhook-url", receiver.URL, "--webhook-secret-file", file, "--webhook-retry", "0s"},
		{"--webhook-url", receiver.URL, "--webhook-secret-file", file, "--webhook-retry", "61m"},
		{"--webhook-url", receiver.URL, "--webhook-secret-file", file, "--webhook-queue", "1000001"},
		{"--webhook-url", receiver.URL, "--webhook-secret-file", file, "--webhook-queue", "0"},
		{"--webhook-url", receiver.URL, "--webhook-secret-file", file + ".none"},
	} {
		_, errs, code := command(t, append([]string{"serve", "--dev", "--addr", "127.0.0.1:0", "--admin-addr", "", "--redis", url}, wrong...)...)
		require.Equal(t, 2, code, "%v: %s", wrong, errs)
		require.Contains(t, errs, "--webhook", "%v", wrong)
	}
}

// What Redis refuses of webhooks stops nothing: players fight to the end, trade, report and log
// out. It is counted, and logged once.
func TestTheGameGoesOnWithoutWebhooks(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("a secret, long enough"), 0o600))
	server := redistest.Server(t)
	rdb := server.Client()
	g := serve(t, "--redis", server.URL(), "--dev", "--combat-timeout", "1s", "--webhook-url", "http://127.0.0.1:1/", "--webhook-secret-file", file,
		"--webhook-events", webhooks.CombatEnded, "--webhook-events", webhooks.TradeCompleted, "--webhook-events", webhooks.ItemMinted,
		"--webhook-events", webhooks.ChatReported, "--webhook-events", webhooks.SessionEnded)
	session := g.guest("ann")
	ann, bob := g.connect(session), g.connect(g.guest("bob"))
	g.metric("gateway_webhook_active", func(n float64) bool { return n == 1 })
	require.NoError(t, rdb.Del(t.Context(), keys.Webhooks).Err())
	require.NoError(t, rdb.Set(t.Context(), keys.Webhooks, "no stream", 0).Err())

	must(t, "trade", "mint", "--character", "ann", "--gold", "9", "--redis", server.URL())
	ann.ok("trade:execute", `{"to":"bob","give":{"items":[],"gold":4},"idempotencyKey":"k"}`)
	ann.ok("combat:start", `{"npc":"goblin"}`)
	ann.event("combat:ended")
	ann.ok("chat:join", `{"channel":"global"}`)
	said, _ := ann.ok("chat:message", `{"channel":"global","text":"well"}`)["id"].(string)
	ann.ok("chat:report", `{"channel":"global","id":"`+said+`"}`)
	must(t, "session", "revoke", session, "--redis", server.URL())
	require.True(t, ann.ended())
	require.True(t, bob.open())
	g.metric("gateway_webhook_unwritten", func(n float64) bool { return n == 5 })
	g.logged(1, "webhooks can not be written: what happens is not told", nil)
	require.NoError(t, rdb.Del(t.Context(), keys.Webhooks).Err())
	g.metric("gateway_webhook_active", func(n float64) bool { return n == 1 }) // it delivers again
}
