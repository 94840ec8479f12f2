package main

import (
	"go/build"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/loadtest"
	"github.com/aeturnis/realtime/internal/redistest"
)

// The program that the command runs stands beside this one, which is the test's binary.
func TestLoadtestRunsTheProgramBesideIt(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(filepath.Dir(self), "loadtest")
	_, errs, code := command(t, "loadtest", "ping", "--target", "http://x")
	require.Equal(t, cli.ExitNo, code)
	require.Contains(t, errs, "loadtest is not there")

	script := "#!/bin/sh\necho \"$@\"\necho wrong >&2\nexit 3\n"
	require.NoError(t, os.WriteFile(program, []byte(script), 0o700))
	t.Cleanup(func() { _ = os.Remove(program) })
	out, errs, code := command(t, "loadtest", "ping", "--target", "http://x", "--for", "1s")
	require.Equal(t, 3, code)
	require.Equal(t, "ping --target http://x --for 1s\n", out)
	require.Contains(t, errs, "wrong\n")

	_, errs, code = command(t, "loadtest", "ping")
	require.Equal(t, cli.ExitUsage, code)
	require.Contains(t, errs, "--target")
}

// The lines of docs/operations.md work with each other, in a short form: 60 clients of one address,
// three times what the policy `connect` admits.
func TestTheDocumentedLoadTest(t *testing.T) {
	t.Parallel()
	lines := regexp.MustCompile(`(?m)^gateway (serve .*)\n^loadtest (.*)$`).FindStringSubmatch(textOf(t, "../../docs/operations.md"))
	require.NotNil(t, lines, "the server's line stands above the load test's")
	var flags struct {
		cli.LoadtestFlags `embed:""`
	}
	_, _, err := cli.Parse(&flags, strings.Fields(lines[2]), environment(nil))
	require.NoError(t, err)
	require.Equal(t, []any{"chat", 1000, 30 * time.Second}, []any{flags.Scenario, flags.Clients, flags.For})
	require.Contains(t, lines[1], "--redis "+flags.Redis)
	url := redistest.URL(t)
	play := func(g *gate, redis string) (loadtest.Result, error) {
		return loadtest.Run(t.Context(), flags.Scenario, loadtest.Config{
			Target: g.public, Redis: redis, Clients: 60, RoomSize: flags.RoomSize, TextBytes: flags.TextBytes, For: time.Second, Timeout: patience,
		}, nil)
	}
	playWell := func(g *gate, redis string) {
		res, err := play(g, redis)
		require.NoError(t, err)
		require.Zero(t, res.Faults(), "%+v", res)
		require.Zero(t, res.Refused, "%+v", res)
		require.NotZero(t, res.Answered)
	}
	playWell(serve(t, strings.Fields(strings.ReplaceAll(lines[1], flags.Redis, url))[1:]...), url)
	run := regexp.MustCompile(`make run` + "`" + `, .*\n?.*ARGS="(.*)"`).FindStringSubmatch(textOf(t, "../../docs/operations.md"))
	require.NotNil(t, run)
	playWell(serve(t, append([]string{"--dev"}, strings.Fields(run[1])...)...), "")

	_, err = play(serve(t, "--redis", url, "--dev"), url)
	require.ErrorContains(t, err, "HTTP 429")
	require.ErrorContains(t, err, "--limit connect=off", "it says what to do")
}

// Only the builds of internal/chaos may kill themselves. scripts/check-binaries looks at what
// `make build` built.
func TestTheCrashHookIsNotReleased(t *testing.T) {
	t.Parallel()
	pkg, err := build.ImportDir("../../server", 0)
	require.NoError(t, err)
	require.Contains(t, pkg.IgnoredGoFiles, "crash_on.go")
	for _, file := range pkg.GoFiles {
		require.NotContains(t, textOf(t, filepath.Join("../../server", file)), "GATEWAY_CRASH", file)
	}
}
