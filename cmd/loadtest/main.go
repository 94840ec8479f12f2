// Command loadtest generates load against a gateway, or against another Socket.IO server with the
// same events, and checks every answer and delivery.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/loadtest"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/trade"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := runProgram(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
	}
	os.Exit(cli.ExitCode(err))
}

// command is the command line.
type command struct {
	cli.LoadtestFlags `embed:""`
	Version           kong.VersionFlag `help:"Print the version, the commit and its date."`
}

// runProgram is the whole program. Everything it needs is an argument, and it ends when ctx ends.
func runProgram(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var c command
	done := false
	k, _, err := cli.Parse(&c, args, getenv,
		kong.Name("loadtest"),
		kong.Description("Generates load and checks the truth of every answer; exits 1 on any fault."),
		kong.Vars{"version": version.Details()},
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { done = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(cli.Streams{Out: stdout, Err: stderr, Getenv: getenv, Args: args}),
	)
	if done { // the parser has printed --help or --version
		return nil
	}
	if err != nil {
		return err
	}
	return k.Run()
}

var errFaults = errors.New("the load test saw faults")

// Run runs the load test and prints its result. It returns errFaults when an answer or delivery was
// lost, doubled, reordered or wrong, or when the server ended a connection.
func (c *command) Run(ctx context.Context, s cli.Streams) error {
	if c.RedisPassword != "" {
		return usage.Errorf("--redis-password-file is not for the load test: write the whole URL into a file for --redis-url-file")
	}
	if err := c.ReadURLFile(); err != nil {
		return err
	}
	cfg := loadtest.Config{
		Target: c.Target[0], Nodes: c.Target[1:], Redis: c.Redis, Clients: c.Clients, Rate: c.Rate, For: c.For, Ramp: c.Ramp, Warmup: c.Warmup,
		Inflight: c.Inflight, RoomSize: c.RoomSize, Speakers: c.Speakers, TextBytes: c.TextBytes,
		Reconnect: c.Reconnect, ReturnTo: c.ReturnTo,
	}
	if c.Redis != "" && (c.Scenario == "trade" || c.Scenario == "mixed") {
		rdb, err := c.OpenRedis(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = rdb.Close() }()
		ledger := trade.New(rdb, nil, nil, nil, trade.Config{})
		cfg.Mint = func(ctx context.Context, character, item string, qty int64) error {
			_, err := ledger.Mint(ctx, trade.MintRequest{CharacterID: character, Items: []trade.Line{{ItemID: item, Qty: qty}}})
			return err
		}
	}
	r, err := loadtest.Run(ctx, c.Scenario, cfg, terminalOf(s.Err))
	if errors.Is(err, loadtest.ErrConfig) {
		return usage.Wrap(err)
	}
	if err != nil {
		return fmt.Errorf("%s against %s: %w", c.Scenario, strings.Join(c.Target, ", "), err)
	}
	if c.Report != "" {
		if err := r.Report(c.Report); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	if c.JSON {
		err = json.MarshalWrite(s.Out, r)
		fmt.Fprintln(s.Out)
	} else {
		err = r.Table(s.Out)
	}
	if err == nil && r.Faults() > 0 {
		err = errFaults
	}
	return err
}

// terminalOf returns w if it is a terminal, and otherwise nil.
func terminalOf(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return w
		}
	}
	return nil
}
