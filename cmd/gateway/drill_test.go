package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/ops"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/trade"
)

// A drill is three nodes on one Redis, and an operator who counts the commands.
type drill struct {
	*testing.T
	url      string
	rdb      redis.UniversalClient
	nodes    [3]*gate // game-1 to game-3
	commands int
}

func startDrill(t *testing.T, args ...string) *drill {
	t.Helper()
	d := &drill{T: t, url: redistest.Server(t).URL()}
	rdb, err := redisconn.New(d.url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	d.rdb = rdb
	for i := range d.nodes {
		d.nodes[i] = serve(t, append([]string{"--redis", d.url, "--dev", "--node", fmt.Sprintf("game-%d", i+1), patientLimits}, args...)...)
	}
	require.Eventually(t, func() bool {
		names, err := nodecall.List(t.Context(), rdb)
		answers, askErr := nodecall.Ask(t.Context(), rdb, nodecall.Request{What: nodecall.AskStatus})
		return err == nil && askErr == nil && len(names) == 3 && len(answers.All) == 3
	}, patience, tick, "three nodes answer")
	return d
}

// run runs one command with --json, and decodes what it prints.
func run[T any](d *drill, args ...string) (out T) {
	d.Helper()
	d.commands++
	stdout, stderr, code := command(d.T, append(args, "--json", "--redis", d.url)...)
	require.Zero(d, code, "%v: %s", args, stderr)
	require.NoError(d, json.Unmarshal([]byte(stdout), &out), "%s", stdout)
	return out
}

// text runs one command as an operator reads it.
func (d *drill) text(args ...string) string {
	d.Helper()
	d.commands++
	return must(d.T, append(args, "--redis", d.url)...)
}

// one asserts that the question was answered by one command.
func (d *drill) one() {
	d.Helper()
	require.Equal(d, 1, d.commands, "commands")
	d.commands = 0
}

// The question: who is user 42, where is she connected, why was she refused?
func TestDrillUser(t *testing.T) {
	t.Parallel()
	d := startDrill(t, "--limit", "chat=2/1m")
	session := d.nodes[0].guest("ann")
	ann := d.nodes[1].connect(session)
	bob := d.nodes[2].connect(d.nodes[2].guest("bob"))
	moderator := strings.TrimSpace(must(t, "session", "create", "--user", "mod", "--username", "mod", "--role", "moderator", "--redis", d.url))
	ann.ok("chat:join", `{"channel":"zone:1"}`)
	for range 2 {
		ann.ok("chat:message", `{"channel":"zone:1","text":"x"}`)
	}
	ann.refused("chat:message", `{"channel":"zone:1","text":"x"}`)
	ann.refused("chat:join", `{"channel":7}`)
	ann.refused("no:such", `{}`)
	trades := ann.ok("trade:propose", `{"to":"bob"}`)["tradeId"]
	fight := ann.ok("combat:start", `{"npc":"training-dummy"}`)["combatId"]
	d.nodes[0].connect(moderator).ok("chat:mute", `{"userId":"ann","channel":"zone:1","forMs":600000,"reason":"loud"}`)
	bob.event("trade:proposed")

	r := run[ops.UserReport](d, "user", "show", "ann")
	d.one()
	require.Empty(t, r.Silent)
	require.Len(t, r.Sessions, 1)
	require.Equal(t, identity.SessionTag(session), r.Sessions[0].Session)
	require.Empty(t, r.Sessions[0].SessionID, "a session id is a credential")
	require.Len(t, r.Connections, 1)
	c := r.Connections[0]
	require.Equal(t, "game-2", c.Node)
	require.Equal(t, "127.0.0.1", c.Addr)
	require.Equal(t, "websocket", c.Transport)
	require.Equal(t, identity.SessionTag(session), c.Session)
	require.WithinDuration(t, time.Now(), time.UnixMilli(c.OpenedAt), time.Minute)
	require.Contains(t, c.Rooms, "user:ann")
	require.Contains(t, strings.Join(c.Rooms, " "), "zone:1")
	why := map[string]ops.RefusalView{}
	for _, x := range r.Refusals {
		why[x.Code+" "+x.Event] = x
	}
	require.Equal(t, "chat", why["RATE_LIMITED chat:message"].Policy)
	require.Equal(t, "game-2", why["RATE_LIMITED chat:message"].Node)
	require.Equal(t, "channel", why["INVALID chat:join"].Field)
	require.NotEmpty(t, why["INVALID chat:join"].Reason)
	require.Contains(t, why, "UNKNOWN_EVENT no:such")
	left := map[string]ops.WindowView{}
	for _, x := range r.Limits {
		left[x.Policy] = x
	}
	require.Zero(t, left["chat"].Remaining)
	require.False(t, left["chat"].Allowed)
	require.Positive(t, left["trade"].Remaining)
	require.Less(t, left["errors"].Remaining, left["errors"].Limit, "the connection's")
	require.Len(t, r.Sanctions, 1)
	require.Equal(t, "loud", r.Sanctions[0].Reason)
	require.Len(t, r.Trades, 1)
	require.Equal(t, trades, r.Trades[0].TradeID)
	require.Len(t, r.Fights, 1)
	require.Equal(t, fight, r.Fights[0].CombatID)

	text := d.text("user", "show", "ann")
	require.NotContains(t, text, session)
	for _, want := range []string{"game-2", "RATE_LIMITED", "no:such", "loud", fmt.Sprint(fight)} {
		require.Contains(t, text, want)
	}
	require.Contains(t, d.text("user", "show", "ann", "--reveal"), session)

	// After she has left, it is still known why she was refused, and a ban is named.
	must(t, "user", "ban", "ann", "--for", "24h", "--reason", "bots", "--redis", d.url)
	require.True(t, ann.ended())
	require.Eventually(t, func() bool {
		r = run[ops.UserReport](d, "user", "show", "ann")
		return len(r.Connections) == 0
	}, patience, tick)
	require.Equal(t, "bots", r.Ban.Reason)
	require.NotEmpty(t, r.Refusals)
}

// Which policy refuses most, and whom?
func TestDrillLimitsTop(t *testing.T) {
	t.Parallel()
	d := startDrill(t, "--limit", "chat=1/1m")
	ann, bob := d.nodes[0].connect(d.nodes[0].guest("ann")), d.nodes[2].connect(d.nodes[2].guest("bob"))
	for p, n := range map[*player]int{ann: 5, bob: 3} {
		p.ok("chat:join", `{"channel":"global"}`)
		p.ok("chat:message", `{"channel":"global","text":"x"}`)
		for range n {
			p.refused("chat:message", `{"channel":"global","text":"x"}`)
		}
	}
	type answer struct {
		Policies []ops.PolicyTop `json:"policies"`
		Silent   []string        `json:"silent"`
	}
	top := run[answer](d, "limits", "top")
	d.one()
	require.Empty(t, top.Silent)
	require.Equal(t, "chat", top.Policies[0].Policy)
	require.EqualValues(t, 8, top.Policies[0].Refused, "on two nodes")
	require.EqualValues(t, 2, top.Policies[0].Allowed)
	require.Equal(t, []nodecall.Spender{{Policy: "chat", UserID: "ann", Times: 5}, {Policy: "chat", UserID: "bob", Times: 3}}, top.Policies[0].Users)
	require.Len(t, top.Policies[0].Now, 2)

	// The refusals of a user who has left still count.
	require.NoError(t, ann.conn.Close())
	d.nodes[0].logged(1, "connection closed", map[string]any{"user": "ann"})
	require.EqualValues(t, 5, run[answer](d, "limits", "top").Policies[0].Users[0].Times)
	require.Contains(t, d.text("limits", "top"), "ann (5), bob (3)")
}

// Which lock is contended, who holds it, for what?
func TestDrillLocks(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	m := lock.New(lock.Config{Node: "game-9"}, d.rdb)
	t.Cleanup(m.Close)
	l, err := m.Acquire(t.Context(), "trade:ann:bob", lock.Options{TTL: time.Minute, MaxHold: time.Minute, Conn: "conn-1", Purpose: "gift 01J|x"})
	require.NoError(t, err)
	type holding struct{ Name, Class, Node, Conn, Purpose string }
	list := run[[]holding](d, "lock", "list")
	d.one()
	require.Contains(t, list, holding{"trade:ann:bob", "trade", "game-9", "conn-1", "gift 01J/x"})
	require.NoError(t, l.Release(t.Context()))
}

// What did this trade do, with times of offers?
func TestDrillTrade(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	id := d.trade("sword", 40)
	before := time.Now().Add(-time.Minute).UnixMilli()
	details := run[trade.Details](d, "trade", "show", id)
	d.one()
	require.Equal(t, trade.Completed, details.Status)
	require.Equal(t, "trade", details.Kind)
	require.Equal(t, "sword", details.Parties[0].Offer.Items[0].ItemID)
	for i, side := range details.Sides {
		require.Greater(t, side.OfferedAt, before, "side %d", i)
		require.GreaterOrEqual(t, side.AcceptedAt, side.OfferedAt, "side %d", i)
	}
	require.GreaterOrEqual(t, details.EndedAt, details.Sides[0].AcceptedAt)

	// One log line on one node, with id and parties.
	lines := 0
	require.Eventually(t, func() bool {
		lines = 0
		for _, n := range d.nodes {
			lines += strings.Count(n.err.String(), `"msg":"trade ended"`)
		}
		return lines > 0
	}, patience, tick)
	require.Equal(t, 1, lines)
	all := d.nodes[0].err.String() + d.nodes[1].err.String() + d.nodes[2].err.String()
	require.Regexp(t, `"msg":"trade ended".*"trade":"`+id+`","kind":"trade","status":"completed","user":"ann","character":"ann","with":"bob","withCharacter":"bob"`, all)
}

// trade makes ann, on game-1, give an item to bob, on game-2, for gold.
func (d *drill) trade(item string, gold int) (id string) {
	d.Helper()
	must(d.T, "trade", "mint", "--character", "ann", "--item", item, "--qty", "2", "--redis", d.url)
	must(d.T, "trade", "mint", "--character", "bob", "--gold", fmt.Sprint(gold+10), "--redis", d.url)
	ann, bob := d.nodes[0].connect(d.nodes[0].guest("ann")), d.nodes[1].connect(d.nodes[1].guest("bob"))
	id, _ = ann.ok("trade:propose", `{"to":"bob"}`)["tradeId"].(string)
	bob.event("trade:proposed")
	ann.ok("trade:offer", fmt.Sprintf(`{"tradeId":%q,"items":[{"itemId":%q,"qty":1}],"gold":0,"version":1}`, id, item))
	bob.ok("trade:offer", fmt.Sprintf(`{"tradeId":%q,"items":[],"gold":%d,"version":2}`, id, gold))
	bob.ok("trade:accept", fmt.Sprintf(`{"tradeId":%q,"version":3}`, id))
	require.Equal(d, "completed", ann.ok("trade:accept", fmt.Sprintf(`{"tradeId":%q,"version":3}`, id))["status"])
	return id
}

// Is Redis the cause of slowness?
func TestDrillRedis(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	health := do(t, "GET", d.nodes[1].admin+"/health/redis", "").json(t)
	require.Equal(t, "up", health["status"])
	for _, field := range []string{"latencyMs", "role", "version", "memory", "pool", "warnings"} {
		require.Contains(t, health, field)
	}
}

// Can I drain this node, did it go well?
func TestDrillDrain(t *testing.T) {
	t.Parallel()
	d := startDrill(t, "--drain-for", "500ms")
	var sessions []string
	for i := range 6 {
		sessions = append(sessions, d.nodes[0].guest(fmt.Sprintf("p%d", i)))
	}
	var players []*player
	for _, s := range sessions {
		players = append(players, d.nodes[0].connect(s))
	}
	stays := d.nodes[2].connect(d.nodes[2].guest("stays"))
	before := run[[]ops.NodeView](d, "node", "list")
	d.one()
	require.Len(t, before, 3)
	require.Equal(t, 6, before[0].Connections)
	require.Equal(t, "up", before[0].Redis)
	require.False(t, before[0].Draining)

	// The players come back on another node, as clients do; one leaves by itself before its turn.
	go func() {
		for i, p := range players {
			<-p.gone
			if i < 4 {
				_, _, _ = websocketConnect(t.Context(), d.nodes[1], sessions[i])
			}
		}
	}()
	report := run[nodecall.Drain](d, "node", "drain", "game-1", "--wait")
	d.one()
	require.True(t, report.IsDone)
	require.Equal(t, 6, report.Connections)
	require.Equal(t, 6, report.Closed+report.Left)
	require.Zero(t, report.Open)
	require.Equal(t, 6, report.Users)
	require.Equal(t, 4, report.Back)
	require.GreaterOrEqual(t, report.TookMs, int64(300))
	require.Contains(t, report.By, "@")
	line := d.nodes[0].logged(1, "drained", nil)[0]
	for field, want := range map[string]float64{"connections": 6, "open": 0, "users": 6, "back": 4} {
		require.Equal(t, want, line[field], field)
	}
	require.Contains(t, line, "closed")
	require.Contains(t, line, "left")
	require.Equal(t, report.By, line["by"])

	after := run[[]ops.NodeView](d, "node", "list")
	require.True(t, after[0].Draining)
	require.Equal(t, 0, after[0].Connections)
	d.nodes[0].status(d.nodes[0].public+"/health/ready", 503, patience)
	_, _, err := dial(t, d.nodes[0])
	require.Error(t, err, "it accepts nobody")
	require.True(t, stays.open())

	_, errs, code := command(t, "node", "drain", "game-1", "--redis", d.url)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "already")
	d.commands = 0
	d.text("node", "undrain", "game-1")
	d.one()
	d.nodes[0].status(d.nodes[0].public+"/health/ready", 200, patience)
	d.nodes[0].connect(sessions[5])
	_, errs, code = command(t, "node", "drain", "game-7", "--redis", d.url)
	require.Equal(t, 1, code)
	require.Contains(t, errs, `"game-7" did not answer within a second`)
}

// websocketConnect is handshake for a goroutine that is not the test's.
func websocketConnect(ctx context.Context, g *gate, session string) (io.Closer, *http.Response, error) {
	conn, res, err := websocket.DefaultDialer.DialContext(ctx, socketURL(g.public), nil)
	if err != nil {
		return nil, res, err
	}
	go func() {
		for {
			_, b, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if b[0] == '0' {
				_ = conn.WriteMessage(1, []byte(fmt.Sprintf(`40{"sessionId":%q}`, session)))
			}
		}
	}()
	go func() {
		<-ctx.Done()
		_ = conn.Close()
	}()
	return conn, res, nil
}

// A player says items vanished.
func TestDrillItems(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	id := d.trade("sword", 40)
	moves := run[[]ops.MoveView](d, "trade", "history", "--character", "bob", "--item", "sword", "--since", "24h")
	d.one()
	require.Len(t, moves, 1)
	require.Equal(t, "in", moves[0].Direction)
	require.Equal(t, "ann", moves[0].With)
	require.Equal(t, id, moves[0].Ref)
	all := run[[]ops.MoveView](d, "trade", "history", "--character", "bob")
	require.Len(t, all, 3, "a mint, what came and what went")
	require.Empty(t, run[[]ops.MoveView](d, "trade", "history", "--character", "bob", "--since", "0s"))
	require.Equal(t, []string{"1 sword", "10 gold"}, strings.Split(goodsOf(run[trade.Goods](d, "inventory", "show", "bob")), ", "))

	// Before the trade he had his gold, and before the mint nothing.
	d.commands = 0
	at := time.UnixMilli(moves[0].At).Add(-time.Millisecond).UTC().Format(time.RFC3339Nano)
	require.Equal(t, "50 gold", goodsOf(run[trade.Goods](d, "inventory", "show", "bob", "--at", at)))
	d.one()
	require.Empty(t, goodsOf(run[trade.Goods](d, "inventory", "show", "bob", "--at", "1h")))
	for _, args := range [][]string{
		{"inventory", "show", "bob", "--at", "yesterday"},
		{"trade", "history", "--character", "b\x00", "--redis", d.url},
		{"trade", "history", "--character", "bob", "--most", "0"},
		{"trade", "history", "--character", "bob", "--since", "x"},
	} {
		_, _, code := command(t, append(args, "--redis", d.url)...)
		require.Equal(t, 2, code, args)
	}
}

func goodsOf(g trade.Goods) string {
	var texts []string
	for _, l := range g.Items {
		texts = append(texts, fmt.Sprintf("%d %s", l.Qty, l.ItemID))
	}
	if g.Gold != 0 {
		texts = append(texts, fmt.Sprintf("%d gold", g.Gold))
	}
	return strings.Join(texts, ", ")
}

// Memory grows: which connections?
func TestDrillConnections(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	d.nodes[0].connect(d.nodes[0].guest("ann"))
	d.nodes[1].connect(d.nodes[1].guest("ann2"))
	// A client that does not poll: what it is sent waits.
	lazy := d.nodes[2].guest("lazy")
	opened := do(t, "GET", d.nodes[2].public+"/socket.io/?EIO=4&transport=polling", "")
	var hello struct{ SID string }
	require.NoError(t, json.Unmarshal(opened.body[1:], &hello))
	do(t, "POST", d.nodes[2].public+"/socket.io/?EIO=4&transport=polling&sid="+hello.SID, fmt.Sprintf(`40{"sessionId":%q}`, lazy), "Content-Type", "text/plain")
	type answer struct {
		Total       int                  `json:"total"`
		Connections []ops.ConnectionView `json:"connections"`
	}
	d.nodes[2].logged(1, "connection opened", map[string]any{"user": "lazy"})
	top := run[answer](d, "connections", "--top", "bytes")
	d.one()
	require.Equal(t, 3, top.Total)
	require.Equal(t, "lazy", top.Connections[0].UserID)
	require.Equal(t, "game-3", top.Connections[0].Node)
	require.Equal(t, "polling", top.Connections[0].Transport)
	require.Greater(t, top.Connections[0].QueuedBytes, 100)

	require.Equal(t, 1, run[answer](d, "connections", "--user", "ann").Total)
	require.Equal(t, 3, run[answer](d, "connections", "--address", "127.0.0.1").Total)
	require.Zero(t, run[answer](d, "connections", "--address", "10.0.0.1").Total)
	require.Len(t, run[answer](d, "connections", "--most", "1").Connections, 1)
	require.Contains(t, d.text("connections", "--top", "age"), "lazy")
}

// Roll back a bad limit, who set it?
func TestDrillLimitsHistory(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	d.text("limits", "set", "chat=1/1h")
	d.nodes[2].logged(1, "limits changed", map[string]any{"policy": "chat", "from": "10/10s by user", "to": "1/1h0m0s by user"})
	d.commands = 0
	acts := run[[]ops.ActView](d, "limits", "history", "chat")
	d.one()
	require.Len(t, acts, 1)
	require.Equal(t, "chat", acts[0].Target)
	require.Equal(t, "10/10s", acts[0].From)
	require.Equal(t, "1/1h0m0s", acts[0].To)
	require.Contains(t, acts[0].By, "@")
	require.WithinDuration(t, time.Now(), time.UnixMilli(acts[0].At), time.Minute)

	d.text("limits", "set", "chat=default")
	d.one()
	for _, n := range d.nodes {
		line := n.logged(1, "limits changed", map[string]any{"policy": "chat", "to": "10/10s by user"})[0]
		require.Equal(t, acts[0].By, line["by"])
	}
	require.Len(t, run[[]ops.ActView](d, "limits", "history"), 2)
	_, errs, code := command(t, "limits", "set", "chatt=default", "--redis", d.url)
	require.Equal(t, 2, code)
	require.Contains(t, errs, "chatt")
}

// What changed since yesterday?
func TestDrillChanges(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	started := d.nodes[0].logged(1, "started", nil)[0]
	require.NotEmpty(t, started["version"])
	require.NotEmpty(t, started["hash"])
	settings, _ := started["settings"].(map[string]any)
	require.Equal(t, "true", settings["dev"])
	require.Equal(t, "10s", settings["limit-timeout"])
	require.NotContains(t, settings, "ping-interval", "it has its default")

	// A node that is started again with other settings.
	require.NoError(t, d.nodes[1].stop())
	d.nodes[1] = serve(t, "--redis", d.url, "--dev", "--node", "game-2", patientLimits, "--max-rooms", "7")
	must(t, "user", "ban", "eve", "--for", "1h", "--reason", "bots", "--redis", d.url)
	require.Eventually(t, func() bool {
		shown, err := nodecall.Ask(t.Context(), d.rdb, nodecall.Request{What: nodecall.AskStatus})
		return err == nil && len(shown.All) == 3
	}, patience, tick)

	acts := run[[]ops.ActView](d, "audit-log", "--since", "24h")
	d.one()
	require.Len(t, acts, 5, "four starts and a ban")
	require.Equal(t, "user ban", acts[0].What)
	require.Equal(t, "eve", acts[0].Target)
	require.Equal(t, "bots", acts[0].Why)
	require.Equal(t, "started", acts[1].What)
	require.Contains(t, acts[1].To, "max-rooms=7")

	shown := run[struct{ Nodes []ops.ConfigView }](d, "config", "show", "game-2").Nodes
	d.one()
	require.Equal(t, "7", shown[0].Settings["max-rooms"])
	require.NotEqual(t, started["hash"], shown[0].Hash)
	diffs := run[struct{ Diffs []ops.ConfigDiff }](d, "config", "diff").Diffs
	d.one()
	require.Len(t, diffs, 2, "to game-1, and to its start before")
	for _, diff := range diffs {
		require.Equal(t, "game-2", diff.Node)
		require.Contains(t, diff.Changes, ops.ConfigChange{Setting: "max-rooms", To: "7"})
	}
}

// A node that does not answer is named, within a second and a half.
func TestASilentNodeIsNamed(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	require.NoError(t, d.rdb.ZAdd(t.Context(), keys.OperatorNodes, redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: "gone"}).Err())
	begun := time.Now()
	out, errs, code := command(t, "node", "list", "--redis", d.url)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "node gone did not answer within a second")
	require.Contains(t, out, "does not answer")
	require.Contains(t, out, "game-1")
	require.Less(t, time.Since(begun), 5*time.Second)

	// Every command that asks the nodes names it, on standard error and in the JSON, and prints what
	// the others answered.
	for _, args := range []string{"node list", "connections", "limits top", "user show ann", "config show", "config diff", "node drain gone", "node undrain gone"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			out, errs, code := command(t, append(strings.Fields(args), "--json", "--redis", d.url)...)
			require.Equal(t, 1, code)
			if strings.HasPrefix(args, "node ") && args != "node list" { // only that one was asked
				require.Contains(t, errs, `node "gone" did not answer within a second`)
				require.Empty(t, out)
				return
			}
			require.Contains(t, errs, "node gone did not answer within a second")
			var all any
			require.NoError(t, json.Unmarshal([]byte(out), &all), out)
			if args == "node list" {
				require.Contains(t, fmt.Sprint(all), "answers:false")
				return
			}
			require.Equal(t, []any{"gone"}, all.(map[string]any)["silent"])
		})
	}

	// A node ignores a message that is no question.
	for _, bad := range []string{"", "x", `{"id":"","what":"status"}`, `{"id":"a b","what":"status"}`, strings.Repeat("y", 100_000), `{"id":"q","what":"drain","node":7}`} {
		require.NoError(t, d.rdb.Publish(t.Context(), keys.OperatorQuestions, bad).Err())
	}
	answers, err := nodecall.Ask(t.Context(), d.rdb, nodecall.Request{What: "no such"})
	require.NoError(t, err)
	require.Len(t, answers.All, 3)
	require.Contains(t, answers.All[0].Error, "does not know")
	answers, err = nodecall.Ask(t.Context(), d.rdb, nodecall.Request{What: nodecall.AskConnections, Node: "game-1", Args: map[string]any{"all": true}})
	require.NoError(t, err)
	require.NotEmpty(t, answers.All[0].Error, "an argument that it does not know")
}

// Each node logs what operators do, by user and host, cut and printable.
func TestOperatorsActsAreLogged(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	must(t, "user", "ban", "eve", "--for", "1h", "--reason", "bots\u200b"+strings.Repeat("x", 1000), "--redis", d.url)
	must(t, "limits", "set", "chat=7/10s", "--redis", d.url)
	for _, n := range d.nodes {
		ban := n.logged(1, "operator acted", map[string]any{"what": "user ban", "target": "eve", "to": "1h0m0s"})[0]
		require.Regexp(t, `^.+@.+$`, ban["by"])
		require.Regexp(t, `^bots\?x+$`, ban["why"])
		require.LessOrEqual(t, len(ban["why"].(string)), 200)
		n.logged(1, "operator acted", map[string]any{"what": "limits set", "target": "chat", "from": "10/10s", "to": "7/10s"})
	}
}

// Hashes of sessions are accepted, and an ambiguous one lists what it could be.
func TestSessionsByHash(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	id := strings.TrimSpace(must(t, "session", "create", "--user", "ann", "--username", "Ann", "--redis", url))
	tag := identity.SessionTag(id)
	shown := must(t, "session", "show", tag, "--redis", url)
	require.Contains(t, shown, tag)
	require.NotContains(t, shown, id)
	require.Contains(t, must(t, "session", "show", tag, "--reveal", "--redis", url), id)
	require.NotContains(t, must(t, "session", "list", "ann", "--json", "--redis", url), id)
	must(t, "session", "revoke", tag, "--redis", url)
	_, errs, code := command(t, "session", "show", tag, "--redis", url)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "no such session")
}

// Two session ids whose hashes begin with the same 12 digits.
var ambiguousIDs = []string{"ambiguous-62f25c32f8e3", "ambiguous-8771081e3139"}

// Every command that takes a session takes the 12 digits of its hash, and lists the sessions that
// ambiguous digits could be, with as many digits as tell them apart, and without their ids.
func TestAnAmbiguousHash(t *testing.T) {
	t.Parallel()
	const digits = "0412fb83849b"
	url := redistest.URL(t)
	config := writeFile(t, "policies:\n  shouts: {limit: 5, window: 60s, scope: session}\n")
	g := serve(t, "--redis", url, "--dev", "--config", config)
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	hashes := []string{}
	for i, id := range ambiguousIDs { // as another program writes them
		require.Equal(t, digits, identity.SessionTag(id))
		hashes = append(hashes, identity.SessionHash(id))
		require.NoError(t, rdb.HSet(t.Context(), keys.Session(id), "userId", fmt.Sprint("user-", i), "username", "x", "roles", `["player"]`).Err())
		require.NoError(t, rdb.Expire(t.Context(), keys.Session(id), time.Hour).Err())
		g.connect(id)
	}
	for _, args := range [][]string{
		{"session", "show", digits},
		{"session", "revoke", digits},
		{"limits", "check", "shouts", digits},
		{"limits", "reset", "shouts", digits},
		{"limits", "block", "shouts", digits, "--for", "1m"},
	} {
		_, errs, code := command(t, append(args, "--redis", url)...)
		require.Equal(t, cli.ExitUsage, code, "%v: %s", args, errs)
		require.Contains(t, errs, digits+" could be one of 2 sessions")
		for i, hash := range hashes {
			require.Contains(t, errs, hash[:24]+" of user \"user-"+fmt.Sprint(i)+"\"", args)
			require.NotContains(t, errs, ambiguousIDs[i])
		}
	}
	// The digits that it lists are taken, and so is the whole hash.
	for i, hash := range hashes {
		require.Contains(t, must(t, "session", "show", hash[:24], "--redis", url), fmt.Sprint("user-", i))
		require.Contains(t, must(t, "session", "show", hash, "--redis", url), fmt.Sprint("user-", i))
		must(t, "limits", "check", "shouts", hash[:24], "--redis", url)
	}
	require.Contains(t, must(t, "connections", "--session", digits, "--redis", url), "2 of 2")
	for _, args := range [][]string{{"session", "show", digits[:11]}, {"session", "show", strings.ToUpper(digits)}, {"session", "revoke", "ffffffffffff"}} {
		_, errs, code := command(t, append(args, "--redis", url)...)
		require.Equal(t, cli.ExitNo, code, args)
		require.Contains(t, errs, "no such session")
	}
	must(t, "session", "revoke", hashes[1][:24], "--redis", url)
	require.Contains(t, must(t, "session", "show", digits, "--redis", url), "user-0", "it is not ambiguous any more")
}
