package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/loadtest"
)

// of returns a row with the medians of the peer and the gateway.
func of(c benchCase, rates, busy, work, load [2]float64) *row {
	both := func(v [2]float64) map[string][]float64 {
		return map[string][]float64{peerServer: {v[0]}, gatewayServer: {v[1]}}
	}
	return &row{benchCase: c, values: both(rates), serverShare: both(busy), perCPUSecond: both(work), loadShare: both(load)}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	ping := benchCase{name: "ping", title: "round trip", unit: "events/s", rate: eventRate, wantRatio: 3}
	memory := benchCase{name: "memory", title: "an idle connection", unit: "KB", wantRatio: 0.7}
	full := [2]float64{1, 0.99}
	faulty := of(ping, [2]float64{10, 40}, full, [2]float64{10, 40}, full)
	faulty.faults = []string{"gateway: lost 1"}
	both := benchCase{name: "tradeboth", title: "trades", unit: "trades/s", rate: settledRate, wantRatio: 3, comparesP99: true}
	prompt, late := of(both, [2]float64{10, 31}, full, [2]float64{10, 31}, full), of(both, [2]float64{10, 31}, full, [2]float64{10, 31}, full)
	prompt.p99s = map[string][]float64{peerServer: {20}, gatewayServer: {10}}
	late.p99s = map[string][]float64{peerServer: {20}, gatewayServer: {21}}
	frugal, wasteful := of(ping, [2]float64{10, 31}, full, [2]float64{10, 31}, full), of(ping, [2]float64{10, 31}, full, [2]float64{10, 31}, full)
	for r, redis := range map[*row][]float64{frugal: {9.9}, wasteful: {10.1}} {
		r.wantRedis, r.redisMicros = 1, map[string][]float64{peerServer: {10}, gatewayServer: redis}
	}
	cost := benchCase{name: "chatcost", title: "chat", unit: "µs", rate: eventRate, isCost: true, wantRatio: 0.65}
	idle := [2]float64{0.1, 0.1}
	back := benchCase{title: "return", unit: "ms", rate: returnMillis, isTime: true, wantRatio: 0.5, loadSpec: loadSpec{Clients: 9000}}
	connects := benchCase{title: "connect", unit: "connects/s", rate: eventRate, grows: true, wantRatio: 2.3, loadSpec: loadSpec{Clients: 18_000}}
	small := connects
	small.loadSpec.Clients = 5000
	few := of(small, [2]float64{1000, 4000}, full, [2]float64{1000, 4000}, full)
	flat, steep := of(connects, [2]float64{1000, 3700}, full, [2]float64{1000, 3700}, full), of(connects, [2]float64{1000, 3600}, full, [2]float64{1000, 3600}, full)
	flat.smaller, steep.smaller = few, few
	fewBack := of(back, [2]float64{400, 200}, idle, idle, idle)
	fewBack.loadSpec.Clients = 1000
	proportional, slower := of(back, [2]float64{4000, 1900}, idle, idle, idle), of(back, [2]float64{4000, 1999}, idle, idle, idle)
	proportional.smaller, slower.smaller = fewBack, fewBack
	for name, c := range map[string]struct {
		row  *row
		ok   bool
		says string
	}{
		"little work for Redis":    {frugal, true, "Redis worked 10.0 µs for each event with the peer, 9.9 µs with the gateway: 0.99, wanted ≤ 1.0"},
		"much work for Redis":      {wasteful, false, "Redis worked 10.0 µs for each event with the peer, 10.1 µs with the gateway: 1.01, wanted ≤ 1.0"},
		"cheap":                    {of(cost, [2]float64{100, 65}, idle, idle, idle), true, "| 0.65 | ≤ 0.65 |"},
		"dear":                     {of(cost, [2]float64{100, 66}, idle, idle, idle), false, "**missed: 0.66**"},
		"enough and prompt":        {prompt, true, "ok; p99 20.0 ms with the peer, 10.0 ms"},
		"enough but late":          {late, false, "**missed: 3.10**; p99 20.0 ms"},
		"three times and more":     {of(ping, [2]float64{10, 31}, full, [2]float64{10, 31}, full), true, "| 3.10 | ≥ 3.0 |"},
		"missed":                   {of(ping, [2]float64{10, 29}, full, [2]float64{10, 29}, full), false, "**missed: 2.90**"},
		"the load is the limit":    {of(ping, [2]float64{10, 25}, [2]float64{1, 0.5}, [2]float64{10, 50}, full), true, "ok, per CPU-second"},
		"so, and missed":           {of(ping, [2]float64{10, 14}, [2]float64{1, 0.5}, [2]float64{10, 28}, full), false, "**missed: 2.80**"},
		"CPU does not help a busy": {of(ping, [2]float64{10, 25}, full, [2]float64{10, 50}, full), false, "**missed: 2.50**"},
		"nobody was busy":          {of(ping, [2]float64{10, 40}, [2]float64{0.5, 0.5}, [2]float64{20, 80}, [2]float64{0.5, 0.5}), false, "not measured"},
		"a peer that did nothing":  {of(ping, [2]float64{0, 40}, full, [2]float64{0, 40}, full), false, "**missed: 0.00**"},
		"flat in size":             {flat, true, "CPU of a connect 1.00 ms with the peer, 0.27 ms with the gateway; a client costs the gateway 1.08 of what it does with 5000, wanted ≤ 1.1"},
		"dearer in size":           {steep, false, "a client costs the gateway 1.11 of"},
		"in proportion":            {proportional, true, "| 0.47 | ≤ 0.50 |"},
		"slower in size":           {slower, false, "a client costs the gateway 1.11 of what it does with 1000"},
		"faults":                   {faulty, false, "**faults**"},
		"small":                    {of(memory, [2]float64{18, 12}, full, full, full), true, "| 0.67 | ≤ 0.7 |"},
		"large":                    {of(memory, [2]float64{18, 13}, full, full, full), false, "**missed: 0.72**"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.ok, c.row.meetsTarget())
			var b bytes.Buffer
			require.NoError(t, writeTable(&b, []*row{c.row}, plan{rounds: 3, adapter: "memory"}))
			require.Contains(t, b.String(), c.says)
			lines := strings.Split(b.String(), "\n")
			require.Equal(t, strings.Count(lines[2], "|"), strings.Count(lines[4], "|"), "each line has all columns")
		})
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	require.Zero(t, medianOf(nil))
	require.InDelta(t, 2, medianOf([]float64{9, 1, 2}), 0)
	require.InDelta(t, 1.5, medianOf([]float64{2, 1}), 0)
}

func TestProcessesAreMeasured(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc: the benchmark is for Linux")
	}
	before, err := processCPUSeconds(os.Getpid())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
		}
		after, err := processCPUSeconds(os.Getpid())
		return err == nil && after >= before+0.1
	}, 20*time.Second, time.Millisecond, "work is seen")
	kb, err := residentMemoryKB(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, kb, int64(1000))
	_, err = processCPUSeconds(1 << 30)
	require.Error(t, err)
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"-gateway /no/such": "make build",
		"-child {":          "load:",
		"-no-such":          "not defined",
		"-child {}":         "no scenario",
		"-holder {":         "holder:",
		"-holder {}":        "no callers",
		"-only ping,pong":   "no such case: pong",
	} {
		var out, log bytes.Buffer
		require.ErrorContains(t, run(context.Background(), strings.Fields(args), &out, &log), says, args)
	}
}

// In a flood nearly everything must be refused, and only for its rate. In all other cases nothing
// may be refused.
func TestRefusalsAreAsWanted(t *testing.T) {
	t.Parallel()
	flood, calm := benchCase{isFlood: true}, benchCase{}
	of := func(answered, refused, limited int64) loadtest.Result {
		return loadtest.Result{Clients: 10, Answered: answered, Refused: refused, EventsPerSecond: 100, Errors: map[string]int64{"RATE_LIMITED": limited}}
	}
	require.True(t, flood.refusedAsWanted(gatewayServer, of(1000, 990, 990)))
	require.True(t, flood.refusedAsWanted(gatewayServer, of(1000, 980, 980)), "a local window helped out")
	require.False(t, flood.refusedAsWanted(gatewayServer, of(1000, 979, 979)), "too many were admitted")
	require.False(t, flood.refusedAsWanted(gatewayServer, of(1000, 991, 991)), "too few")
	require.False(t, flood.refusedAsWanted(gatewayServer, of(1000, 990, 900)), "for another reason")
	require.False(t, calm.refusedAsWanted(gatewayServer, of(1000, 1, 1)))
	require.True(t, calm.refusedAsWanted(gatewayServer, of(1000, 0, 0)))
	busy := benchCase{sharesLock: true}
	waited := of(1000, 10, 0)
	waited.Errors["LOCKED"] = 10
	require.True(t, busy.refusedAsWanted(peerServer, waited))
	require.False(t, busy.refusedAsWanted(gatewayServer, waited), "ours keeps nobody waiting so long")
	require.False(t, calm.refusedAsWanted(peerServer, waited))
	waited.Refused = 11
	require.False(t, busy.refusedAsWanted(peerServer, waited), "for another reason")
	waited.Errors["LOCKED"] = 11
	require.False(t, busy.refusedAsWanted(peerServer, waited), "too many")
	require.InDelta(t, 99, refusalRate(of(1000, 990, 990)), 0.001)
}

// Both servers get the same limits.
func TestAllowance(t *testing.T) {
	t.Parallel()
	require.Equal(t, "1/1h0m0s", lowLimit.String())
	require.Equal(t, []string{"CHAT_LIMIT=1", "CHAT_WINDOW_MS=3600000"}, lowLimit.peerEnvironment("CHAT"))
}

// A refused trade does not count as a trade.
func TestSettledCountsWhatMoved(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 75, settledRate(loadtest.Result{EventsPerSecond: 100, Answered: 400, Refused: 100}), 0.001)
	require.Zero(t, settledRate(loadtest.Result{}))
}
