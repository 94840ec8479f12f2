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
	"regexp"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/aeturnis/realtime/redisconn"
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
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
	}
	os.Exit(exitCode(err))
}

// Exit statuses, as the contract has them.
const (
	exitNo          = 1 // the answer is no: not found, audit broken, load test saw a fault
	exitUsage       = 2 // wrong usage or configuration
	exitUnreachable = 3 // Redis cannot be reached
)

// A usageError is what the caller must change.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, redisconn.ErrUnreachable), redisconn.IsUnavailable(err):
		return exitUnreachable
	}
	return exitNo
}

// commands is the command line.
type commands struct {
	Serve    serveCmd    `cmd:"" help:"Serve players."`
	Session  sessionCmd  `cmd:"" help:"Create, show, list, revoke and count sessions."`
	Limits   limitsCmd   `cmd:"" help:"Show limits and change them at run time; look at, forgive and block who is limited."`
	Trade    tradeCmd    `cmd:"" help:"Mint items, show and list trades, audit the ledger."`
	Jobs     jobsCmd     `cmd:"" help:"List periodic jobs, run one now."`
	Lock     lockCmd     `cmd:"" help:"List, show and clean up locks."`
	Loadtest loadtestCmd `cmd:"" help:"Generate load and check the truth of every answer; exits 1 on any fault."`
	Contract contractCmd `cmd:"" help:"Print the events as AsyncAPI, TypeScript or Markdown."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// streams are what a command reads and writes.
type streams struct {
	out, err io.Writer
	getenv   func(string) string
	args     []string
}

// run is the program: everything it needs comes in, and it ends when ctx does.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var cli commands
	done := false
	k, err := parse(&cli, args, getenv,
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { done = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{stdout, stderr, getenv, args}),
	)
	if done { // --help was asked for and given
		return nil
	}
	if err != nil {
		return err
	}
	return k.Run()
}

// parse reads the command line, and what it does not say from the environment and the file.
func parse(cli *commands, args []string, getenv func(string) string, options ...kong.Option) (*kong.Context, error) {
	parser, err := kong.New(cli, append(options,
		kong.Name("gateway"),
		kong.Description("A Socket.IO-compatible realtime gateway.\n\nEvery flag is also an environment variable, GATEWAY_ and its name (GATEWAY_DRAIN_FOR), and a key of the YAML file that --config names (drain-for). A flag beats the environment, which beats the file."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)...)
	if err != nil {
		return nil, err
	}
	settings, err := readSettings(args, getenv, parser.Model)
	if err != nil {
		return nil, usageError{withoutSecrets(err)}
	}
	cli.Serve.filePolicies = settings.policies
	// Of several resolvers the last that knows a value wins.
	if err := kong.Resolvers(settings.file, settings.environment).Apply(parser); err != nil {
		return nil, err
	}
	k, err := parser.Parse(args)
	if err != nil {
		return nil, usageError{withoutSecrets(err)}
	}
	return k, nil
}

var credentials = regexp.MustCompile(`(://).*@`)

// withoutSecrets hides what may be the password of a Redis URL: an error about the command
// line quotes it, and a URL may stand in the wrong place.
func withoutSecrets(err error) error {
	text := err.Error()
	if clean := credentials.ReplaceAllString(text, "$1***@"); clean != text {
		return errors.New(clean)
	}
	return err
}
