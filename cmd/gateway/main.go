// Command gateway is the realtime gateway: `gateway serve` serves players, the other
// commands are for operators. `gateway --help` lists them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/logbuffer"
	"github.com/aeturnis/realtime/internal/ops"
	"github.com/aeturnis/realtime/internal/sdnotify"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/server"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // until the process ends
		<-signals
		stop()
		again := <-signals // which does not wait for the drain, however soon it comes
		signal.Reset(again)
		_ = syscall.Kill(os.Getpid(), again.(syscall.Signal))
	}()
	err := cli.CheckEnvironment(&commands{}, os.Environ())
	if err == nil || asksForHelp(os.Args[1:]) {
		err = runProgram(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	}
	if err != nil && !errors.As(err, new(cli.StatusError)) { // it has told why already
		end := logbuffer.New(os.Stderr, logbuffer.Config{}) // a reader that stands still does not keep the process
		fmt.Fprintln(end, "gateway:", err)
		end.Close()
	}
	os.Exit(cli.ExitCode(err))
}

// asksForHelp reports whether a command line needs no settings.
func asksForHelp(args []string) bool {
	return len(args) > 0 && (args[0] == "help" || args[0] == "version") || slices.Contains(args, "--help") || slices.Contains(args, "--version")
}

const description = "A Socket.IO-compatible realtime gateway.\n\nEvery flag is also an environment variable, GATEWAY_ and its name (GATEWAY_DRAIN_FOR), and a key of the YAML file that --config names (drain-for). A flag beats the environment, which beats the file."

// commands is the command line.
type commands struct {
	Serve       serveCommand    `cmd:"" help:"Serve players."`
	User        ops.User        `cmd:"" help:"Show everything about a user; ban users, and lift bans."`
	Session     ops.Session     `cmd:"" help:"Create, show, list, revoke and count sessions."`
	APIKey      ops.APIKey      `cmd:"" name:"api-key" help:"Make keys of the server API."`
	Connections ops.Connections `cmd:"" help:"List the connections to all nodes."`
	Node        ops.Node        `cmd:"" help:"List and drain nodes."`
	Limits      ops.Limits      `cmd:"" help:"Show limits, who spends them and who set them; change them at run time; forgive and block who is limited."`
	Trade       ops.Trade       `cmd:"" help:"Mint items, show and list trades, tell where items went, audit the ledger."`
	Inventory   ops.Inventory   `cmd:"" help:"Show what a character owns, or owned at a time."`
	Lock        ops.Lock        `cmd:"" help:"List, show and clean up locks."`
	Jobs        ops.Jobs        `cmd:"" help:"List periodic jobs, run one now."`
	Webhooks    ops.Webhooks    `cmd:"" help:"List and replay what the receiver of webhooks did not take."`
	Config      ops.Config      `cmd:"" help:"Show and compare the settings of the nodes; check a settings file."`
	AuditLog    ops.AuditLog    `cmd:"" help:"Tell what operators did, and when nodes started."`
	Health      ops.Health      `cmd:"" help:"Ask the gateway on this machine whether it lives; exits 1 if not."`
	Doctor      ops.Doctor      `cmd:"" help:"Look for what would not work: settings, rights, Redis, clocks, open files, other servers on this Redis. It takes the flags of serve."`
	Loadtest    ops.Loadtest    `cmd:"" help:"Generate load and check the truth of every answer; exits 1 on any fault."`
	Contract    ops.Contract    `cmd:"" help:"Print the events as AsyncAPI, TypeScript or Markdown."`
	Completion  ops.Completion  `cmd:"" help:"Print what makes a shell complete commands and flags."`
	Man         ops.Man         `cmd:"" help:"Print the manual page."`
	Version     ops.Version     `cmd:"" help:"Print the version."`
	Help        ops.Help        `cmd:"" help:"Print the help of a command."`

	PrintVersion kong.VersionFlag `name:"version" help:"Print the version, the commit and its date."`
}

// runProgram runs the command of args. All that it needs is passed in, and it ends when ctx does.
func runProgram(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var c commands
	done := false
	if len(args) > 0 && args[0] == "help" && !slices.Contains(args, "--help") {
		args = append(slices.Clone(args[1:]), "--help")
	}
	k, err := c.parseCommandLine(args, getenv,
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { done = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(cli.Streams{Out: stdout, Err: stderr, Getenv: getenv, Args: args}),
	)
	if done { // --help or --version was asked for and given
		return nil
	}
	if err != nil {
		return err
	}
	return k.Run()
}

// parseCommandLine reads the command line, and what it does not say from the environment and the
// file.
func (c *commands) parseCommandLine(args []string, getenv func(string) string, options ...kong.Option) (*kong.Context, error) {
	k, tables, err := cli.Parse(c, args, getenv, append(options,
		kong.Name("gateway"),
		kong.Description(description),
		kong.Vars{"version": version.Details()},
	)...)
	c.Serve.SetTables(tables)
	c.Doctor.SetTables(tables)
	return k, err
}

// serveCommand is the command that serves players.
type serveCommand struct {
	cli.ServeFlags `embed:""`
}

// Run serves until ctx ends, then drains.
func (c *serveCommand) Run(ctx context.Context, s cli.Streams) error {
	cfg, err := c.Configure()
	if err != nil {
		return err
	}
	cfg.Out, cfg.LogTo, cfg.ServiceManager = s.Out, s.Err, sdnotify.FromEnvironment(s.Getenv)
	if cfg.Listeners, err = sdnotify.TakeListeners(s.Getenv); err != nil {
		return usage.Errorf("socket activation: %w", err)
	}
	cfg.Reload = func() (server.Config, error) { // of the same command line
		var again commands
		if _, err := again.parseCommandLine(s.Args, s.Getenv); err != nil {
			return server.Config{}, err
		}
		return again.Serve.Configure()
	}
	err = server.Run(ctx, cfg)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // it was told to end while it started
	}
	return err
}
