package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/loadtest"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/trade"
)

// A loadSpec describes the load that a child process generates. Each run has a fresh load generator
// on its core.
type loadSpec struct {
	Scenario            string // a scenario of package loadtest, or "hold"
	Target, Redis       string
	Clients, Inflight   int
	Apart               bool // each event has a packet of its own
	RoomSize            int
	Rate                float64 // events a second of all clients; 0 means as many as are answered
	OneSided            bool    // in trade: only one client of each pair gives
	Minted              bool    // in trade: items are minted in the gateway's ledger, not only written to the inventories
	Warmup, For         time.Duration
	ServerPid, RedisPid int
	Second              string // the URL of the second server, if there is one
	SecondPid           int
}

// A measurement is the result of one run.
type measurement struct {
	Result loadtest.Result
	// These are the CPU seconds used during the measured time.
	ServerCPU, RedisCPU, LoadCPU float64
	// RedisBytes is the number of bytes that Redis received and sent during the measured time.
	RedisBytes float64
}

// browserHeader holds the headers that Chromium 140 sends in addition to those that a websocket
// needs.
var browserHeader = http.Header{
	"Pragma": {"no-cache"}, "Cache-Control": {"no-cache"}, "Origin": {"http://127.0.0.1:8080"},
	"User-Agent":      {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"},
	"Accept-Encoding": {"gzip, deflate, br, zstd"}, "Accept-Language": {"en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7"},
	"Sec-Websocket-Extensions": {"permessage-deflate; client_max_window_bits"},
	"Cookie":                   {"_ga=GA1.1.1234567890.1700000000; theme=dark; consent=1700000000000.yes"},
}

// playLoadChild is all that the child process does. It writes a measurement as JSON to stdout. For
// the scenario "hold" it writes that line when all clients are connected, of the time until then,
// and waits for the end of stdin.
func playLoadChild(ctx context.Context, described string, stdin io.Reader, stdout io.Writer) error {
	var in loadSpec
	if err := json.Unmarshal([]byte(described), &in); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	cfg := loadtest.Config{
		Target: in.Target, Redis: in.Redis, Clients: in.Clients, Inflight: in.Inflight, Apart: in.Apart, RoomSize: in.RoomSize, Rate: in.Rate,
		Warmup: in.Warmup, For: in.For, Timeout: 20 * time.Second, OneSided: in.OneSided, Fresh: true,
	}
	if in.Minted {
		rdb, err := redisconn.Open(ctx, in.Redis, redisconn.Config{Name: "bench"})
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		defer rdb.Close()
		cfg.Mint = newLedgerMinter(rdb)
	}
	if in.Second != "" {
		cfg.Nodes = []string{in.Second}
	}
	var out measurement
	var failed error
	started := time.Now()
	cfg.Watch = func(measuring bool) {
		sums := map[int]*float64{in.ServerPid: &out.ServerCPU, in.RedisPid: &out.RedisCPU, os.Getpid(): &out.LoadCPU}
		if in.SecondPid != 0 {
			sums[in.SecondPid] = &out.ServerCPU
		}
		sign := 1.
		if measuring {
			sign = -1
		}
		for pid, sum := range sums {
			used, err := processCPUSeconds(pid)
			failed = errors.Join(failed, err)
			*sum += sign * used
		}
		moved, err := redisBytes(ctx, in.Redis)
		failed = errors.Join(failed, err)
		out.RedisBytes += sign * moved
		out.Result.Seconds += sign * time.Since(started).Seconds() // Run replaces it
	}
	if in.Scenario == "hold" {
		return errors.Join(holdUntilStdinEnds(ctx, cfg, stdin, func() {
			out.Result.EventsPerSecond = float64(in.Clients) / out.Result.Seconds
			_ = json.NewEncoder(stdout).Encode(out) // whoever does not read it fails
		}), failed)
	}
	var err error
	if out.Result, err = loadtest.Run(ctx, in.Scenario, cfg, nil); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("cpu: %w", failed)
	}
	return json.NewEncoder(stdout).Encode(out)
}

// holdUntilStdinEnds keeps all clients connected until the end of stdin.
func holdUntilStdinEnds(ctx context.Context, cfg loadtest.Config, stdin io.Reader, connected func()) error {
	cfg.Header = browserHeader
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return loadtest.Hold(ctx, cfg, func() {
		connected()
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	})
}

// newLedgerMinter returns a function that mints items as the gateway does, with an entry in its
// ledger.
func newLedgerMinter(rdb redis.UniversalClient) func(ctx context.Context, character, item string, qty int64) error {
	books := trade.New(rdb, nil, nil, nil, trade.Config{})
	return func(ctx context.Context, character, item string, qty int64) error {
		_, err := books.Mint(ctx, trade.MintRequest{CharacterID: character, Items: []trade.Line{{ItemID: item, Qty: qty}}})
		return err
	}
}

// loadCommand returns the command of a child process that generates the load on the load
// generator's core.
func (l *lab) loadCommand(ctx context.Context, in loadSpec) (*exec.Cmd, error) {
	described, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	cmd := exec.CommandContext(ctx, l.taskset, "-c", l.plan.loadCore, l.env, "GOMAXPROCS=1", "GOGC=400", l.self, "-child", string(described))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// runLoadChild runs a load in a child process against a testbed.
func (l *lab) runLoadChild(ctx context.Context, s *testbed, in loadSpec) (measurement, error) {
	cmd, err := l.loadCommand(ctx, in.against(s))
	if err != nil {
		return measurement{}, err
	}
	b, err := cmd.Output()
	if err != nil {
		return measurement{}, fmt.Errorf("load generator: %w", err)
	}
	var out measurement
	if err := json.Unmarshal(b, &out); err != nil {
		return measurement{}, fmt.Errorf("load generator: %w", err)
	}
	return out, nil
}

// against returns the load with the addresses and processes of a testbed.
func (in loadSpec) against(s *testbed) loadSpec {
	in.Target, in.Redis, in.ServerPid, in.RedisPid = s.url, s.redisURL, s.server.Pid(), s.redis.Pid()
	if s.second != nil {
		in.Second, in.SecondPid = s.secondURL, s.second.Pid()
	}
	return in
}

// warmConnects lets a few clients connect for a second. They fill caches and pools that belong to
// no single connection.
func (l *lab) warmConnects(ctx context.Context, s *testbed) error {
	_, err := l.runLoadChild(ctx, s, loadSpec{Scenario: "connect", Clients: 16, For: time.Second})
	return err
}

// holdConnections connects many clients and keeps them until whileHeld returns. It returns what was
// measured while they connected.
func (l *lab) holdConnections(ctx context.Context, s *testbed, connections int, whileHeld func() error) (out measurement, err error) {
	cmd, err := l.loadCommand(ctx, loadSpec{Scenario: "hold", Clients: connections}.against(s))
	if err != nil {
		return out, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return out, fmt.Errorf("hold: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return out, fmt.Errorf("hold: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return out, fmt.Errorf("hold: %w", err)
	}
	if err = json.NewDecoder(stdout).Decode(&out); err == nil {
		err = whileHeld()
	}
	_ = stdin.Close() // the child ends when stdin does; if the close fails, the context ends the child
	if failed := cmd.Wait(); failed != nil {
		return out, fmt.Errorf("hold: %w", failed)
	}
	if err != nil {
		return out, fmt.Errorf("hold: %w", err)
	}
	return out, nil
}

// idleConnectionKB returns how many KB of the server's memory one of many idle connections costs,
// after garbage collection.
func (l *lab) idleConnectionKB(ctx context.Context, s *testbed, connections int) (float64, error) {
	if err := l.warmConnects(ctx, s); err != nil {
		return 0, err
	}
	before, err := l.settledMemoryKB(ctx, s)
	if err != nil {
		return 0, err
	}
	var after int64
	_, err = l.holdConnections(ctx, s, connections, func() (err error) {
		after, err = l.settledMemoryKB(ctx, s)
		return err
	})
	return float64(after-before) / float64(connections), err
}

// settledMemoryKB makes the server collect its garbage until its memory does not shrink any more,
// and returns the memory in KB.
func (l *lab) settledMemoryKB(ctx context.Context, s *testbed) (int64, error) {
	least, quiet := int64(1)<<62, 0
	for range 20 {
		if err := s.collectGarbage(ctx); err != nil {
			return 0, err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		kb, err := residentMemoryKB(s.server.Pid())
		if err != nil {
			return 0, err
		}
		if kb >= least-least/500 {
			quiet++
		} else {
			quiet = 0
		}
		if least = min(least, kb); quiet == 4 {
			break
		}
	}
	return least, nil
}
