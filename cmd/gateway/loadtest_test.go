package main

import (
	"go/build"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
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
