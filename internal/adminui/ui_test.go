package adminui

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/nodecall"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// calls are what operators had done.
type calls struct {
	mu   sync.Mutex
	made []string // guarded by mu
}

func (c *calls) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, fmt.Sprintf(format, args...))
}

func (c *calls) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.made...)
}

func (c *calls) MakeJoin(target, room string)  { c.add("join %s %s", target, room) }
func (c *calls) MakeLeave(target, room string) { c.add("leave %s %s", target, room) }
func (c *calls) MakeDisconnect(target string, closing bool) {
	c.add("disconnect %s %v", target, closing)
}

// A stage is a server with the namespace of operators, and what it talks to.
type stage struct {
	calls
	ui    *UI
	url   string
	redis redis.UniversalClient
	users string // the file

	mu     sync.Mutex
	logins int // that the policy still admits; guarded by mu
}

func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	return string(hash)
}

func setStage(t *testing.T, mayChange bool) *stage {
	t.Helper()
	s := &stage{redis: redistest.Server(t).Client(), users: filepath.Join(t.TempDir(), "users"), logins: 5}
	require.NoError(t, os.WriteFile(s.users, []byte("# operators\nada:"+hashOf(t, "engine")+"\n"), 0o600))
	users, err := OpenUsers(s.users)
	require.NoError(t, err)
	s.ui = New(Config{
		Users: users, MayChange: mayChange, Redis: s.redis, QueueBytes: 1 << 20, Connections: s, Log: zap.NewNop(),
		IsReserved: func(room string) bool { return strings.HasPrefix(room, "user:") },
		SpendLogin: func(context.Context, string) (time.Duration, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.logins--; s.logins < 0 {
				return 30 * time.Second, nil
			}
			return 0, nil
		},
	})
	server := socketio.New(socketio.Config{LocalNamespaces: map[string]socketio.Receiver{Name: s.ui}})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", server)
	web := httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.ui.Run(ctx) })
	t.Cleanup(func() {
		server.Close()
		web.Close()
		cancel()
		running.Wait()
	})
	s.url = web.URL + "/socket.io/"
	return s
}

// A node answers with so many connections.
type node struct {
	mu   sync.Mutex
	said nodecall.Watched // guarded by mu
}

func (s *stage) addNode(t *testing.T, name string, connections int) *node {
	t.Helper()
	n := &node{said: nodecall.Watched{Hostname: "host", PID: 7, StartedAt: time.Now().UnixMilli(), Players: connections, Closed: map[string]int64{}}}
	for i := range connections {
		id := fmt.Sprintf("%s-%d", name, i)
		n.said.List = append(n.said.List, nodecall.Connection{Conn: id, UserID: "u" + id, Addr: "203.0.113.9", Transport: "websocket", Rooms: []string{"chat:global"}})
	}
	server := nodecall.NewServer(s.redis, name, map[string]nodecall.Handler{nodecall.AskWatch: func(_ context.Context, _ string, raw []byte) (any, error) {
		var args nodecall.WatchArgs
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		answer := n.said
		answer.List = nil
		for _, c := range n.said.List {
			if crc32.ChecksumIEEE([]byte(c.Conn))%uint32(args.OneIn) == 0 && len(answer.List) < args.Most {
				answer.List = append(answer.List, c)
			}
		}
		return answer, nil
	}}, func(error) {})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	require.Eventually(t, func() bool {
		answers, err := nodecall.Ask(t.Context(), s.redis, nodecall.Request{What: nodecall.AskWatch, Node: name, Args: nodecall.WatchArgs{OneIn: 1}})
		return err == nil && len(answers.All) == 1
	}, wiretest.Patience, 10*time.Millisecond)
	return n
}

// change changes what the node says.
func (n *node) change(f func(*nodecall.Watched)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.said)
}

// An event is one of the page.
type event struct {
	name string
	args []any
}

func (e event) at(i int) map[string]any { return e.args[i].(map[string]any) }

// next reads until an event of this name.
func next(t *testing.T, c *wiretest.Client, name string) event {
	t.Helper()
	for begun := time.Now(); ; {
		require.Less(t, time.Since(begun), 2*wiretest.Patience, "waited in vain for %s", name)
		var list []any
		packet := c.Read()
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(packet, "42/admin,")), &list), packet)
		if list[0] == name {
			return event{name, list[1:]}
		}
	}
}

// refused connects with these credentials and returns what is answered.
func (s *stage) answerTo(t *testing.T, auth string) (*wiretest.Client, string) {
	t.Helper()
	c := wiretest.Open(t, s.url, "websocket")
	c.Send("40/admin," + auth)
	return c, c.Read()
}

const ada = `{"username":"ada","password":"engine"}`

func (s *stage) enter(t *testing.T) (c *wiretest.Client, session string) {
	t.Helper()
	c, answer := s.answerTo(t, ada)
	require.True(t, strings.HasPrefix(answer, "40/admin,"), answer)
	return c, next(t, c, "session").args[0].(string)
}

func TestOnlyOperatorsEnter(t *testing.T) {
	t.Parallel()
	s := setStage(t, false)
	const refused = `44/admin,{"message":"invalid credentials"}`
	for _, auth := range []string{``, `{}`, `{"username":"","password":""}`, `{"sessionId":"x"}`, `{"sessionId":null}`, `{"username":["ada"],"password":{}}`, `{"sessionId":"*"}`} {
		_, answer := s.answerTo(t, auth)
		require.Equal(t, refused, answer, auth)
	}
	require.Equal(t, 5, s.logins, "nothing was guessed")
	for _, auth := range []string{`{"username":"ada","password":"wrong"}`, `{"username":"eve","password":"engine"}`, `{"username":"ada","password":"` + strings.Repeat("x", 100) + `"}`} {
		_, answer := s.answerTo(t, auth)
		require.Equal(t, refused, answer, auth)
	}
	_, session := s.enter(t)
	_, answer := s.answerTo(t, `{"sessionId":"`+session+`"}`)
	require.Contains(t, answer, `"sid"`, "a page comes back without the password")
	_, answer = s.answerTo(t, ada)
	require.Contains(t, answer, `"sid"`)
	_, answer = s.answerTo(t, ada)
	require.Equal(t, `44/admin,{"message":"too many logins: try again in 30s","data":{"code":"RATE_LIMITED","retryAfterMs":30000}}`, answer, "the sixth login is not compared")

	acts, err := auditlog.Read(t.Context(), s.redis, auditlog.Query{Most: 99})
	require.NoError(t, err)
	told := ""
	for _, a := range acts {
		told += a.By + " " + a.What + " " + a.Target + "\n"
	}
	require.Equal(t, "ada@127.0.0.1 admin-ui login \nada@127.0.0.1 admin-ui login \n", told)
	all, err := s.redis.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.NotContains(t, strings.Join(all, " "), session, "Redis has a hash")
}

// TestAnOperatorWhoIsTakenOutLeaves: another password, and a file without the name, end what is
// open, and the sessions.
func TestAnOperatorWhoIsTakenOutLeaves(t *testing.T) {
	t.Parallel()
	s := setStage(t, true)
	c, session := s.enter(t)
	next(t, c, "config")
	require.NoError(t, os.WriteFile(s.users, []byte("ada:"+hashOf(t, "another")+"\n"), 0o600))
	c.Send(`42/admin,["_disconnect","/",false,"x"]`)
	for packet := c.Read(); packet != "41/admin,"; packet = c.Read() {
		require.NotContains(t, packet, "44/")
	}
	require.Empty(t, s.list(), "nothing was done for them any more")
	_, answer := s.answerTo(t, `{"sessionId":"`+session+`"}`)
	require.Equal(t, `44/admin,{"message":"invalid credentials"}`, answer)
}

func TestWhatThePageIsTold(t *testing.T) {
	t.Parallel()
	s := setStage(t, false)
	one, two := s.addNode(t, "one", 2), s.addNode(t, "two", 1)
	c, _ := s.enter(t)
	require.Equal(t, map[string]any{"supportedFeatures": []any{"AGGREGATED_EVENTS", "ALL_EVENTS"}}, next(t, c, "config").args[0])
	require.Equal(t, "one", next(t, c, "server_stats").at(0)["serverId"])
	stats := next(t, c, "server_stats").at(0)
	require.Equal(t, "two", stats["serverId"])
	require.Equal(t, []any{map[string]any{"name": "/", "socketsCount": 1.0}, map[string]any{"name": "/admin", "socketsCount": 0.0}}, stats["namespaces"])
	all := next(t, c, "all_sockets").args[0].([]any)
	require.Len(t, all, 3)
	for _, v := range all {
		v := v.(map[string]any)
		require.Equal(t, []any{v["id"], "chat:global"}, v["rooms"])
		shake := v["handshake"].(map[string]any)
		require.Equal(t, "203.0.113.9", shake["address"])
		require.Equal(t, []any{map[string]any{}, map[string]any{}}, []any{shake["headers"], shake["query"]}, "no cookie, no auth, no token")
		require.NotContains(t, shake, "auth")
	}
	second, _ := s.enter(t)
	require.Len(t, next(t, second, "all_sockets").args[0], 3, "who comes later is told all")

	one.change(func(w *nodecall.Watched) {
		w.List[0].Rooms = []string{"chat:harbor"}
		w.List[0].Transport = "polling"
		w.List = append(w.List[:1], nodecall.Connection{Conn: "new", UserID: "unew", Transport: "polling"})
		w.Opened, w.Closed, w.Events = 1, map[string]int64{"transport close": 1}, 9
	})
	two.change(func(w *nodecall.Watched) {
		w.Samples = []nodecall.EventSample{{Number: 1, At: 1000, Conn: "two-0", Event: "chat:message", Bytes: 31}}
	})
	begun := time.Now()
	for stats = nil; stats["serverId"] != "one" || len(stats["aggregatedEvents"].([]any)) == 0; {
		stats = next(t, c, "server_stats").at(0)
	}
	require.Less(t, time.Since(begun), 10*time.Second, "every two seconds")
	kinds := map[string]float64{}
	for _, e := range stats["aggregatedEvents"].([]any) {
		e := e.(map[string]any)
		sub, _ := e["subType"].(string)
		kinds[e["type"].(string)+sub] = e["count"].(float64)
	}
	require.Equal(t, map[string]float64{"rawConnection": 1, "rawDisconnectiontransport close": 1, "packetsIn": 9}, kinds)
	require.Equal(t, []any{"/", "one-1", "closed"}, next(t, c, "socket_disconnected").args[:3])
	require.Equal(t, []any{"/", "one-1", "one-1"}, next(t, c, "room_left").args[:3])
	require.Equal(t, []any{"/", "chat:global", "one-1"}, next(t, c, "room_left").args[:3])
	require.Equal(t, "new", next(t, c, "socket_connected").at(0)["id"])
	require.Equal(t, "polling", next(t, c, "socket_updated").at(0)["transport"])
	require.Equal(t, []any{"/", "chat:harbor", "one-0"}, next(t, c, "room_joined").args[:3])
	require.Equal(t, []any{"/", "chat:global", "one-0"}, next(t, c, "room_left").args[:3])
	require.Equal(t, []any{"/", "two-0", []any{"chat:message", map[string]any{"bytes": 31.0}}, "1970-01-01T00:00:01.000Z"}, next(t, c, "event_received").args)
	c.Send(`42/admin,["_disconnect","/",false,"one-0"]`, `42/admin,["leave","/","chat:global"]`)
	next(t, c, "server_stats")
	require.Empty(t, s.list(), "they may only watch")
}

// TestOfManySocketsASampleIsShown: of more than 1,000 sockets at most so many are shown, the same
// ones each time, and the page is told.
func TestOfManySocketsASampleIsShown(t *testing.T) {
	t.Parallel()
	s := setStage(t, false)
	one := s.addNode(t, "one", 3000)
	s.addNode(t, "two", 2000)
	c, _ := s.enter(t)
	require.NotContains(t, fmt.Sprint(next(t, c, "config").args), "SAMPLED")
	require.Contains(t, fmt.Sprint(next(t, c, "config").args), "SAMPLED")
	require.Equal(t, 3000.0, next(t, c, "server_stats").at(0)["namespaces"].([]any)[0].(map[string]any)["socketsCount"], "all are counted")
	sample := next(t, c, "all_sockets").args[0].([]any)
	require.LessOrEqual(t, len(sample), 1000)
	require.Greater(t, len(sample), 300)
	for _, v := range sample {
		require.Zero(t, crc32.ChecksumIEEE([]byte(v.(map[string]any)["id"].(string)))%8)
	}
	one.change(func(w *nodecall.Watched) { w.List, w.Players = w.List[:10], 10 })
	require.Equal(t, map[string]any{"supportedFeatures": []any{"AGGREGATED_EVENTS", "ALL_EVENTS", "SAMPLED"}}, next(t, c, "config").args[0])
	require.Greater(t, len(next(t, c, "all_sockets").args[0].([]any)), 300, "one in four now")
}

func TestASampleFollowsTheNumberOfSockets(t *testing.T) {
	t.Parallel()
	w := newWatch()
	answer := func(players int) map[string]*nodecall.Watched {
		list := make([]nodecall.Connection, min(1001, players/w.oneIn))
		return map[string]*nodecall.Watched{"one": {Players: players, List: list}}
	}
	for _, c := range []struct{ players, oneIn int }{
		{0, 1}, {1000, 1}, {1001, 2}, {2000, 2}, {2100, 4}, {100_000, 128}, {50_000, 128}, {40_000, 64}, {900, 2}, {700, 1},
	} {
		for i := 0; i < 4 && w.adjustSample(answer(c.players), 1<<20); i++ {
		}
		require.Equal(t, c.oneIn, w.oneIn, "%d players", c.players)
	}
}

func TestWhatOperatorsHaveDone(t *testing.T) {
	t.Parallel()
	s := setStage(t, true)
	c, _ := s.enter(t)
	require.Subset(t, next(t, c, "config").at(0)["supportedFeatures"], []any{"JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"})
	c.Send(
		`42/admin,["_disconnect","/",true,"one-0"]`, `42/admin,["_disconnect","/",false,"chat:global"]`, `42/admin,["leave","/","chat:global","one-0"]`, `42/admin,["leave","/","chat:global"]`, `42/admin,["join","/","vip","one-0"]`,
		// what is refused
		`42/admin,["_disconnect","/",true]`, `42/admin,["_disconnect","/",true,null]`, `42/admin,["_disconnect","/admin",true,"one-0"]`, `42/admin,["_disconnect"]`, `42/admin,["join","/","user:eve","one-0"]`,
		`42/admin,["join","/","vip"]`, `42/admin,["emit","/","chat:global","chat:message",{}]`, `42/admin,["leave","/",["x"],"one-0"]`, `42/admin,["leave","/","`+strings.Repeat("x", 600)+`","one-0"]`,
		`42/admin,["_disconnect","/",false,"the-end"]`,
	)
	want := []string{"disconnect one-0 true", "disconnect chat:global false", "leave one-0 chat:global", "leave chat:global chat:global", "join one-0 vip", "disconnect the-end false"}
	require.Eventually(t, func() bool { return len(s.list()) == len(want) }, wiretest.Patience, 5*time.Millisecond)
	require.Equal(t, want, s.list())
	acts, err := auditlog.Read(t.Context(), s.redis, auditlog.Query{Most: 99})
	require.NoError(t, err)
	require.Len(t, acts, len(want)+1)
	require.Equal(t, []string{"ada@127.0.0.1", "admin-ui join", "one-0", "vip"}, []string{acts[1].By, acts[1].What, acts[1].Target, acts[1].To})
}

func TestSixteenOperatorsAtMost(t *testing.T) {
	t.Parallel()
	s := setStage(t, false)
	first, session := s.enter(t)
	auth := `{"sessionId":"` + session + `"}`
	for range maxOperators - 1 {
		_, answer := s.answerTo(t, auth)
		require.Contains(t, answer, `"sid"`)
	}
	_, answer := s.answerTo(t, auth)
	require.Equal(t, `44/admin,{"message":"too many operators are connected to this node"}`, answer)
	first.Abort()
	require.Eventually(t, func() bool {
		_, answer := s.answerTo(t, auth)
		return strings.Contains(answer, `"sid"`)
	}, wiretest.Patience, 20*time.Millisecond, "a place is free again")
}

func TestUsersFiles(t *testing.T) {
	t.Parallel()
	hash := hashOf(t, "x")
	for name, c := range map[string]struct{ file, fault string }{
		"as htpasswd writes it": {"ada:" + strings.Replace(hash, "$2a$", "$2y$", 1) + "\r\n\n# a comment\nbob:" + hash, ""},
		"nobody":                {"# nobody\n", "names nobody"},
		"no hash":               {"ada:secret\n", "line 1: no bcrypt hash"},
		"no colon":              {"\nada\n", "line 2: no bcrypt hash"},
		"no name":               {":" + hash, "a name has 1 to 64 bytes"},
		"a dear one":            {"ada:" + strings.Replace(hash, "$04$", "$20$", 1), "the cost of the hash is 20, and may be 14"},
		"too long":              {strings.Repeat("#\n", 40_000), "has more than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "users")
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o600))
			_, err := OpenUsers(path)
			if c.fault == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.fault)
		})
	}
	_, err := OpenUsers(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
