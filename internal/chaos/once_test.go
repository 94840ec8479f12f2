package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
)

// A balancer is the one address of several gateways. Each connection goes to the next of them.
type balancer struct {
	net.Listener
	choose func() *gatewayProcess

	mu    sync.Mutex
	links map[net.Conn]bool // guarded by mu
}

func startBalancer(t *testing.T, choose func() *gatewayProcess) *balancer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &balancer{Listener: l, choose: choose, links: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serveLink(c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		b.cut(1)
	})
	return b
}

// serveLink passes a connection on to a gateway.
func (b *balancer) serveLink(c net.Conn) {
	defer c.Close()
	g, err := net.DialTimeout("tcp", b.choose().addr, time.Second)
	if err != nil {
		return
	}
	defer g.Close()
	b.mu.Lock()
	b.links[c] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.links, c)
		b.mu.Unlock()
	}()
	go func() {
		_, _ = io.Copy(g, c)
		_ = g.Close()
	}()
	_, _ = io.Copy(c, g)
}

// cut ends one of each so many connections. Their clients come back, most of them to another
// gateway.
func (b *balancer) cut(oneOf int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := 0
	for c := range b.links {
		if i++; i%oneOf == 0 {
			_ = c.Close()
		}
	}
}

// An emit is an event with an idempotency key, and the answer that the client got in the end.
type emit struct {
	Event, Key string
	Sends      int // how often the client sent it
	Answer     struct {
		OK    bool
		Data  json.RawMessage
		Error json.RawMessage
	}
}

// A keyedStorm is a world in which the official client sends events with keys.
type keyedStorm struct {
	*world
	dice     *rand.Rand
	balancer *balancer
	every    int // a gateway dies at its nth command, with n up to this

	mu     sync.Mutex
	gates  []*gatewayProcess // guarded by mu
	next   int               // guarded by mu
	deaths atomic.Int64
}

// chooseNext gives the gateways in turn.
func (s *keyedStorm) chooseNext() *gatewayProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return s.gates[s.next%len(s.gates)]
}

// startDoomed starts a gateway that kills itself before or after one of its commands.
func (s *keyedStorm) startDoomed() *gatewayProcess {
	return s.startGateway(fmt.Sprint("kill ", []string{"before", "after"}[rand.IntN(2)], " ", 30+rand.IntN(s.every), " any"),
		"--limit", "trade=1000000/60s", "--limit", "combat=1000000/60s", "--limit", "rooms=1000000/60s", "--limit-close-after", "0",
		"--handler-timeout", "1s", "--trade-expiry", "1h", "--combat-timeout", "1h")
}

// replaceDead starts another gateway for each that has died, until stop.
func (s *keyedStorm) replaceDead(stop <-chan struct{}) {
	var all sync.WaitGroup
	for i := range s.gates {
		all.Go(func() {
			for {
				s.mu.Lock()
				g := s.gates[i]
				s.mu.Unlock()
				select {
				case <-stop:
					return
				case <-g.done:
				}
				s.deaths.Add(1)
				fresh := s.startDoomed()
				s.mu.Lock()
				s.gates[i] = fresh
				s.mu.Unlock()
			}
		})
	}
	all.Wait()
}

// keyedBlows are what befalls the connections, besides the deaths of gateways.
var keyedBlows = []func(*keyedStorm){
	func(s *keyedStorm) {
		ms := 200 + s.dice.IntN(1000)
		_ = s.rdb.Do(s.t.Context(), "CLIENT", "PAUSE", ms, "ALL").Err()
	},
	func(s *keyedStorm) { s.balancer.cut(1) },
	func(s *keyedStorm) { s.balancer.cut(2) },
	func(s *keyedStorm) { s.balancer.cut(3) },
	func(s *keyedStorm) { s.spoilWire((*redistest.Wire).Reset) },
	func(s *keyedStorm) { s.spoilWire((*redistest.Wire).Cut) },
	func(s *keyedStorm) { s.spoilWire((*redistest.Wire).BlackHole) },
	func(s *keyedStorm) { s.spoilWire(func(w *redistest.Wire) { w.Delay(300 * time.Millisecond) }) },
}

// spoilWire spoils the connections between the gateways and Redis for up to half a second.
func (s *keyedStorm) spoilWire(begin func(*redistest.Wire)) {
	begin(s.wires[0])
	time.Sleep(time.Duration(s.dice.IntN(500)) * time.Millisecond)
	s.wires[0].Mend()
}

// newPlayers makes so many players of names of their own, with apples, and returns what once.mjs
// needs to know of them.
func (s *keyedStorm) newPlayers(n int) (players []map[string]string) {
	store := sessions.New(s.rdb, sessions.Config{})
	for i := range n {
		who := fmt.Sprint("k", i)
		login, err := store.Create(s.t.Context(), who, who, []string{"player"}, sessions.Options{CharacterID: who})
		require.NoError(s.t, err)
		_, err = s.books.Mint(s.t.Context(), trade.MintRequest{Key: "start " + who, CharacterID: who, Items: []trade.Line{{ItemID: "apple", Qty: 100_000}}})
		require.NoError(s.t, err)
		require.NoError(s.t, s.rdb.Set(s.t.Context(), keys.CharacterPlayer(who), who, 0).Err())
		players = append(players, map[string]string{"user": who, "session": login.ID})
	}
	return players
}

// sendEmits lets the official client send so many events, and returns them with their answers, and
// what the program says that must not be: a refusal for good.
func (s *keyedStorm) sendEmits(n, players int) (emits []emit, refusals []string) {
	bundle, err := filepath.Abs("../../web/testclient/vendor/socket.io.esm.min.js")
	require.NoError(s.t, err)
	task, err := json.Marshal(map[string]any{"url": "http://" + s.balancer.Addr().String(), "emits": n, "seed": rand.Uint32(), "players": s.newPlayers(players)})
	require.NoError(s.t, err)
	cmd := exec.CommandContext(s.t.Context(), "node", "--experimental-websocket", "once.mjs", bundle, string(task))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e emit
		require.NoError(s.t, json.Unmarshal(lines.Bytes(), &e), lines.Text())
		emits = append(emits, e)
	}
	require.NoError(s.t, cmd.Wait(), complaints.String())
	for line := range strings.Lines(complaints.String()) {
		if !strings.Contains(line, "ExperimentalWarning") && !strings.Contains(line, "trace-warnings") {
			refusals = append(refusals, strings.TrimSpace(line))
		}
	}
	return emits, refusals
}

// An emit with an idempotency key has its effect once, and gets the true answer, whatever happens
// between the official client, the gateways and Redis: Redis is paused, the links are cut, clients
// change nodes, and gateways die by kill -9 between any two of their commands to Redis.
func TestEachKeyActsOnce(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("needs node")
	}
	t.Parallel()
	emits, players, every, calm := 300, 20, 300, 400
	if isFullRun() {
		emits, players, every, calm = 10_000, 80, 1500, 1500
	}
	s := newKeyedStorm(t, binary, every)
	begun := time.Now()
	got, refusals, blows := s.rage(emits, players, calm)
	took := time.Since(begun)
	require.Empty(t, refusals)
	require.Empty(t, s.compareEffects(got))
	again := 0
	for _, e := range got {
		if e.Sends > 1 {
			again++
		}
	}
	t.Logf("%d emits of %d players in %v, %d of them sent more than once; %d deaths of gateways and %d other blows",
		len(got), players, took.Round(time.Second), again, s.deaths.Load(), blows)
	require.GreaterOrEqual(t, len(got), emits)
	require.Positive(t, s.deaths.Load())
	require.Positive(t, again)
}

// A gateway that forgets what a key has done is caught by what TestEachKeyActsOnce asserts.
func TestAPlantedBugOfKeysIsCaught(t *testing.T) {
	for _, b := range keyBugs {
		b.plantBug(t)
	}
	if !isFullRun() {
		t.Skip("builds gateways; make chaos runs it")
	}
	t.Parallel()
	for name, planted := range keyBugs {
		program := buildWithBugs(t, []bug{planted})
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newKeyedStorm(t, program, 300)
			got, caught, _ := s.rage(600, 20, 400)
			caught = append(caught, s.compareEffects(got)...)
			require.NotEmpty(t, caught, "a bug that no check notices")
			t.Log(caught[0])
		})
	}
}

// newKeyedStorm starts three gateways of a program, behind one address.
func newKeyedStorm(t *testing.T, program string, every int) *keyedStorm {
	s := &keyedStorm{world: newWorld(t, oneServer(t)), dice: rand.New(rand.NewPCG(5, 7)), every: every} //nolint:gosec // a test
	s.program = program
	s.gates = []*gatewayProcess{s.startDoomed(), s.startDoomed(), s.startDoomed()}
	s.balancer = startBalancer(t, s.chooseNext)
	return s
}

// rage lets blows fall, with about so many ms between two of them, while the client sends its
// emits.
func (s *keyedStorm) rage(emits, players, calm int) (got []emit, refusals []string, blows int) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { s.replaceDead(stop) })
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(calm/2+rand.IntN(calm)) * time.Millisecond):
			}
			keyedBlows[s.dice.IntN(len(keyedBlows))](s)
			blows++
		}
	})
	got, refusals = s.sendEmits(emits, players)
	close(stop)
	all.Wait()
	return got, refusals, blows
}

// findings are what a comparison finds wrong.
type findings []string

// Errorf notes something wrong.
func (f *findings) Errorf(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// compareEffects compares what Redis has with what the clients were told: each emit has its effect,
// no effect is without an emit, and each answer is true. It returns what is wrong.
func (s *keyedStorm) compareEffects(emits []emit) []string {
	t, wrong := s.t, &findings{}
	_, left := s.waitUntilSettled()
	require.Empty(t, left)
	r, err := s.books.Audit(t.Context())
	require.NoError(t, err)
	assert.Empty(wrong, r.Breaks)

	gifts, completed, proposed, cancelled := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	versions := map[string]int64{} // of trades, the highest that somebody was told
	fights := map[string][]int64{} // the versions that the answers to actions name
	addOnce := func(all map[string]bool, id string, e emit) {
		assert.False(wrong, all[id], "%s %s got an answer that another one got before", e.Event, e.Key)
		all[id] = true
	}
	for _, e := range emits {
		if !assert.True(wrong, e.Answer.OK, "%s %s: %s", e.Event, e.Key, e.Answer.Error) {
			continue
		}
		var x trade.Trade
		if strings.HasPrefix(e.Event, "trade:") {
			require.NoError(t, json.Unmarshal(e.Answer.Data, &x))
			versions[x.TradeID] = max(versions[x.TradeID], x.Version)
		}
		switch e.Event {
		case "trade:execute":
			assert.Equal(wrong, trade.Completed, x.Status)
			addOnce(gifts, x.TradeID, e)
		case "trade:propose":
			assert.Equal(wrong, trade.Open, x.Status)
			assert.EqualValues(wrong, 1, x.Version)
			addOnce(proposed, x.TradeID, e)
		case "trade:offer":
			assert.Equal(wrong, trade.Open, x.Status)
		case "trade:accept":
			if x.Status == trade.Completed {
				addOnce(completed, x.TradeID, e)
			}
		case "trade:cancel":
			assert.Equal(wrong, trade.Cancelled, x.Status)
			addOnce(cancelled, x.TradeID, e)
		case "combat:start":
			var f combat.State
			require.NoError(t, json.Unmarshal(e.Answer.Data, &f))
			assert.NotContains(wrong, fights, f.CombatID, "two starts got one fight")
			fights[f.CombatID] = nil
		case "combat:action":
			var o combat.Outcome
			require.NoError(t, json.Unmarshal(e.Answer.Data, &o))
			fights[o.State.CombatID] = append(fights[o.State.CombatID], o.State.Version)
		}
	}

	ledgerGifts, ledgerTrades := map[string]bool{}, map[string]bool{}
	for after := ""; ; {
		entries, err := s.books.Ledger(t.Context(), after, 1000)
		require.NoError(t, err)
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			after = e.StreamID
			switch e.Kind {
			case "gift":
				ledgerGifts[e.Ref] = true
			case "trade":
				ledgerTrades[e.Ref] = true
			}
		}
	}
	assert.Equal(wrong, gifts, ledgerGifts, "gifts that were asked for, and gifts in the ledger")
	assert.Equal(wrong, completed, ledgerTrades, "trades that were completed, and trades in the ledger")

	existing := map[string]bool{}
	for id, h := range s.scanHashes("trade:*", "trade:") {
		if len(id) != 26 || h["kind"] != "trade" {
			continue
		}
		existing[id] = true
		assert.Equal(wrong, strconv.FormatInt(versions[id], 10), h["version"], "trade %s: each offer raises the version once", id)
		assert.Equal(wrong, cancelled[id], h["status"] == string(trade.Cancelled), "trade %s: %s", id, h["status"])
	}
	assert.Equal(wrong, proposed, existing, "trades that were proposed, and trades")

	for id, h := range s.scanHashes("combat:*:state", "combat:") {
		id = strings.TrimSuffix(id, ":state")
		told, known := fights[id]
		assert.True(wrong, known, "the fight %s began, and nobody was told", id)
		slices.Sort(told)
		for i, version := range told {
			assert.EqualValues(wrong, i+2, version, "fight %s: %v: each action is one turn", id, told)
		}
		assert.Equal(wrong, strconv.Itoa(len(told)+1), h["version"], "fight %s: turns that were told, and turns", id)
		delete(fights, id)
	}
	assert.Empty(wrong, slices.Collect(maps.Keys(fights)), "fights that somebody was told of, and that are not there")
	return *wrong
}

// scanHashes reads the hashes whose keys match a pattern, by the key behind the prefix.
func (s *keyedStorm) scanHashes(pattern, prefix string) map[string]map[string]string {
	all := map[string]map[string]string{}
	scan := s.rdb.Scan(s.t.Context(), 0, pattern, 1000).Iterator()
	for scan.Next(s.t.Context()) {
		if s.rdb.Type(s.t.Context(), scan.Val()).Val() != "hash" {
			continue
		}
		h, err := s.rdb.HGetAll(s.t.Context(), scan.Val()).Result()
		require.NoError(s.t, err)
		all[strings.TrimPrefix(scan.Val(), prefix)] = h
	}
	require.NoError(s.t, scan.Err())
	return all
}
