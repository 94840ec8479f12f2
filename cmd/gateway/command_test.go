package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/ops"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
)

// must runs a command that is expected to work, and returns its standard output's one line.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := command(t, args...)
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	return strings.TrimSuffix(out, "\n")
}

func create(t *testing.T, url, user string, more ...string) string {
	t.Helper()
	id := must(t, append([]string{"session", "create", "--redis", url, "--user", user, "--username", user}, more...)...)
	require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, id, "the id and nothing else")
	return id
}

func TestSessionsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	id := create(t, url, "ann", "--role", "player", "--role", "admin", "--character", "hero", "--ttl", "1h")

	var shown ops.SessionView
	require.NoError(t, json.Unmarshal([]byte(must(t, "session", "show", id, "--json", "--redis", url)), &shown))
	require.Equal(t, "ann", shown.UserID)
	require.Equal(t, []string{"player", "admin"}, shown.Roles)
	require.Equal(t, "hero", shown.CharacterID)
	require.EqualValues(t, time.Hour.Milliseconds(), shown.TTLMs)
	require.InDelta(t, time.Now().Add(time.Hour).UnixMilli(), shown.ExpiresAt, 60_000)
	require.Contains(t, must(t, "session", "show", id, "--redis", url), "player,admin")

	var made ops.SessionView
	require.NoError(t, json.Unmarshal([]byte(must(t, "session", "create", "--user", "ann", "--username", "Ann", "--json", "--redis", url)), &made))
	require.NotEqual(t, id, made.SessionID)

	var all []ops.SessionView
	require.NoError(t, json.Unmarshal([]byte(must(t, "session", "list", "ann", "--json", "--redis", url)), &all))
	require.Len(t, all, 2)
	require.Equal(t, identity.SessionTag(made.SessionID), made.Session)
	require.Contains(t, must(t, "session", "list", "ann", "--redis", url), made.Session)
	require.JSONEq(t, "[]", must(t, "session", "list", "nobody", "--json", "--redis", url))

	require.Empty(t, must(t, "session", "revoke", id, "--redis", url))
	for _, args := range [][]string{{"session", "revoke", id}, {"session", "show", id}, {"session", "show", "no such id!"}} {
		out, errs, code := command(t, append(args, "--redis", url)...)
		require.Equal(t, cli.ExitNo, code, args)
		require.Empty(t, out)
		require.Contains(t, errs, "no such session")
	}
	require.Equal(t, "1", must(t, "session", "revoke-user", "ann", "--redis", url))
	require.Equal(t, "0", must(t, "session", "revoke-user", "ann", "--redis", url))
}

func TestCreateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a long user":      {[]string{"--user", strings.Repeat("x", 129), "--username", "n"}, "user: "},
		"a space behind":   {[]string{"--user", "u ", "--username", "n"}, "user: "},
		"a control letter": {[]string{"--user", "a\nb", "--username", "n"}, "user: "},
		"a nanosecond":     {[]string{"--user", "u", "--username", "n", "--ttl", "1ns"}, "--ttl"},
		"no time":          {[]string{"--user", "u", "--username", "n", "--ttl", "0s"}, "--ttl"},
	} {
		out, errs, code := command(t, append([]string{"session", "create", "--redis", url}, c.args...)...)
		require.Equal(t, cli.ExitUsage, code, name)
		require.Empty(t, out, name)
		require.Contains(t, errs, c.want, name)
	}
}

func TestATerminalIsNotForTheGuests(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	// Another program wrote this one.
	require.NoError(t, rdb.HSet(t.Context(), keys.Session("abc"), "userId", "ann", "username", "\x1b[2Jann\tx", "roles", "[]").Err())
	require.NoError(t, rdb.Expire(t.Context(), keys.Session("abc"), time.Hour).Err())
	out := must(t, "session", "show", "abc", "--redis", url)
	require.Contains(t, out, "ann")
	require.NotContains(t, out, "\x1b")
}

func TestARevokedSessionIsClosedAndSaysWhy(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url)
	for name, revoke := range map[string]func(id, user string) []string{
		"revoke":      func(id, _ string) []string { return []string{"session", "revoke", id} },
		"revoke-user": func(_, user string) []string { return []string{"session", "revoke-user", user} },
	} {
		t.Run(name, func(t *testing.T) {
			id := create(t, url, name)
			p := g.connect(id)
			require.Equal(t, name, p.event("session")["userId"])
			must(t, append(revoke(id, name), "--reason", "Cheating.", "--redis", url)...)
			require.Equal(t, map[string]any{"code": "SESSION_REVOKED", "reason": "Cheating."}, p.event("session:revoked"))
			require.True(t, p.ended(), "a browser must not come back by itself")

			again := g.handshake(id)
			var refusal struct {
				Message string
				Data    struct{ Code string }
			}
			require.NoError(t, json.Unmarshal(again.take("44", func(frame) bool { return true }).body, &refusal))
			require.Equal(t, "Invalid session", refusal.Message)
			require.Equal(t, "SESSION_INVALID", refusal.Data.Code)
		})
	}
}

func TestTradesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url)
	ann := g.connect(create(t, url, "ann", "--character", "ann-the-knight"))
	bob := g.connect(create(t, url, "bob", "--character", "bob-the-mage"))
	require.NotEmpty(t, must(t, "trade", "mint", "--character", "ann-the-knight", "--item", "sword", "--qty", "2", "--redis", url))
	require.NotEmpty(t, must(t, "trade", "mint", "--character", "ann-the-knight", "--gold", "50", "--redis", url))

	gift := `{"to":"bob","give":{"items":[{"itemId":"sword","qty":1}],"gold":5},"idempotencyKey":"k1"}`
	done := ann.ok("trade:execute", gift)
	require.Equal(t, "completed", done["status"])
	require.Equal(t, done["tradeId"], bob.event("trade:completed")["tradeId"])
	require.Equal(t, done["tradeId"], ann.ok("trade:execute", gift)["tradeId"], "the same key is the same trade")
	require.Equal(t, "INSUFFICIENT_ITEMS", ann.refused("trade:execute", `{"to":"bob","give":{"items":[{"itemId":"sword","qty":2}],"gold":0},"idempotencyKey":"k2"}`)["code"])
	require.Equal(t, "NOT_FOUND", ann.refused("trade:execute", `{"to":"nobody","give":{"items":[],"gold":1},"idempotencyKey":"k3"}`)["code"])
	require.Equal(t, map[string]any{"items": []any{map[string]any{"itemId": "sword", "qty": 1.0}}, "gold": 45.0}, ann.ok("inventory:list", ""))
	require.Equal(t, map[string]any{"items": []any{map[string]any{"itemId": "sword", "qty": 1.0}}, "gold": 5.0}, bob.ok("inventory:list", ""))

	id, _ := done["tradeId"].(string)
	var shown struct{ TradeID, Status string }
	require.NoError(t, json.Unmarshal([]byte(must(t, "trade", "show", id, "--json", "--redis", url)), &shown))
	require.Equal(t, "completed", shown.Status)
	require.Contains(t, must(t, "trade", "show", id, "--redis", url), "1 sword, 5 gold")
	require.Contains(t, must(t, "trade", "list", "--redis", url), id)
	var all []struct{ TradeID string }
	require.NoError(t, json.Unmarshal([]byte(must(t, "trade", "list", "--json", "--redis", url)), &all))
	require.Len(t, all, 1)
	_, errs, code := command(t, "trade", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--redis", url)
	require.Equal(t, cli.ExitNo, code, errs)
	for name, args := range map[string][]string{
		"a negative mint":  {"--item", "sword", "--qty=-1"},
		"no quantity":      {"--item", "sword"},
		"no item":          {"--qty", "1", "--gold", "1"},
		"negative gold":    {"--gold=-1"},
		"a bad item":       {"--item", "a b", "--qty", "1"},
		"a bad character ": {"--item", "a", "--qty", "1", "--character", ""},
	} {
		_, errs, code := command(t, append([]string{"trade", "mint", "--character", "c", "--redis", url}, args...)...)
		require.Equal(t, cli.ExitUsage, code, "%s: %s", name, errs)
	}

	require.Contains(t, must(t, "trade", "audit", "--redis", url), "1 trades, 2 mints")
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	require.NoError(t, rdb.HIncrBy(t.Context(), keys.Inventory("bob-the-mage"), "item:sword", 1).Err())
	out, errs, code := command(t, "trade", "audit", "--redis", url)
	require.Equal(t, cli.ExitNo, code, errs)
	require.Contains(t, out, "BREAK")
	require.Contains(t, out, "bob-the-mage")
	out, _, code = command(t, "trade", "audit", "--json", "--redis", url)
	require.Equal(t, cli.ExitNo, code)
	var report struct{ Breaks []string }
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.NotEmpty(t, report.Breaks)
}
