package main

import (
	"os"
	"os/exec"
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

// The binaries that `make build` made, where it has run.
func TestReleasedBinaries(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gateway", "loadtest"} {
		program := filepath.Join("../../bin", name)
		if _, err := os.Stat(program); err != nil {
			t.Skip("make build has not run")
		}
		said, err := exec.Command(program, "--version").Output()
		require.NoError(t, err)
		require.Regexp(t, `^\S.*, commit [0-9a-f]{40}, of \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, go\S+ \S+\n$`, string(said))
	}
	text, err := os.ReadFile("../../bin/gateway")
	require.NoError(t, err)
	require.NotContains(t, string(text), "GATEWAY_"+"CRASH_AT", "only the tests of internal/chaos may kill it")
}
