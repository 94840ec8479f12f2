package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// setRules changes the rights of a Redis user.
func setRules(t *testing.T, admin redis.UniversalClient, user string, rules ...string) {
	t.Helper()
	args := []any{"acl", "setuser", user}
	for _, r := range rules {
		args = append(args, r)
	}
	require.NoError(t, admin.Do(t.Context(), args...).Err())
}

// TestAMissingRightIsNamed: a gateway whose Redis user may not do what it needs is not ready, says
// what is missing, and is ready again when the line of its log was run.
func TestAMissingRightIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ without, rules []string }{
		"scripts":  {[]string{"-@scripting"}, []string{"+eval", "+evalsha"}},
		"channels": {[]string{"resetchannels"}, []string{"&session:revocations", "&ratelimit:changes", "&cache:invalidations", "&lock:releases", "&rights:changes", "&socket.io*", "+psubscribe", "&socket.io#/#*"}},
		"TIME":     {[]string{"-time"}, []string{"+time"}},
		"SCAN":     {[]string{"-scan"}, []string{"+scan"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Server(t)
			admin := s.Client()
			setRules(t, admin, "game", append([]string{"on", ">secret", "~*", "&*", "+@all"}, c.without...)...)
			g := serve(t, "--redis", "redis://game:secret@"+s.Addr(), "--dev")
			unready := func() {
				t.Helper()
				a := do(t, "GET", g.public+"/health/ready", "")
				require.Equal(t, http.StatusServiceUnavailable, a.status)
				require.Equal(t, map[string]any{"status": "redis forbidden"}, a.json(t))
				a = do(t, "GET", g.admin+"/health/ready", "")
				require.Equal(t, http.StatusServiceUnavailable, a.status)
				require.Equal(t, map[string]any{"status": "redis forbidden", "error": "missing rights: " + strings.Join(c.rules, " ")}, a.json(t))
			}
			unready() // from the first answer on
			require.Equal(t, map[string]any{"status": "degraded"}, do(t, "GET", g.public+"/health/redis", "").json(t))
			a := do(t, "GET", g.admin+"/health/redis", "")
			require.Equal(t, http.StatusServiceUnavailable, a.status)
			require.Equal(t, "missing rights: "+strings.Join(c.rules, " "), a.json(t)["error"])
			require.NotContains(t, string(a.body), "game", "the name of the user is for the log")
			require.Equal(t, http.StatusServiceUnavailable, do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "").status)
			line := "ACL SETUSER game " + strings.Join(c.rules, " ")
			require.Contains(t, g.err.String(), line)

			require.NoError(t, admin.Do(t.Context(), anySlice(strings.Fields(line))...).Err())
			g.status(g.public+"/health/ready", 200, soon)
			g.connect(g.guest("ann")).ok("session:ping", "")

			setRules(t, admin, "game", c.without...)
			g.status(g.public+"/health/ready", 503, 3*soon) // within five seconds, as long as nothing fails
			unready()
			require.Equal(t, 2, strings.Count(g.err.String(), line), "it is told once each time")
		})
	}
}

func anySlice(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

func TestACommandThatTheServerDoesNotHaveIsNamed(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.Server(t, "--rename-command", "TIME", "").URL(), "--dev")
	a := do(t, "GET", g.admin+"/health/ready", "")
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "commands that the server does not have: TIME", a.json(t)["error"])
}

var aclLine = regexp.MustCompile(`ACL SETUSER game [^"]+`)

// TestTheRightsThatAreNamedAreEnough begins with a user who may hardly do anything, runs the lines
// of the log until the gateway is ready, and plays. Redis must refuse nothing then.
func TestTheRightsThatAreNamedAreEnough(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	admin := s.Client()
	setRules(t, admin, "game", "on", ">secret", "+@connection")
	g := serve(t, "--redis", "redis://game:secret@"+s.Addr(), "--dev", "--log-format", "json")
	require.Eventually(t, func() bool {
		lines := aclLine.FindAllString(g.err.String(), -1)
		if len(lines) > 0 {
			require.NoError(t, admin.Do(t.Context(), anySlice(strings.Fields(lines[len(lines)-1]))...).Err())
		}
		return do(t, "GET", g.public+"/health/ready", "").status == 200
	}, patience, 10*tick, "%s", g.err)
	playEverything(t, g, s, admin)
}

// TestTheRightsInTheDocumentsAreEnough plays as the Redis user of docs/configuration.md.
func TestTheRightsInTheDocumentsAreEnough(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^ACL SETUSER .*$`).FindString(string(text))
	require.NotEmpty(t, line)
	s := redistest.Server(t)
	admin := s.Client()
	require.NoError(t, admin.Do(t.Context(), anySlice(strings.Fields(line))...).Err())
	g := serve(t, "--redis", "redis://gateway:SECRET@"+s.Addr(), "--dev")
	require.Equal(t, 200, do(t, "GET", g.public+"/health/ready", "").status)
	require.NotContains(t, string(do(t, "GET", g.admin+"/health/redis", "").body), "INFO")
	playEverything(t, g, s, admin)
}

// playEverything uses each feature, and fails when Redis refused a command meanwhile.
func playEverything(t *testing.T, g *gate, s *redistest.Instance, admin redis.UniversalClient) {
	t.Helper()
	require.NoError(t, admin.Do(t.Context(), "acl", "log", "reset").Err())
	session := g.guest("bob")
	ann, bob := g.connect(g.guest("ann")), g.connect(session)
	for _, p := range []*player{ann, bob} {
		p.ok("chat:join", `{"channel":"global"}`)
	}
	ann.ok("chat:message", `{"channel":"global","text":"hi","clientId":"one"}`)
	ann.ok("chat:whisper", `{"to":"bob","text":"hi"}`)
	bob.ok("chat:history", `{"channel":"global"}`)
	bob.ok("presence:list", `{"channel":"global"}`)
	fight, _ := ann.ok("combat:start", `{"npc":"training-dummy"}`)["combatId"].(string)
	ann.ok("combat:action", `{"combatId":"`+fight+`","action":"attack"}`)
	bob.ok("combat:state", `{"combatId":"`+fight+`"}`)
	ann.ok("combat:list", ``)

	must(t, "trade", "mint", "--character", "ann", "--item", "sword", "--qty", "1", "--redis", s.URL())
	id, _ := ann.ok("trade:propose", `{"to":"bob"}`)["tradeId"].(string)
	ann.ok("trade:offer", fmt.Sprintf(`{"tradeId":%q,"items":[{"itemId":"sword","qty":1}],"gold":0,"version":1}`, id))
	bob.ok("trade:accept", fmt.Sprintf(`{"tradeId":%q,"version":2}`, id))
	require.Equal(t, "completed", ann.ok("trade:accept", fmt.Sprintf(`{"tradeId":%q,"version":2}`, id))["status"])
	bob.ok("inventory:list", ``)
	other, _ := ann.ok("trade:propose", `{"to":"bob"}`)["tradeId"].(string)
	ann.ok("trade:cancel", fmt.Sprintf(`{"tradeId":%q}`, other))
	for _, path := range []string{"/api/users/ann", "/api/characters/ann", "/api/leaderboards/wins"} {
		require.Less(t, do(t, "GET", g.public+path, "", bearer(session)...).status, 500, path)
	}
	renewed := do(t, "POST", g.public+"/auth/renew", "", bearer(session)...)
	require.Equal(t, 200, renewed.status)
	require.Equal(t, 204, do(t, "POST", g.public+"/auth/logout", "", bearer(renewed.json(t)["sessionId"].(string))...).status)
	for _, entry := range admin.ACLLog(t.Context(), 128).Val() {
		if !strings.Contains("info config|get", entry.Object) && !strings.HasPrefix(entry.Object, "operators:") { // without these a node serves all the same
			t.Errorf("Redis refused %s: %s %s", entry.Reason, entry.Object, entry.Context)
		}
	}
}
