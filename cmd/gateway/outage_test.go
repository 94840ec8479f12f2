package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// soon is within a second, as the contract says, and what a busy machine adds.
const soon = 3 * time.Second

func TestLifeWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ lose, back func(*redistest.Instance) }{
		"killed":  {(*redistest.Instance).Kill, (*redistest.Instance).Restart},
		"hanging": {(*redistest.Instance).Pause, (*redistest.Instance).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Server(t)
			g := serve(t, "--redis", redis.URL(), "--dev", "--limit", "chat=3/1m")
			ann, bob := g.connect(g.guest("ann")), g.connect(g.guest("bob"))
			for _, p := range []*player{ann, bob} {
				p.ok("chat:join", `{"channel":"global"}`)
			}
			fight := ann.ok("combat:start", `{"npc":"training-dummy"}`)["combatId"]
			ids := []string{g.guest("cat")}
			g.status(g.public+"/health/ready", 200, soon)
			g.status(g.public+"/health/redis", 200, soon)

			c.lose(redis)
			g.status(g.public+"/health/ready", 503, soon)
			g.status(g.public+"/health/redis", 503, soon)
			g.status(g.admin+"/health/detailed", 503, soon)
			require.Equal(t, 200, do(t, "GET", g.public+"/health/live", "").status)
			withoutRedis(t, g, ann, bob, fmt.Sprint(fight))

			c.back(redis)
			g.status(g.public+"/health/ready", 200, soon)
			g.status(g.public+"/health/redis", 200, soon)
			ann.take("42", func(f frame) bool { return f.name == "gateway:status" && contains(f.body, `"trade":"ok"`) })
			if name == "killed" { // it kept nothing: the sessions are gone, and everybody is told
				require.Equal(t, "SESSION_REVOKED", ann.event("session:revoked")["code"])
				require.True(t, ann.ended())
				require.True(t, bob.ended())
				ids[0] = g.guest("cat")
				ann = g.connect(g.guest("ann"))
			} else {
				require.True(t, ann.open())
			}
			g.connect(ids[0])
			withRedis(t, g, ann, redis)
		})
	}
}

// withoutRedis is the column "down" of the design's table.
func withoutRedis(t *testing.T, g *gate, ann, bob *player, fight string) {
	t.Helper()
	for _, p := range []*player{ann, bob} {
		told := p.take("42", func(f frame) bool { return f.name == "gateway:status" && contains(f.body, `"trade":"paused"`) })
		require.Contains(t, string(told.body), `"chat":"local"`)
	}
	_, res, err := dial(t, g)
	require.Error(t, err)
	require.Equal(t, 503, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	poll := do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "")
	require.Equal(t, 503, poll.status)
	require.NotEmpty(t, poll.header.Get("Retry-After"))
	require.NotContains(t, string(poll.body), `"sid"`)

	ann.ok("session:ping", "")
	ann.ok("chat:message", `{"channel":"global","text":"anybody there?"}`)
	require.Equal(t, "anybody there?", bob.event("chat:message")["text"])
	ann.ok("chat:message", `{"channel":"global","text":"2"}`)
	ann.ok("chat:message", `{"channel":"global","text":"3"}`)
	require.Equal(t, "RATE_LIMITED", ann.refused("chat:message", `{"channel":"global","text":"4"}`)["code"], "the local window")

	for name, payload := range map[string]string{
		"combat:start":   `{"npc":"training-dummy"}`,
		"combat:action":  `{"combatId":"` + fight + `","action":"attack"}`,
		"trade:execute":  `{"to":"bob","give":{"items":[],"gold":1},"idempotencyKey":"k"}`,
		"inventory:list": ``,
	} {
		begun := time.Now()
		e := ann.refused(name, payload)
		require.Equal(t, "UNAVAILABLE", e["code"], "%s: %v", name, e)
		require.NotEmpty(t, e["feature"], name)
		require.NotEmpty(t, e["retryAfterMs"], name)
		require.Less(t, time.Since(begun), patience, name)
	}
	login := do(t, "POST", g.public+"/auth/login", `{"username":"dan"}`)
	require.Equal(t, http.StatusServiceUnavailable, login.status)
	require.Equal(t, "UNAVAILABLE", login.problem(t))
	require.NotEmpty(t, login.header.Get("Retry-After"))
	post := do(t, "POST", g.public+"/chat/message", `{"channel":"global","text":"x"}`, bearer("whoever")...)
	require.Equal(t, http.StatusServiceUnavailable, post.status)
	for _, p := range []*player{ann, bob} {
		require.True(t, p.open(), "who is connected stays")
	}
}

// withRedis shows that everything works again, without a restart of ours.
func withRedis(t *testing.T, g *gate, ann *player, redis *redistest.Instance) {
	t.Helper()
	ann.ok("session:ping", "")
	ann.ok("chat:join", `{"channel":"zone:1"}`)
	fight := ann.ok("combat:start", `{"npc":"training-dummy"}`)["combatId"]
	ann.ok("combat:action", fmt.Sprintf(`{"combatId":%q,"action":"attack"}`, fight))
	must(t, "trade", "mint", "--character", "ann", "--gold", "9", "--redis", redis.URL())
	require.Equal(t, "completed", ann.ok("trade:execute", `{"to":"zoe","give":{"items":[],"gold":4},"idempotencyKey":"again"}`)["status"])
	require.Contains(t, must(t, "trade", "audit", "--redis", redis.URL()), "1 trades, 1 mints")
	// Limits are Redis's again: the window that refuses is one that both transports share.
	require.Eventually(t, func() bool { return g.detailed()["limits"].(map[string]any)["local"] == false }, soon, tick)
}

// A handshake that Redis fails in the middle of gets no answer, so that it comes back.
func TestRedisFailsWhileAHandshakeIsJudged(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g := serve(t, "--redis", redis.URL(), "--dev")
	id := g.guest("ann")
	p, _, err := dial(t, g)
	require.NoError(t, err)
	redis.Kill()
	p.send(fmt.Sprintf(`40{"sessionId":%q}`, id))
	require.False(t, p.ended())
	_, refused := p.look("44", func(frame) bool { return true })
	require.False(t, refused)
	g.logged(1, "handshake could not be judged", map[string]any{"addr": "127.0.0.1"})
	require.NotContains(t, g.err.String(), id)
}
