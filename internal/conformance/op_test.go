package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

func init() { redis.SetLogger(new(logging.VoidLogger)) } // a line for every failed dial helps nobody

// A member is one node of the cluster under test.
type member struct {
	t    testing.TB
	srv  string // "go" or "node"
	url  string
	kill func()
}

// goNode serves as `-mode socket -redis` does.
func goNode(t testing.TB, bus string) *member {
	mux := http.NewServeMux()
	stop := serveSocketMode(mux, bus, nil)
	web := httptest.NewServer(mux)
	end := sync.OnceFunc(func() { stop(); web.Close() })
	t.Cleanup(end)
	return &member{t, "go", web.URL, end}
}

var installed = sync.OnceValue(func() error {
	if _, err := os.Stat("node/node_modules/@socket.io/redis-streams-adapter/package.json"); err == nil {
		return nil
	}
	c := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	c.Dir = "node"
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out)
	}
	return nil
})

// nodeNode is a real Node server.
func nodeNode(t testing.TB, bus string) *member { return startNode(t, bus) }

// nodeEmitter is a Node process that has an emitter, and no server in the cluster.
func nodeEmitter(t testing.TB, bus string) *member { return startNode(t, bus, "emitter") }

func startNode(t testing.TB, args ...string) *member {
	t.Helper()
	require.NoError(t, installed())
	c := exec.Command("node", append([]string{"node/server.js"}, args...)...)
	c.Stderr = os.Stderr
	hold, err := c.StdinPipe() // it ends when this does
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	end := sync.OnceFunc(func() { _ = c.Process.Kill(); _ = c.Wait(); _ = hold.Close() })
	t.Cleanup(end)
	port, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return &member{t, "node", "http://127.0.0.1:" + strings.TrimSpace(port), end}
}

// op runs an operation; args are key=value.
func (m *member) op(op string, args ...string) any {
	m.t.Helper()
	q := url.Values{"op": {op}}
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		q.Set(k, v)
	}
	r, err := http.Get(m.url + "/op?" + q.Encode())
	require.NoError(m.t, err)
	defer r.Body.Close()
	require.Equal(m.t, http.StatusOK, r.StatusCode, op)
	var v any
	require.NoError(m.t, json.NewDecoder(r.Body).Decode(&v))
	return v
}

// client connects, and joins rooms.
func (m *member) client(rooms ...string) *wiretest.Client {
	m.t.Helper()
	c := wiretest.Open(m.t, m.url+"/socket.io/", "websocket")
	c.Connect("", "")
	require.Equal(m.t, `42["auth",{}]`, c.Read())
	for i, r := range rooms {
		c.Send(fmt.Sprintf(`42%d["join",%q]`, i, r))
		c.Expect(fmt.Sprintf(`43%d["joined"]`, i))
	}
	return c
}

// pairs runs a test on clusters of two: both kinds, both ways, and two of ours.
func pairs(t *testing.T, test func(t *testing.T, here, there *member)) {
	t.Parallel()
	for name, kinds := range map[string][2]func(testing.TB, string) *member{
		"go to node": {goNode, nodeNode}, "node to go": {nodeNode, goNode}, "go to go": {goNode, goNode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus := redistest.Server(t).Addr()
			here, there := kinds[0](t, bus), kinds[1](t, bus)
			for _, m := range []*member{here, there} {
				require.Eventually(t, func() bool { return m.op("count") == 2.0 }, wiretest.Patience, 10*time.Millisecond)
			}
			test(t, here, there)
		})
	}
}

// expect reads what both clients must hear now.
func expect(t *testing.T, what string, packets []string, hear ...*wiretest.Client) {
	t.Helper()
	for _, c := range hear {
		for _, want := range packets {
			got, err := c.Next()
			require.NoError(t, err, what)
			require.Equal(t, want, got, what)
		}
	}
}

func TestBroadcasts(t *testing.T) {
	pairs(t, func(t *testing.T, here, there *member) {
		a, b, c := here.client("red", "loud"), there.client("red"), there.client("blue", "loud")
		ev := func(v string) []string { return []string{fmt.Sprintf(`42["ev",%q,{"k":[1,true]}]`, v)} }
		bin := []string{`451-["evb",{"_placeholder":true,"num":0}]`, "bAQID"}

		here.op("emit", "v=all €😀\x01\"")
		expect(t, "everyone", []string{`42["ev","all €😀\u0001\"",{"k":[1,true]}]`}, a, b, c)
		here.op("emit", "room=red", "v=1")
		expect(t, "a room", ev("1"), a, b)
		here.op("emit", "room=red,blue", "v=2")
		expect(t, "several rooms", ev("2"), a, b, c)
		here.op("emit", "except=loud", "v=3")
		expect(t, "except", ev("3"), b)
		here.op("emit", "room=red", "except=loud", "v=4")
		expect(t, "room but except", ev("4"), b)
		here.op("emitbin")
		expect(t, "binary", bin, a, b, c)
		here.op("emitbin", "room=blue")
		expect(t, "binary in a room", bin, c)
		here.op("emit", "v=end")
		expect(t, "nobody heard more", ev("end"), a, b, c)
	})
}

func TestRequests(t *testing.T) {
	pairs(t, func(t *testing.T, here, there *member) {
		a, b := here.client("red"), there.client("red")
		sockets := func(from *member, args ...string) (srv []string) {
			got := from.op("fetch", args...).([]any)
			require.Equal(t, "null", got[1])
			for _, s := range got[0].([]any) {
				s := s.(map[string]any)
				require.Equal(t, true, s["hs"])
				require.Contains(t, s["rooms"], s["id"])
				srv = append(srv, s["data"].(map[string]any)["srv"].(string))
			}
			return srv
		}
		both := []string{here.srv, there.srv}
		require.ElementsMatch(t, both, sockets(here))
		require.ElementsMatch(t, both, sockets(there, "room=red"))
		require.Empty(t, sockets(here, "except=red"))

		here.op("join", "room=red", "v=green")
		require.Eventually(t, func() bool { return len(sockets(here, "room=green")) == 2 }, wiretest.Patience, 10*time.Millisecond)
		require.Contains(t, there.op("rooms"), "green")
		here.op("leave", "v=green")
		require.Eventually(t, func() bool { return len(sockets(here, "room=green")) == 0 }, wiretest.Patience, 10*time.Millisecond)

		here.op("sse", "v=hello")
		require.Eventually(t, func() bool { return there.op("lastsse") == `["hello"]` }, wiretest.Patience, 10*time.Millisecond)
		require.Equal(t, []any{[]any{there.srv + "-pong"}, "null"}, here.op("sseack", "v=again"))
		require.Equal(t, `["again"]`, there.op("lastsse"))
		require.Contains(t, []string{`[]`, `null`}, here.op("lastsse"), "not on its own node")

		if here.srv == "node" {
			require.Contains(t, here.op("allrooms"), "red")
		}
		here.op("disc", "room=red", "v=1")
		for _, c := range []*wiretest.Client{a, b} {
			rest := c.Rest()
			require.Subset(t, []string{"41"}, rest)
		}
	})
}

func TestAnswers(t *testing.T) {
	pairs(t, func(t *testing.T, here, there *member) {
		a, b, c := here.client("red"), there.client("red"), there.client("red")
		answers := map[*wiretest.Client]string{a: `[{"a":1},"more"]`, b: `[]`, c: `["third",3]`}
		answering := func() {
			for client, answer := range answers {
				p := client.Read()
				i := strings.IndexByte(p, '[')
				require.Equal(t, `["question","q"]`, p[i:])
				client.Send("43" + p[2:i] + answer)
			}
		}
		got := make(chan any, 1)
		go func() { got <- here.op("emitack", "room=red") }()
		answering()
		v := (<-got).([]any)
		require.Equal(t, "null", v[1])
		require.ElementsMatch(t, []any{map[string]any{"a": 1.0}, nil, "third"}, v[0])

		require.Equal(t, []any{[]any{}, "null"}, here.op("emitack", "room=nobody"))

		go func() { got <- here.op("emitack") }() // and one that does not answer
		delete(answers, b)
		answering()
		v = (<-got).([]any)
		require.Equal(t, "operation has timed out", v[1])
		require.Len(t, v[0], 2)
	})
}

func TestEmitter(t *testing.T) {
	t.Parallel()
	bus := redistest.Server(t).Addr()
	g, n := goNode(t, bus), nodeNode(t, bus)
	require.Eventually(t, func() bool { return g.op("count") == 2.0 }, wiretest.Patience, 10*time.Millisecond)
	a, b := g.client("red"), g.client("loud")
	n.op("em-emit", "v=1")
	expect(t, "everyone", []string{`42["ev","1",{"k":[1,true]}]`}, a, b)
	n.op("em-emit", "room=red", "v=2")
	n.op("em-emit", "except=red", "v=3")
	expect(t, "a room", []string{`42["ev","2",{"k":[1,true]}]`}, a)
	expect(t, "except", []string{`42["ev","3",{"k":[1,true]}]`}, b)
	n.op("em-emitbin", "room=red,loud")
	expect(t, "binary", []string{`451-["evb",{"_placeholder":true,"num":0}]`, "bAQID"}, a, b)
	n.op("em-sse", "v=x")
	require.Eventually(t, func() bool { return g.op("lastsse") == `["x"]` }, wiretest.Patience, 10*time.Millisecond)
	n.op("em-join", "room=red", "v=green")
	require.Eventually(t, func() bool {
		return strings.Contains(fmt.Sprint(g.op("rooms")), "green")
	}, wiretest.Patience, 10*time.Millisecond)
	n.op("em-leave", "v=green")
	require.Eventually(t, func() bool {
		return !strings.Contains(fmt.Sprint(g.op("rooms")), "green")
	}, wiretest.Patience, 10*time.Millisecond)
	n.op("em-disc", "room=red", "v=1")
	a.Rest()
	n.op("em-emit", "v=4")
	expect(t, "a neighbour", []string{`42["ev","4",{"k":[1,true]}]`}, b)
}

// TestAnEmitRightBehindAJoin is another program that has sockets of a gateway join a room and emits
// to the room at once: all of 40 emits are heard, also on a gateway that started later.
func TestAnEmitRightBehindAJoin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start      func(testing.TB, string) *member
		patterns   int // that it subscribes to by itself
		warmUp, op string
	}{
		"a Node server": {nodeNode, 1, "", "joinemit"},
		"an emitter":    {nodeEmitter, 0, "em-leave", "em-joinemit"},
		"a gateway":     {goNode, 0, "join", "joinemit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Server(t)
			asking := c.start(t, r.Addr())
			patterns := func() int { // connections that subscribe to the pattern of all rooms
				return strings.Count(r.Client().ClientList(t.Context()).Val(), " psub=1 ")
			}
			before := c.patterns
			require.Eventually(t, func() bool { return patterns() == before }, wiretest.Patience, 10*time.Millisecond)
			try := func(g *member) {
				t.Helper()
				require.Eventually(t, func() bool { return patterns() > before }, wiretest.Patience, 10*time.Millisecond)
				a := g.client("red")
				for i := range 40 {
					room := fmt.Sprint("green", i)
					asking.op(c.op, "room=red", "v="+room)
					expect(t, room, []string{fmt.Sprintf(`42["ev",%q,{"k":[1,true]}]`, room)}, a)
				}
			}
			g := goNode(t, r.Addr())
			require.Eventually(t, func() bool { return g.op("count").(float64) > 0 }, wiretest.Patience, 10*time.Millisecond)
			if c.warmUp != "" {
				require.Equal(t, before, patterns(), "it costs nothing before a request was heard")
				asking.op(c.warmUp, "room=nobody", "v=nothing") // the first request makes it known
			}
			try(g)
			require.Eventually(t, func() bool {
				return r.Client().Exists(t.Context(), "socket.io-joins#/#").Val() == 1
			}, wiretest.Patience, 10*time.Millisecond)
			before = patterns()
			try(goNode(t, r.Addr()))
		})
	}
}

// TestNodesThatDie kills one node after the other in the middle of traffic.
func TestNodesThatDie(t *testing.T) {
	pairs(t, func(t *testing.T, here, there *member) {
		if here.srv == "node" {
			t.Skip("Node has its own tests")
		}
		a, b := here.client("red"), there.client("red")
		here.op("emit", "room=red", "v=1")
		expect(t, "both", []string{`42["ev","1",{"k":[1,true]}]`}, a, b)
		stop := make(chan struct{})
		done := make(chan int)
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					done <- n
					return
				default:
					here.op("emit", "room=red", "v=traffic")
				}
			}
		}()
		there.kill()
		for _, op := range []string{"fetch", "sseack"} {
			begun := time.Now()
			got := here.op(op, "room=red").([]any)
			require.Equal(t, "null", got[1], "what is left is no error")
			require.Less(t, time.Since(begun), 4*time.Second)
		}
		require.Eventually(t, func() bool { return here.op("count") == 1.0 }, wiretest.Patience, 10*time.Millisecond)
		close(stop)
		for range <-done {
			expect(t, "who lives", []string{`42["ev","traffic",{"k":[1,true]}]`}, a)
		}
	})
}

// TestRedisThatDies is a cluster of both kinds whose Redis is killed and comes back.
func TestRedisThatDies(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	g, n := goNode(t, r.Addr()), nodeNode(t, r.Addr())
	both := func() bool { return g.op("count") == 2.0 && n.op("count") == 2.0 }
	require.Eventually(t, both, wiretest.Patience, 10*time.Millisecond)
	a, b := g.client("red"), n.client("red")
	for round := range 2 {
		r.Kill()
		g.op("emit", "room=red", "v=alone")
		expect(t, "the members here", []string{`42["ev","alone",{"k":[1,true]}]`}, a)
		r.Restart()
		require.Eventually(t, both, wiretest.Patience, 10*time.Millisecond)
		c := g.client("red") // hears the others when it has joined, and so does the room
		v := fmt.Sprint("round ", round)
		g.op("emit", "room=red", "v="+v)
		expect(t, "both again", []string{fmt.Sprintf(`42["ev",%q,{"k":[1,true]}]`, v)}, a, b, c)
		n.op("emit", "room=red", "v="+v)
		expect(t, "both ways", []string{fmt.Sprintf(`42["ev",%q,{"k":[1,true]}]`, v)}, a, b, c)
	}
}

// TestOrderFromNode is 5,000 broadcasts of a Node node to a room here.
func TestOrderFromNode(t *testing.T) {
	t.Parallel()
	bus := redistest.Server(t).Addr()
	g, n := goNode(t, bus), nodeNode(t, bus)
	for _, m := range []*member{g, n} {
		require.Eventually(t, func() bool { return m.op("count") == 2.0 }, wiretest.Patience, 10*time.Millisecond)
	}
	a, b := g.client("red"), n.client("red")
	const count = 5000
	b.Send(fmt.Sprintf(`42["burst-room","red",%d]`, count))
	for i := range count {
		expect(t, "order", []string{fmt.Sprintf(`42["b",%d]`, i)}, a, b)
	}
}
