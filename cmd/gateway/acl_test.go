package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// aclRows returns the rules of each row of the first table under a heading of docs/redis-acl.md.
func aclRows(t *testing.T, heading string) (rows []string) {
	t.Helper()
	_, section, found := strings.Cut(textOf(t, "../../docs/redis-acl.md"), "\n## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	_, table, _ := strings.Cut(section, "|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, line := range strings.Split(strings.TrimSpace(table), "\n") {
		rows = append(rows, strings.Split(line, "`")[1])
	}
	return rows
}

// giveRows sets the rights of a Redis user to all rows but one.
func giveRows(t *testing.T, admin redis.UniversalClient, user string, rows []string, without string) {
	t.Helper()
	rules := []string{"reset", "on", ">secret"}
	for _, row := range rows {
		if row != without {
			rules = append(rules, strings.Fields(row)...)
		}
	}
	setRules(t, admin, user, rules...)
}

// refusedFor reports whether Redis refused our user one of the rules since the log was reset.
func refusedFor(ctx context.Context, admin redis.UniversalClient, row string) bool {
	for _, entry := range admin.(*redis.Client).ACLLog(ctx, 128).Val() {
		for _, rule := range strings.Fields(row) {
			pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(rule[1:]), `\*`, ".*") + "$"
			kinds := map[byte]string{'+': "command", '~': "key", '&': "channel"}
			if rule == "+@connection" {
				pattern = "^(ping|client.*|select|echo)$"
			}
			if ok, _ := regexp.MatchString(pattern, strings.ToLower(entry.Object)); ok && entry.Reason == kinds[rule[0]] {
				return true
			}
		}
	}
	return false
}

// A caller uses the gateway, for each right anew.
type aclTrial struct {
	*gate
	url     string // of Redis, as the user with the rights
	admin   redis.UniversalClient
	ann     *player
	session string // of ann
	tries   int
}

// works reports whether an event is served as usual. It returns false for a message that only this
// node's players heard, as in an outage.
func (c *aclTrial) works(name, payload string) bool {
	a := c.ann.ask(name, payload)
	data, _ := a["data"].(map[string]any)
	return a["ok"] == true && data["local"] != true
}

// enter logs ann in and connects her, as soon as the gateway admits players.
func (c *aclTrial) enter(t *testing.T, url string) {
	t.Helper()
	c.session = create(t, url, "ann", "--character", "ann")
	require.Eventually(t, func() bool {
		p, _, err := dial(t, c.gate)
		if err != nil {
			return false
		}
		c.ann = p
		p.send(fmt.Sprintf(`40{"sessionId":%q}`, c.session))
		for {
			if _, isIn := p.look("40", func(frame) bool { return true }); isIn {
				return true
			}
			if _, isOut := p.look("44", func(frame) bool { return true }); isOut {
				return false
			}
			select {
			case <-p.gone:
				return false
			case <-time.After(tick):
			}
		}
	}, patience, 10*tick)
	for _, channel := range []string{"global", "zone:slow"} {
		require.Eventually(t, func() bool { return c.works("chat:join", fmt.Sprintf(`{"channel":%q}`, channel)) }, patience, 10*tick)
	}
}

func (c *aclTrial) runs(args ...string) bool {
	_, _, code := command(c.t.(*testing.T), append(args, "--redis", c.url)...)
	return code == 0
}

func (c *aclTrial) gets(method, path, body string, more ...string) bool {
	return do(c.t.(*testing.T), method, c.public+path, body, more...).status < 400
}

// key returns another idempotency key each time.
func (c *aclTrial) key() string {
	c.tries++
	return fmt.Sprint("k", c.tries)
}

// TestEachRightOfTheGatewayIsNeeded plays with exactly the rights of docs/redis-acl.md, and then
// takes away one row after the other: Redis refuses what the row is for, and its last column fails.
// The tests of server show that the gateway asks for these rights.
func TestEachRightOfTheGatewayIsNeeded(t *testing.T) {
	t.Parallel()
	rows := aclRows(t, "The gateway")
	chat := func(c *aclTrial) bool { return c.works("chat:message", `{"channel":"global","text":"hi"}`) }
	login := func(c *aclTrial) bool { return c.runs("session", "create", "--user", "eve", "--username", "eve") }
	profile := func(c *aclTrial) bool { c.gets("GET", "/api/users/"+c.key(), "", bearer(c.session)...); return false }
	probes := map[string]func(c *aclTrial) bool{
		"+@connection": func(c *aclTrial) bool { return c.runs("session", "list", "ann") },
		"+eval":        chat,
		"+multi":       func(c *aclTrial) bool { return c.works("user:unignore", `{"userId":"zoe"}`) },
		"+time":        func(c *aclTrial) bool { chat(c); return false },
		"+scan":        func(c *aclTrial) bool { return c.runs("lock", "list") },
		"+publish":     chat,
		"+unsubscribe": func(c *aclTrial) bool { c.works("chat:leave", `{"channel":"zone:slow"}`); return false },
		"+setnx":       func(c *aclTrial) bool { chat(c); return false },
		"+del":         login,
		"+get":         func(c *aclTrial) bool { return c.gets("POST", "/auth/renew", "", bearer(c.session)...) },
		"+hget":        login,
		"+sadd":        func(c *aclTrial) bool { return c.works("user:ignore", fmt.Sprintf(`{"userId":%q}`, c.key())) },
		"+zadd":        func(c *aclTrial) bool { return c.works("presence:seen", `{"users":["zoe"]}`) },
		"+rpush":       chat,
		"+xadd":        chat,

		"~session:*":  login,
		"~{session:*": func(c *aclTrial) bool { return c.gets("POST", "/auth/renew", "", bearer(c.session)...) },
		"~sessions:*": func(c *aclTrial) bool { return c.runs("session", "stats") },
		"~once:*": func(c *aclTrial) bool {
			return c.works("chat:message", fmt.Sprintf(`{"channel":"global","text":"hi","idempotencyKey":%q}`, c.key()))
		},
		"~user:*":  func(c *aclTrial) bool { return c.works("user:ignore", `{"userId":"zoe"}`) },
		"~{user:*": profile,
		"~char:*":  func(c *aclTrial) bool { return c.works("inventory:list", "") },
		"~{char:*": func(c *aclTrial) bool {
			c.gets("GET", "/api/characters/"+c.key(), "", bearer(c.session)...)
			return false
		},
		"~guild:*":        func(c *aclTrial) bool { return c.works("chat:join", `{"channel":"guild:g1"}`) },
		"~party:*":        func(c *aclTrial) bool { return c.works("chat:join", `{"channel":"party:p1"}`) },
		"~temp:*":         nil, // the gateway uses it without an event of ours
		"~job:*":          func(c *aclTrial) bool { return c.runs("jobs", "run", "temp") },
		"~ratelimit:*":    func(c *aclTrial) bool { chat(c); return false },
		"~lock:*":         func(c *aclTrial) bool { return c.runs("jobs", "run", "temp") },
		"~{lock:*":        func(c *aclTrial) bool { return c.runs("jobs", "run", "temp") },
		"~chat:*":         chat,
		"~{chat:*":        func(c *aclTrial) bool { return c.works("chat:message", `{"channel":"zone:slow","text":"hi"}`) },
		"~online:*":       func(c *aclTrial) bool { return c.works("presence:seen", `{"users":["zoe"]}`) },
		"~presence:*":     func(c *aclTrial) bool { return c.works("presence:list", `{"channel":"global"}`) },
		"~{presence:*":    nil, // the gateway uses it without an event of ours
		"~combat:*":       func(c *aclTrial) bool { return c.works("combat:start", `{"npc":"training-dummy"}`) },
		"~leaderboard:*":  func(c *aclTrial) bool { return c.works("leaderboard:top", `{"name":"global"}`) },
		"~{leaderboard:*": func(c *aclTrial) bool { return c.works("leaderboard:top", `{"name":"global"}`) },
		"~trade:*":        func(c *aclTrial) bool { return c.works("trade:propose", `{"to":"bob"}`) },
		"~{trade:*": func(c *aclTrial) bool {
			return c.works("trade:execute", fmt.Sprintf(`{"to":"bob","give":{"items":[],"gold":1},"idempotencyKey":%q}`, c.key()))
		},
		"~{socket.io:log}:*":   chat,
		"~socket.io-joins#*":   nil, // the gateway uses it without an event of ours
		"&session:revocations": nil, // the gateway uses it without an event of ours
		"&ratelimit:changes":   nil, // the gateway uses it without an event of ours
		"&cache:invalidations": nil, // the gateway uses it without an event of ours
		"&rights:changes":      nil, // the gateway uses it without an event of ours
		"&socket.io*":          func(c *aclTrial) bool { chat(c); return false },
		"+psubscribe":          nil, // the gateway uses it without an event of ours
	}
	slower := []string{"~{chat:*", "~{user:*", "~{char:*", "~ratelimit:*", "+time", "&socket.io*"} // without these rights the gateway works in another way
	// This test does not take these rights away, because a gateway needs them in situations that do
	// not arise here.
	unseen := []string{"~zone:*", "~cache:*", "&lock:releases", "~socket.io-joins#*", "+psubscribe &socket.io#/#*"}
	var seen []string
	for _, row := range rows {
		if !slices.Contains(unseen, row) {
			seen = append(seen, row)
			require.Contains(t, probes, strings.Fields(row)[0], "a probe for the row %s", row)
		}
	}
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
			t.Parallel()
			s := redistest.Server(t)
			c := &aclTrial{url: "redis://game:secret@" + s.Addr(), admin: s.Client()}
			giveRows(t, c.admin, "game", rows, "")
			c.gate = serve(t, "--redis", c.url, "--page", "--limit", "chat=1000/1s", "--limit", "trade=1000/1s", "--limit", "combat=1000/1s", "--limit", "rooms=1000/1s", "--limit", "connect=off")
			require.Equal(t, 200, do(t, "GET", c.public+"/health/ready", "").status)
			must(t, "trade", "mint", "--character", "ann", "--gold", "1000", "--redis", s.URL())
			require.NoError(t, c.admin.SAdd(t.Context(), "guild:g1:members", "ann").Err())
			require.NoError(t, c.admin.SAdd(t.Context(), "party:p1:members", "ann").Err())
			moderator := create(t, s.URL(), "mod", "--role", "moderator")
			c.connect(moderator).ok("chat:slow", `{"channel":"zone:slow","everyMs":1000}`)
			var mine []string
			for i := part; i < len(seen); i += parts {
				mine = append(mine, seen[i])
			}
			c.connect(create(t, s.URL(), "bob", "--character", "bob"))
			for _, row := range mine {
				c.enter(t, s.URL())
				require.NoError(t, c.admin.Do(t.Context(), "acl", "log", "reset").Err())
				probe := probes[strings.Fields(row)[0]]
				giveRows(t, c.admin, "game", rows, row)
				if probe != nil && probe(c) {
					t.Errorf("without %s what it is for still works", row)
				}
				require.Eventually(t, func() bool { return refusedFor(t.Context(), c.admin, row) }, patience, tick, "Redis refuses something for want of %s", row)
				giveRows(t, c.admin, "game", rows, "")
				c.gate.status(c.public+"/health/ready", 200, patience)
				_ = c.ann.conn.Close()
			}
			require.NoError(t, c.admin.Do(t.Context(), "acl", "log", "reset").Err())
			c.enter(t, s.URL())
			for _, row := range mine { // with all rights all of it works
				probe := probes[strings.Fields(row)[0]]
				if probe == nil || slices.Contains(slower, row) || strings.HasPrefix(row, "+unsubscribe") || strings.HasPrefix(row, "+setnx") {
					continue
				}
				require.Eventually(t, func() bool { return probe(c) }, patience, 10*tick, row)
				if strings.Contains(row, "session") || strings.HasPrefix(row, "+get") { // it was renewed
					c.enter(t, s.URL())
				}
			}
			for _, entry := range c.admin.(*redis.Client).ACLLog(t.Context(), 128).Val() {
				if !strings.Contains("info config|get wait waitaof", entry.Object) && !strings.HasPrefix(entry.Object, "operators:") && !strings.HasPrefix(entry.Object, "webhooks:") { // rights that may be left out
					t.Errorf("Redis refused %s: %s %s", entry.Reason, entry.Object, entry.Context)
				}
			}
		})
	}
}

// TestEachRightOfABackendIsNeeded logs players in and out and changes members with exactly the
// rights of docs/redis-acl.md, and then without one row after the other.
func TestEachRightOfABackendIsNeeded(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	admin := s.Client()
	rows := aclRows(t, "A backend")
	g := serve(t, "--redis", s.URL())
	backend := func() *redis.Client {
		c := redis.NewClient(&redis.Options{Addr: s.Addr(), Username: "backend", Password: "secret", MaxRetries: -1})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	now := time.Now()
	acts := map[string]func(ctx context.Context, c *redis.Client) error{
		"it does not connect": func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() },
		"logging a player in": func(ctx context.Context, c *redis.Client) error {
			_, err := c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
				tx.HSet(ctx, "session:ann-1", "userId", "ann", "username", "Ann", "roles", `["player"]`, "ttlMs", 60_000, "createdAt", now.UnixMilli())
				tx.PExpire(ctx, "session:ann-1", time.Minute)
				tx.ZAdd(ctx, "user:ann:sessions", redis.Z{Score: float64(now.Add(time.Minute).UnixMilli()), Member: "ann-1"})
				return nil
			})
			return err
		},
		"logging a player out": func(ctx context.Context, c *redis.Client) error {
			message := fmt.Sprintf(`{"sessionId":"ann-1","code":"SESSION_REVOKED","reason":"Out.","at":%d}`, now.UnixMilli())
			_, err := c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
				tx.Del(ctx, "session:ann-1")
				tx.Publish(ctx, "session:revocations", message)
				tx.XAdd(ctx, &redis.XAddArgs{Stream: "session:revocations:log", Values: []any{"message", message}, MaxLen: 10_000, Approx: true})
				return nil
			})
			return err
		},
		"changing members of a guild": func(ctx context.Context, c *redis.Client) error { return c.SAdd(ctx, "guild:g1:members", "ann").Err() },
		"changing members of a party": func(ctx context.Context, c *redis.Client) error { return c.SRem(ctx, "party:p1:members", "ann").Err() },
		"changing members at once": func(ctx context.Context, c *redis.Client) error {
			return c.Publish(ctx, "rights:changes", `{"channel":"guild:g1"}`).Err()
		},
	}
	acts["changing members"] = acts["changing members of a guild"]
	all := func(c *redis.Client) {
		t.Helper()
		require.NoError(t, acts["logging a player in"](t.Context(), c))
		ann := g.connect("ann-1")
		require.NoError(t, acts["changing members of a guild"](t.Context(), c))
		require.NoError(t, acts["changing members at once"](t.Context(), c))
		ann.ok("chat:join", `{"channel":"guild:g1"}`)
		require.NoError(t, acts["changing members of a party"](t.Context(), c))
		require.NoError(t, acts["logging a player out"](t.Context(), c))
		require.Equal(t, "SESSION_REVOKED", ann.event("session:revoked")["code"])
	}
	giveRows(t, admin, "backend", rows, "")
	all(backend())
	_, section, _ := strings.Cut(textOf(t, "../../docs/redis-acl.md"), "\n## A backend\n")
	for _, row := range rows {
		m := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(row) + "` \\|[^|]*\\| ([^|]*) \\|$").FindStringSubmatch(section)
		require.NotNil(t, m, row)
		require.Contains(t, acts, m[1], "an act for the row %s", row)
		giveRows(t, admin, "backend", rows, row)
		err := acts[m[1]](t.Context(), backend())
		require.Error(t, err, "without %s", row)
		require.Regexp(t, "^(NOPERM|EXECABORT) ", err.Error(), "without %s", row) // the second is of a transaction
	}
}
