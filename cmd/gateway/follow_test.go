package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// A member who is taken out of the set of a guild hears nothing more five seconds later, at the
// latest, can neither speak nor read, and is told so, as are the others. A moderator whose roles
// were emptied can do nothing more by then. With a message on rights:changes both hold at once.
func TestRightsFollow(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]bool{"by themselves": false, "by a message": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Server(t)
			rdb := redis.Client()
			g := serve(t, "--redis", redis.URL())
			session := func(user string, flags ...string) string {
				return strings.TrimSpace(must(t, append([]string{"session", "create", "--user", user, "--username", user, "--redis", redis.URL()}, flags...)...))
			}
			require.NoError(t, rdb.SAdd(t.Context(), "guild:g1:members", "ann", "bob").Err())
			modID := session("mod", "--role", "moderator")
			ann, bob, mod := g.connect(session("ann")), g.connect(session("bob")), g.connect(modID)
			const guild, text = `{"channel":"guild:g1"}`, `{"channel":"guild:g1","text":"hi"}`
			for _, p := range []*player{ann, bob, mod} {
				p.ok("chat:join", guild)
			}
			mod.ok("chat:slow", `{"channel":"guild:g1","everyMs":0}`)

			require.NoError(t, rdb.SRem(t.Context(), "guild:g1:members", "bob").Err())
			require.NoError(t, rdb.HSet(t.Context(), "session:"+modID, "roles", "[]").Err())
			begun, within := time.Now(), 5*time.Second
			if message {
				within = time.Second
				require.NoError(t, rdb.Publish(t.Context(), "rights:changes", `{"channel":"guild:g1"}`).Err())
				require.NoError(t, rdb.Publish(t.Context(), "rights:changes", `{"userId":"mod"}`).Err())
			}
			for _, p := range []*player{bob, mod} {
				left := p.event("chat:left")
				require.Equal(t, map[string]any{"channel": "guild:g1", "code": "NOT_IN_CHANNEL"}, left)
			}
			took := time.Since(begun)
			mod.take("42", func(f frame) bool { return f.name == "session" && strings.Contains(string(f.body), `"roles":[]`) })
			require.Less(t, took, within+time.Second, "a second for a busy machine")
			require.Equal(t, "FORBIDDEN", mod.refused("chat:mute", `{"userId":"ann","forMs":60000}`)["code"])
			require.Equal(t, "FORBIDDEN", mod.refused("chat:join", guild)["code"])
			for _, event := range []string{"chat:message", "chat:history"} {
				payload := map[string]string{"chat:message": text, "chat:history": guild}[event]
				require.Equal(t, "NOT_IN_CHANNEL", bob.refused(event, payload)["code"], event)
			}
			ann.ok("chat:message", text)
			ann.event("chat:message")
			bob.ok("session:ping", "")
			_, heard := bob.look("42", func(f frame) bool { return f.name == "chat:message" })
			require.False(t, heard)
			require.Equal(t, "guild:g1", ann.event("presence:left")["channel"], "the others are told")
		})
	}
}
