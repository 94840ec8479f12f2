// Command bench measures the gateway against the Node peer with the same load and limits. The
// server runs alone on one core, Redis and the load generator on another. Each round runs both
// servers in turn. It prints a table of medians and ratios in Markdown. It exits 1 when a ratio is
// missed, or when an event was lost, doubled, out of order or refused.
//
//	make bench                                   everything, about three quarters of an hour
//	go run ./internal/bench -quick               once and short, to check that it runs
//	go run ./internal/bench -only ping,connects  some of the cases
//
// The load generator shares its core with Redis and can be slower than the gateway. The table
// therefore also shows how busy the server's core was, and what a second of its CPU achieved. Where
// the gateway's core was less than 85 % busy and the wanted ratio was missed, the rate says little
// about the gateway: there the ratio of work per CPU-second is judged, and marked. Where neither
// core was busy, another program used the machine, and the run does not count as measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// plan holds the values of the flags.
type plan struct {
	rounds      int
	measured    time.Duration
	warmup      time.Duration
	only        []string
	gateway     string // path of the binary
	peer        string // folder of server.js
	adapter     string // the peer's adapter: memory or redis
	serverCore  string
	loadCore    string
	connections int // the number of idle connections of the memory case
}

// errMissed means that a row of the table failed.
var errMissed = errors.New("a case missed its target; see the table")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var p plan
	flags.IntVar(&p.rounds, "rounds", 3, "how many times each server runs each case")
	flags.DurationVar(&p.measured, "for", 6*time.Second, "measured time of a run")
	flags.DurationVar(&p.warmup, "warmup", 3*time.Second, "unmeasured time before the measured time")
	flags.StringVar(&p.gateway, "gateway", "bin/gateway", "the gateway's binary")
	flags.StringVar(&p.peer, "peer", "internal/bench/peer-node", "the peer's folder, with node_modules")
	flags.StringVar(&p.adapter, "adapter", "redis", "the peer's adapter: redis, which publishes as the gateway does, or memory")
	flags.StringVar(&p.serverCore, "server-core", "0", "the core of the server")
	flags.StringVar(&p.loadCore, "load-core", "1", "the core of Redis and the load generator")
	flags.IntVar(&p.connections, "idle", 5000, "number of idle connections in the memory case")
	only := flags.String("only", "", "cases, separated by commas: "+strings.Join(caseNames(), ","))
	quick := flags.Bool("quick", false, "one short round")
	child := flags.String("child", "", "internal: generate the load described by this JSON")
	limiter := flags.String("limiter", "", "internal: run the limiter described by this JSON")
	holder := flags.String("holder", "", "internal: run the locks described by this JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *limiter != "" {
		return playLimiterChild(ctx, *limiter, stdout, stderr)
	}
	if *holder != "" {
		return playHolderChild(ctx, *holder, stdout, stderr)
	}
	if *child != "" {
		return playLoadChild(ctx, *child, os.Stdin, stdout)
	}
	if *quick {
		p.rounds, p.measured, p.warmup, p.connections = 1, 2*time.Second, time.Second, min(p.connections, 2000)
	}
	if *only != "" {
		p.only = strings.Split(*only, ",")
	}
	if err := p.checkCaseNames(); err != nil {
		return err
	}
	l, err := prepareLab(p)
	if err != nil {
		return err
	}
	defer l.removeFolder()
	rows, err := l.runCases(ctx, stderr)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		if err := writeTable(stdout, rows, p); err != nil {
			return err
		}
	}
	var missed error
	for _, r := range rows {
		if !r.meetsTarget() {
			missed = errMissed
		}
	}
	if p.includesCase(locksCase) {
		missed = errors.Join(missed, l.requireLocks(ctx, stdout))
	}
	if p.includesCase(limitsCase) {
		missed = errors.Join(missed, l.requireLimits(ctx, stdout))
	}
	if p.includesCase(priceCase) {
		missed = errors.Join(missed, l.requirePrice(ctx, stdout, stderr))
	}
	return missed
}

// includesCase reports whether a case was asked for. Without -only all are.
func (p *plan) includesCase(name string) bool {
	return len(p.only) == 0 || slices.Contains(p.only, name)
}

// checkCaseNames returns an error for a name in -only that is no case.
func (p *plan) checkCaseNames() error {
	for _, name := range p.only {
		if !slices.Contains(caseNames(), name) {
			return fmt.Errorf("no such case: %s; there are %s", name, strings.Join(caseNames(), ","))
		}
	}
	return nil
}

// prepareLab checks that all programs are installed, and makes a folder for the servers.
func prepareLab(p plan) (*lab, error) {
	if runtime.GOOS != "linux" || runtime.NumCPU() < 2 {
		return nil, errors.New("the benchmark needs Linux with two cores: one for the server, one for the load")
	}
	l := &lab{plan: p}
	for name, at := range map[string]*string{"taskset": &l.taskset, "env": &l.env, "node": &l.node, "redis-server": &l.redis} {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("%s is not installed: %w", name, err)
		}
		*at = path
	}
	var err error
	if l.self, err = os.Executable(); err != nil {
		return nil, fmt.Errorf("own binary: %w", err)
	}
	for _, path := range []*string{&l.plan.gateway, &l.plan.peer} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, fmt.Errorf("%s: %w", *path, err)
		}
	}
	if _, err := os.Stat(l.plan.gateway); err != nil {
		return nil, fmt.Errorf("no gateway binary; run make build: %w", err)
	}
	if _, err := os.Stat(filepath.Join(l.plan.peer, "node_modules")); err != nil {
		return nil, fmt.Errorf("the peer's packages are missing; run npm ci in %s: %w", l.plan.peer, err)
	}
	if l.folder, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	return l, nil
}
