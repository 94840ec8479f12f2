package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
)

var binary string // the program, with the hook that kills it

func TestMain(m *testing.M) {
	if addr := os.Getenv("CHAOS_RECEIVER"); addr != "" { // TestWebhooksOverKills starts this program as its receiver
		fmt.Fprintln(os.Stderr, serveWebhooks(addr, os.Getenv("CHAOS_RECEIVED")))
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "gateway")
	if err := buildGateway(binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	redistest.Main(m, func() { _ = os.RemoveAll(dir) })
}

func buildGateway(to string, args ...string) error {
	args = append(append([]string{"build", "-tags", "crashhook", "-o", to}, args...), "../../cmd/gateway")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// isFullRun tells that `make chaos` runs: it strikes every command, and for long.
func isFullRun() bool { return os.Getenv("CHAOS") != "" }

const stock = 2000 // apples, and gold, that each begins with

// names are the users, and their characters.
var names = []string{"p0", "p1", "p2", "p3"}

// A site is a Redis server or a Cluster, with the connections to it that can be spoilt.
type site struct {
	url        string // past the wires
	gatewayURL string // over the wires, as gateways reach it
	wires      []*redistest.Wire
	servers    []*redistest.Instance // masters
	restart    func(i int)           // a server, with its append-only file
}

// sites are one where trades are settled by one script, and one where they are settled by a saga.
var sites = map[string]func(t *testing.T) *site{"one server": oneServer, "a Cluster": aCluster}

func oneServer(t *testing.T) *site {
	server := redistest.Server(t, "--appendonly", "yes", "--appendfsync", "always")
	wire := redistest.Toxic(t, server)
	return &site{
		url: server.URL(), gatewayURL: wire.URL(), wires: []*redistest.Wire{wire}, servers: []*redistest.Instance{server},
		restart: func(int) { server.Restart() },
	}
}

// aCluster does not fail over: a replica may lack what its master has answered, and what is shown
// here is what becomes of trades while everything that was answered is there.
func aCluster(t *testing.T) *site {
	c := redistest.StartCluster(t, "--appendonly", "yes", "--appendfsync", "always")
	s := &site{url: c.URL(), servers: c.Nodes[:3]}
	var addrs []string
	announce := make([]func(), len(c.Nodes))
	for i, n := range c.Nodes {
		wire := redistest.Toxic(t, n)
		rdb := n.Client()
		_, port, _ := strings.Cut(wire.Addr(), ":")
		announce[i] = func() {
			ctx := context.WithoutCancel(t.Context())
			require.NoError(t, rdb.ConfigSet(ctx, "cluster-announce-port", port).Err())
			require.NoError(t, rdb.ConfigSet(ctx, "cluster-replica-no-failover", "yes").Err())
		}
		announce[i]()
		s.wires, addrs = append(s.wires, wire), append(addrs, wire.Addr())
	}
	s.restart = func(i int) {
		c.Nodes[i].Restart()
		announce[i]()
	}
	s.gatewayURL = "redis+cluster://" + strings.Join(addrs, ",")
	return s
}

// A world is a Redis, its gateways, and what clients were told.
type world struct {
	*site
	*clientRecord
	t       *testing.T
	program string
	rdb     redis.UniversalClient
	books   *trade.Service
	logins  []string // session ids, as names
}

func newWorld(t *testing.T, s *site) *world {
	rdb, err := redisconn.New(s.url, redisconn.Config{ReadTimeout: 5 * time.Second, DialTimeout: 5 * time.Second, PoolTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	w := &world{t: t, site: s, clientRecord: newClientRecord(), program: binary, rdb: rdb, books: trade.New(rdb, nil, nil, nil, trade.Config{})}
	store := sessions.New(rdb, sessions.Config{})
	for _, who := range names {
		s, err := store.Create(t.Context(), who, who, []string{"player"}, sessions.Options{CharacterID: who})
		require.NoError(t, err)
		w.logins = append(w.logins, s.ID)
		_, err = w.books.Mint(t.Context(), trade.MintRequest{Key: "start " + who, CharacterID: who, Items: []trade.Line{{ItemID: "apple", Qty: stock}}, Gold: stock})
		require.NoError(t, err)
	}
	return w
}

// mintRing mints an item that nobody else has.
func (w *world) mintRing(to int) trade.Line {
	w.mu.Lock()
	w.keys++
	ring := trade.Line{ItemID: fmt.Sprint("ring-", w.keys), Qty: 1}
	w.mu.Unlock()
	_, err := w.books.Mint(w.t.Context(), trade.MintRequest{Key: ring.ItemID, CharacterID: names[to], Items: []trade.Line{ring}})
	require.NoError(w.t, err)
	return ring
}

// A gatewayProcess is one gateway process.
type gatewayProcess struct {
	addr string
	cmd  *exec.Cmd
	done chan struct{}
}

// startGateway runs a gateway; crash is what REALTIME_CRASH_AT says, or "". The flags come behind
// the usual ones.
func (w *world) startGateway(crash string, flags ...string) *gatewayProcess {
	w.t.Helper()
	for begun := time.Now(); ; {
		g, err := w.launchGateway(crash, flags...)
		if err == nil {
			w.t.Cleanup(g.killProcess)
			return g
		}
		require.Less(w.t, time.Since(begun), 20*time.Second, "the gateway does not start: %v", err) // Redis may be coming back
	}
}

func (w *world) launchGateway(crash string, flags ...string) (*gatewayProcess, error) {
	g := &gatewayProcess{done: make(chan struct{})}
	args := append([]string{
		"serve", "--dev", "--addr", "127.0.0.1:0", "--admin-addr", "", "--redis", w.gatewayURL, "--trade-durability", "none", "--log-level", "error",
		"--limit", "trade=off", "--limit", "connect=off", "--limit", "events=off", "--limit", "reads=off", "--limit", "rooms=off", "--drain-for", "0s",
		// A player comes back thousands of times, and a failover forgets that its connections ended.
		"--max-connections-per-user", "0",
	}, flags...)
	g.cmd = exec.Command(w.program, args...)
	g.cmd.Env = append(os.Environ(), "REALTIME_CRASH_AT="+crash)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if os.Getenv("CHAOS_LOG") != "" {
		g.cmd.Stderr = os.Stderr
	}
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	tooLate := time.AfterFunc(longestWait, func() { g.sendSignal(syscall.SIGKILL) }) // ends the reading
	first, err := lines.ReadString('\n')
	tooLate.Stop()
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		_ = g.cmd.Wait()
		close(g.done)
	}()
	if err != nil {
		g.killProcess()
		return nil, err
	}
	g.addr = strings.TrimSpace(strings.TrimPrefix(first, "listening on http://"))
	return g, nil
}

func (g *gatewayProcess) sendSignal(s syscall.Signal) { _ = g.cmd.Process.Signal(s) }

// end sends a signal that ends the process, and waits for its end.
func (g *gatewayProcess) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	g.sendSignal(signal)
	select {
	case <-g.done:
	case <-time.After(longestWait):
		g.sendSignal(syscall.SIGQUIT) // shows what its goroutines do, with CHAOS_LOG
		require.FailNow(t, "the gateway does not end")
	}
}

func (g *gatewayProcess) killProcess() {
	g.sendSignal(syscall.SIGKILL)
	<-g.done
}

// isAlive tells whether a gateway answers; it must not stand still.
func (g *gatewayProcess) isAlive() bool {
	r, err := (&http.Client{Timeout: longestWait}).Get("http://" + g.addr + "/health/live")
	if err != nil {
		return false
	}
	_ = r.Body.Close()
	return true
}

// connectPlayer connects a player, again and again until it succeeds or the gateway is dead.
func (w *world) connectPlayer(g *gatewayProcess, me int) (*player, error) {
	for {
		p, err := dialPlayer(g.addr, me, w.logins[me])
		if err == nil {
			return p, nil
		}
		select {
		case <-g.done:
			return nil, err
		case <-w.t.Context().Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// connectForTest connects a player to a gateway that lives, until the test ends.
func (w *world) connectForTest(g *gatewayProcess, me int) *player {
	w.t.Helper()
	p, err := w.connectPlayer(g, me)
	require.NoError(w.t, err)
	w.t.Cleanup(p.closeConnection)
	return p
}
