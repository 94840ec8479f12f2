package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// Without --dev the game says who is in a guild, and moderators may come in everywhere.
func TestGuildsAreForTheirMembers(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g := serve(t, "--redis", redis.URL())
	session := func(user string, flags ...string) string {
		args := append([]string{"session", "create", "--user", user, "--username", user, "--redis", redis.URL()}, flags...)
		return strings.TrimSpace(must(t, args...))
	}
	require.NoError(t, redis.Client().SAdd(t.Context(), "guild:wolves:members", "ann").Err())
	id := session("bob")
	ann, bob, mod := g.connect(session("ann")), g.connect(id), g.connect(session("mod", "--role", "moderator"))
	ann.ok("chat:join", `{"channel":"guild:wolves"}`)
	mod.ok("chat:join", `{"channel":"guild:wolves"}`)
	require.Equal(t, "FORBIDDEN", bob.refused("chat:join", `{"channel":"guild:wolves"}`)["code"])
	require.Equal(t, "FORBIDDEN", bob.refused("chat:join", `{"channel":"party:any"}`)["code"])
	require.Equal(t, "NOT_IN_CHANNEL", bob.refused("chat:message", `{"channel":"guild:wolves","text":"hi"}`)["code"])
	post := do(t, "POST", g.public+"/chat/message", `{"channel":"guild:wolves","text":"hi"}`, bearer(id)...)
	require.Equal(t, "FORBIDDEN", post.problem(t))
	ann.ok("chat:message", `{"channel":"guild:wolves","text":"howl"}`)
	require.Equal(t, "howl", mod.event("chat:message")["text"])
	for _, open := range []string{"global", "zone:1", "combat:1"} {
		bob.ok("chat:join", fmt.Sprintf(`{"channel":%q}`, open))
	}
}

// Who joins a fight's channel watches the fight, until it leaves.
func TestAFightsChannelIsItsAudience(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev")
	ann, eve := g.connect(g.guest("ann")), g.connect(g.guest("eve"))
	id := ann.ok("combat:start", `{"npc":"training-dummy"}`)["combatId"].(string)
	channel := fmt.Sprintf(`{"channel":"combat:%s"}`, id)
	act := fmt.Sprintf(`{"combatId":%q,"action":"defend"}`, id)
	eve.ok("chat:join", channel)
	ann.ok("combat:action", act)
	require.Equal(t, id, eve.event("combat:update")["combatId"])
	ann.event("combat:update")
	eve.ok("chat:leave", channel)
	require.Eventually(t, func() bool { return ann.ask("combat:action", act)["ok"] == true }, patience, 50*tick)
	ann.event("combat:update")
	eve.ok("session:ping", "")
	_, seen := eve.look("42", func(f frame) bool { return f.name == "combat:update" })
	require.False(t, seen)
}

func TestAChannelWithoutAHistory(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	g := serve(t, "--redis", redis.URL(), "--chat-history", "0")
	ann := g.connect(strings.TrimSpace(must(t, "session", "create", "--user", "ann", "--username", "ann", "--redis", redis.URL())))
	ann.ok("chat:join", `{"channel":"global"}`)
	ann.ok("chat:message", `{"channel":"global","text":"hi"}`)
	require.Equal(t, "hi", ann.event("chat:message")["text"])
	require.Empty(t, ann.ok("chat:history", `{"channel":"global"}`)["messages"])
	require.NoError(t, g.stop()) // what waits is written
	require.Zero(t, redis.Client().Exists(t.Context(), "chat:global:history").Val())
}
