package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/redistest"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
)

var binary string // the shipped program

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "gateway")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/gateway").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", out, err)
		os.Exit(1)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	redistest.Main(m)
}

const users = 4

// A world is a Redis, its gateways, and what clients were told.
type world struct {
	t      *testing.T
	url    string // of Redis, as the gateways reach it
	rdb    redis.UniversalClient
	books  *trade.Service
	logins []string // session ids of p0, p1, …

	mu     sync.Mutex
	gifts  map[string]bool // trade ids of gifts answered with ok; guarded by mu
	open   []gift          // gifts that were not answered; guarded by mu
	trades map[string]bool // ids of trades between two; true when somebody was told completed; guarded by mu
	ended  map[string]bool // trades of which somebody was told that they were cancelled; guarded by mu
	asked  int             // guarded by mu
}

type gift struct {
	from    int
	payload map[string]any
}

// newWorld uses direct for what the test itself does, and url for the gateways.
func newWorld(t *testing.T, direct, url string) *world {
	rdb, err := redisconn.New(direct, redisconn.Config{ReadTimeout: 5 * time.Second, DialTimeout: 5 * time.Second, PoolTimeout: 5 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	w := &world{t: t, url: url, rdb: rdb, books: trade.New(rdb, nil, nil, nil, trade.Config{}), gifts: map[string]bool{}, trades: map[string]bool{}, ended: map[string]bool{}}
	store := sessions.New(rdb, sessions.Config{})
	for i := range users {
		name := fmt.Sprint("p", i)
		s, err := store.Create(t.Context(), name, name, []string{"player"}, sessions.Options{CharacterID: name})
		require.NoError(t, err)
		w.logins = append(w.logins, s.ID)
		_, err = w.books.Mint(t.Context(), trade.MintRequest{Key: "start " + name, CharacterID: name, Items: []trade.Line{{ItemID: "apple", Qty: 500}}, Gold: 500})
		require.NoError(t, err)
	}
	return w
}

// A gate is one gateway process.
type gate struct {
	addr string
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs a gateway; crash is what GATEWAY_CRASH_AT says, or "".
func (w *world) start(crash string) *gate {
	w.t.Helper()
	g := &gate{done: make(chan struct{})}
	g.cmd = exec.Command(binary, "serve", "--dev", "--addr", "127.0.0.1:0", "--admin-addr", "", "--redis", w.url, "--log-level", "error",
		"--limit", "trade=off", "--limit", "connect=off", "--drain-for", "0s")
	g.cmd.Env = append(os.Environ(), "GATEWAY_CRASH_AT="+crash)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := g.cmd.StdoutPipe()
	require.NoError(w.t, err)
	if os.Getenv("CHAOS_LOG") != "" {
		g.cmd.Stderr = os.Stderr
	}
	require.NoError(w.t, g.cmd.Start())
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		_ = g.cmd.Wait()
		close(g.done)
	}()
	require.NoError(w.t, err, "the gateway did not start")
	g.addr = strings.TrimSpace(strings.TrimPrefix(first, "listening on http://"))
	w.t.Cleanup(g.kill)
	return g
}

func (g *gate) signal(s syscall.Signal) { _ = g.cmd.Process.Signal(s) }

func (g *gate) kill() {
	g.signal(syscall.SIGKILL)
	<-g.done
}

// seat connects a player, again and again until it succeeds or the gateway is dead.
func (w *world) seat(g *gate, i int) (*player, error) {
	for {
		p, err := join(g.addr, fmt.Sprint("p", i), w.logins[i])
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

type tradeView struct {
	TradeID string
	Status  string
	Version int64
}

// give is a gift; the key is new.
func (w *world) give(p *player, from, to int, qty int) {
	w.mu.Lock()
	w.asked++
	key := fmt.Sprint("k", w.asked)
	w.mu.Unlock()
	w.repeat(p, gift{from, map[string]any{
		"to": fmt.Sprint("p", to), "idempotencyKey": key,
		"give": map[string]any{"items": []any{map[string]any{"itemId": "apple", "qty": qty}}, "gold": 0},
	}})
}

// repeat sends a gift, and notes what is known of it.
func (w *world) repeat(p *player, g gift) (answered bool) {
	var t tradeView
	code, err := p.ask("trade:execute", g.payload, &t)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil, code == "LOCKED":
		w.open = append(w.open, g)
		return false
	case code == "":
		w.gifts[t.TradeID] = true
	}
	return true
}

// barter is a trade between two, each on a gateway; cancel lets the first go back at the last moment.
func (w *world) barter(a, b *player, bi int, cancel bool) {
	var t tradeView
	if code, err := a.ask("trade:propose", map[string]any{"to": fmt.Sprint("p", bi)}, &t); err != nil || code != "" {
		return
	}
	w.note(t)
	id := t.TradeID
	apples := []any{map[string]any{"itemId": "apple", "qty": 3}}
	if code, err := a.ask("trade:offer", map[string]any{"tradeId": id, "items": apples, "gold": 0, "version": 1}, &t); err != nil || code != "" {
		return
	}
	if code, err := b.ask("trade:offer", map[string]any{"tradeId": id, "items": []any{}, "gold": 2, "version": 2}, &t); err != nil || code != "" {
		return
	}
	ask := func(p *player, event string, payload map[string]any) {
		var t tradeView
		if code, err := p.ask(event, payload, &t); err == nil && code == "" {
			w.note(t)
		}
	}
	accept := map[string]any{"tradeId": id, "version": 3}
	if cancel { // both at once
		var all sync.WaitGroup
		all.Go(func() { ask(b, "trade:accept", accept) })
		all.Go(func() { ask(a, "trade:accept", accept) })
		ask(a, "trade:cancel", map[string]any{"tradeId": id})
		all.Wait()
		return
	}
	ask(b, "trade:accept", accept)
	ask(a, "trade:accept", accept)
}

func (w *world) note(t tradeView) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trades[t.TradeID] = w.trades[t.TradeID] || t.Status == "completed"
	if t.Status == "cancelled" {
		w.ended[t.TradeID] = true
	}
}

// settled waits until nothing that a dead process left is undecided or unfinished, and says how long that took.
func (w *world) settled() time.Duration {
	w.t.Helper()
	begun := time.Now()
	require.Eventually(w.t, func() bool {
		ids, err := w.rdb.ZRange(w.t.Context(), keys.OpenTrades, 0, -1).Result()
		if err != nil {
			return false
		}
		for _, id := range ids {
			h, err := w.rdb.HGetAll(w.t.Context(), keys.Trade(id)).Result()
			if err != nil || h["status"] == "settling" {
				return false
			}
			if h["status"] == "completed" && !w.rdb.HExists(w.t.Context(), keys.TradeLedgerIndex, h["ref"]).Val() {
				return false
			}
		}
		return true
	}, 30*time.Second, 50*time.Millisecond)
	return time.Since(begun)
}

// verify asks again for what was not answered, over a gateway that lives, and compares what clients were
// told with the ledger.
func (w *world) verify(g *gate) (settled time.Duration) {
	t := w.t
	t.Helper()
	settled = w.settled()
	w.mu.Lock()
	again := w.open
	w.open = nil
	w.mu.Unlock()
	for _, x := range again {
		p, err := w.seat(g, x.from)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			if w.repeat(p, x) {
				return true
			}
			w.mu.Lock()
			w.open = nil
			w.mu.Unlock()
			return false
		}, 20*time.Second, 50*time.Millisecond, "an unanswered gift is told by repeating its key")
		p.leave()
	}
	w.settled()
	r, err := w.books.Audit(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.Breaks)
	require.Equal(t, fmt.Sprint(users*500), r.Minted["item:apple"].String())

	inLedger := map[string]bool{}
	for after := ""; ; {
		entries, err := w.books.Ledger(t.Context(), after, 1000)
		require.NoError(t, err)
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			after = e.StreamID
			if e.Kind != "mint" {
				inLedger[e.Ref] = true
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.gifts {
		require.True(t, inLedger[id], "a gift that was answered with ok is not in the ledger")
		delete(inLedger, id)
	}
	for id, told := range w.trades {
		require.True(t, inLedger[id] || !told, "a trade that was told as completed is not in the ledger")
		require.False(t, inLedger[id] && w.ended[id], "a trade that was told as cancelled is in the ledger")
		delete(inLedger, id)
	}
	for id := range inLedger {
		// Its proposal was never answered; else somebody was refused, and it was done all the same.
		shown, err := w.books.Show(context.WithoutCancel(t.Context()), id)
		require.NoError(t, err)
		require.NotZero(t, shown.Version)
		require.Fail(t, "the ledger has a trade that nobody was told of", id)
	}
	return settled
}
