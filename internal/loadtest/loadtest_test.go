package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// settings returns a small run in which several events are open at once.
func settings(p peer) Config {
	return Config{
		Target: p.url, Redis: p.redis, Clients: 20, RoomSize: 5, Inflight: 8,
		For: time.Second, Timeout: 20 * time.Second, // a busy machine is slow
	}
}

func TestAllIsWellAgainstThePeer(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	for _, name := range Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for loop, rate := range map[string]float64{"closed": 0, "open": 200} {
				cfg := settings(p)
				cfg.Rate, cfg.Ramp = rate, 200*time.Millisecond
				if name == "trade" || name == "mixed" {
					cfg.Inflight = 1 // the peer may answer trades and different events out of order
				}
				res, err := Run(context.Background(), name, cfg, nil)
				require.NoError(t, err, loop)
				require.Zero(t, res.Faults(), "%s loop: %+v", loop, res)
				require.Zero(t, res.Refused, "%+v", res)
				require.NotZero(t, res.Answered)
				if name != "connect" && name != "storm" {
					require.Equal(t, res.Sent, res.Answered)
				}
				switch name {
				case "fanout":
					require.Equal(t, res.Sent*20, res.Delivered, "every member hears every message")
				case "chat", "recovery":
					require.Equal(t, res.Sent*5, res.Delivered)
				case "storm":
					require.NotEmpty(t, res.StormMs)
				}
				if rate > 0 && name != "storm" && name != "connect" {
					require.InDelta(t, rate*1.1, res.Sent+res.Behind, 1, "1 s, and a ramp of 0.2 s")
				}
				require.Positive(t, res.Latency.P50)
				require.LessOrEqual(t, res.Latency.P50, res.Latency.Max)
			}
		})
	}
}

// In one-sided trades half of the clients send nothing, and own at the end what they received.
func TestOneSidedTrades(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	cfg := settings(p)
	cfg.Inflight, cfg.OneSided, cfg.Fresh = 1, true, true
	res, err := Run(context.Background(), "trade", cfg, nil)
	require.NoError(t, err)
	require.Zero(t, res.Faults(), "%+v", res)
	require.Zero(t, res.Refused, "nobody waits for a lock: %+v", res)
	require.Positive(t, res.Sent)
	require.Equal(t, res.Sent, res.Answered)
}

func TestMischiefIsFound(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	talks := map[string]string{"ping": "43", "fanout": `42["chat:message"`}
	for scenario, kind := range talks {
		for what, of := range map[string]func(Result) int64{
			"pass":   func(r Result) int64 { return int64(r.Faults()) },
			"drop":   func(r Result) int64 { return r.Lost },
			"double": func(r Result) int64 { return r.Doubled },
			"swap":   func(r Result) int64 { return r.Reordered },
			"alter":  func(r Result) int64 { return r.Wrong },
		} {
			t.Run(scenario+" "+what, func(t *testing.T) {
				t.Parallel()
				x := startProxy(t, p.url, kind, what, 10)
				cfg := settings(p)
				cfg.Target, cfg.Clients, cfg.Rate, cfg.Timeout = x.url, 4, 400, 5*time.Second // the wait for dropped frames
				res, err := Run(context.Background(), scenario, cfg, nil)
				require.NoError(t, err)
				require.Equal(t, x.done.Load(), of(res), "each mischief is counted once: %+v", res)
				if what != "pass" {
					require.Positive(t, x.done.Load())
					require.NotZero(t, res.Faults())
				}
				switch what {
				case "double", "swap":
					require.EqualValues(t, res.Faults(), x.done.Load(), "and nothing else: %+v", res)
				}
			})
		}
	}
}

// A loss at the very end leaves no gap that a later arrival could reveal.
func TestLossAtTheEndIsFound(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	for scenario, kind := range map[string]string{"ping": "43", "fanout": `42["chat:message"`} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			x := startProxy(t, p.url, kind, "fall silent", 5)
			cfg := settings(p)
			cfg.Target, cfg.Clients, cfg.Timeout = x.url, 4, 2*time.Second
			res, err := Run(context.Background(), scenario, cfg, nil)
			require.NoError(t, err)
			require.Positive(t, res.Lost)
			require.Equal(t, x.done.Load(), res.Lost, "%+v", res)
		})
	}
}

func TestRefusalsAreNoFaults(t *testing.T) {
	t.Parallel()
	p := startPeer(t, "CHAT_LIMIT=3", "CHAT_WINDOW_MS=60000")
	cfg := settings(p)
	res, err := Run(context.Background(), "chat", cfg, nil)
	require.NoError(t, err)
	require.Zero(t, res.Faults(), "%+v", res)
	require.Positive(t, res.Refused)
	require.Equal(t, res.Refused, res.Errors["RATE_LIMITED"])
	require.EqualValues(t, 20*3, res.Sent-res.Refused)
	require.EqualValues(t, 20*3*5, res.Delivered, "what was refused is told to nobody")
}

func TestServerThatDiesIsAFault(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	x := startProxy(t, p.url, "-", "pass", 1)
	cfg := settings(p)
	cfg.Target, cfg.For = x.url, 2*time.Second
	cfg.Watch = func(measuring bool) {
		if measuring {
			x.cut()
		}
	}
	res, err := Run(context.Background(), "ping", cfg, nil)
	require.NoError(t, err)
	require.EqualValues(t, 20, res.Disconnected, "%+v", res)
	require.EqualValues(t, 20, res.Errors["disconnected"])
}

func TestRunEndsByItself(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	require.NoError(t, err)
	t.Cleanup(func() { deaf.Close() })
	p := startPeer(t)
	cfg := settings(p)
	cfg.Target, cfg.Timeout = "http://"+deaf.Addr().String(), 200*time.Millisecond
	_, err = Run(context.Background(), "ping", cfg, nil)
	require.ErrorContains(t, err, "connect")

	res, err := Run(context.Background(), "connect", cfg, nil)
	require.NoError(t, err)
	require.Positive(t, res.Errors["timeout"])
	require.NotZero(t, res.Faults())

	cfg = settings(p)
	cfg.For = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg.Watch = func(measuring bool) {
		if measuring {
			time.AfterFunc(500*time.Millisecond, cancel)
		}
	}
	res, err = Run(ctx, "chat", cfg, nil)
	require.NoError(t, err, "who stops a run early gets the result so far")
	require.Zero(t, res.Faults(), "%+v", res)
	require.Positive(t, res.Answered)
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scenario string
		cfg      Config
		says     string
	}{
		"no such scenario":  {"dance", Config{Target: "http://127.0.0.1:1"}, `no scenario "dance"`},
		"no target":         {"ping", Config{}, "http://host:port is wanted"},
		"no port":           {"ping", Config{Target: "127.0.0.1"}, "http://host:port is wanted"},
		"a negative rate":   {"ping", Config{Target: "http://127.0.0.1:1", Rate: -1}, "rate is -1"},
		"too many clients":  {"ping", Config{Target: "http://127.0.0.1:1", Clients: 1e6}, "clients is 1000000"},
		"longer than a day": {"ping", Config{Target: "http://127.0.0.1:1", For: 25 * time.Hour}, "for is 25h"},
		"a long text":       {"chat", Config{Target: "http://127.0.0.1:1", TextBytes: 501}, "text bytes is 501"},
		"no Redis URL":      {"ping", Config{Target: "http://127.0.0.1:1", Redis: "http://x"}, "redis"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Run(context.Background(), c.scenario, c.cfg, nil)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestResultForPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	var bar bytes.Buffer
	res, err := Run(context.Background(), "chat", settings(p), &bar)
	require.NoError(t, err)
	require.Contains(t, bar.String(), "deliveries/s")

	var table bytes.Buffer
	require.NoError(t, res.Table(&table))
	require.Contains(t, table.String(), "lost 0, doubled 0, reordered 0, wrong 0")

	line, err := json.Marshal(res)
	require.NoError(t, err)
	var back map[string]any
	require.NoError(t, json.Unmarshal(line, &back))
	for _, name := range []string{"scenario", "target", "clients", "sent", "answered", "delivered", "lost", "doubled", "reordered", "wrong", "refused", "errors", "seconds", "eventsPerSecond", "deliveriesPerSecond", "latency", "connectMs"} {
		require.Contains(t, back, name)
	}
	require.Contains(t, back["latency"], "p999Ms")
}

func TestRampAndRate(t *testing.T) {
	t.Parallel()
	r := &run{cfg: Config{Rate: 100, Ramp: 2 * time.Second}}
	for j, due := range map[float64]time.Duration{
		0: 0, 1: 200 * time.Millisecond, 25: time.Second, 100: 2 * time.Second, 101: 2010 * time.Millisecond, 1100: 12 * time.Second,
	} {
		require.InDelta(t, due, r.dueOffset(j), 1000, "event %g", j)
	}
	r.cfg.Ramp = 0
	require.InDelta(t, 70*time.Millisecond, r.dueOffset(7), 1000)
}

func TestReportStandsAlone(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	res, err := Run(context.Background(), "chat", settings(p), nil)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "out.html")
	require.NoError(t, res.Report(path))
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 3, bytes.Count(page, []byte("<svg")))
	for _, has := range []string{"Throughput", "Latency", "Distribution", "p99", "deliveries", "no faults", "99.9 %"} {
		require.Contains(t, string(page), has)
	}
	for _, not := range []string{"<script", "src=", "href=\"http", "@import", "<?xml"} {
		require.NotContains(t, string(page), not, "nothing is loaded from elsewhere")
	}
	require.ErrorContains(t, res.Report(filepath.Join(t.TempDir(), "no", "such", "folder")), "report")

	require.NoError(t, Result{Scenario: "empty"}.Report(path), "a run that saw nothing has a report too")
}

func TestHold(t *testing.T) {
	t.Parallel()
	p := startPeer(t)
	x := startProxy(t, p.url, "-", "pass", 1)
	cfg := settings(p)
	cfg.Target = x.url
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	require.NoError(t, Hold(ctx, cfg, cancel))

	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	require.ErrorContains(t, Hold(ctx, cfg, func() {
		x.cut()
		time.AfterFunc(2*time.Second, cancel)
	}), "ended 20 of 20")
}
