package main

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// program is the gateway as a process of its own: this test binary, which calls main and
// nothing else (building it once more would take longer than all the tests).
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), beTheProgram+"=1")
	return cmd
}

// start runs `gateway serve` as that process.
func start(t *testing.T, args ...string) (*gate, *exec.Cmd) {
	t.Helper()
	g := &gate{t: t, out: &output{}, err: &output{}}
	cmd := program(t, append([]string{"serve", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--dev"}, args...)...)
	cmd.Stdout, cmd.Stderr = g.out, g.err
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { return adminLine.MatchString(g.out.String()) }, patience, tick, g.err.String())
	g.public = publicLine.FindStringSubmatch(g.out.String())[1]
	g.admin = adminLine.FindStringSubmatch(g.out.String())[1]
	return g, cmd
}

// ended waits for the process, and returns what Wait does.
func ended(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the process did not end")
		return nil
	}
}

func TestTheProgram(t *testing.T) {
	t.Parallel()
	t.Run("kill -9 leaves no Redis behind", func(t *testing.T) {
		t.Parallel()
		g, cmd := start(t)
		g.connect(g.guest("ann")).ok("session:ping", "")
		servers := embeddedServers(t, cmd.Process.Pid)
		require.Len(t, servers, 1)
		require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
		gone(t, servers[0])
	})

	t.Run("SIGTERM drains and leaves nothing behind", func(t *testing.T) {
		t.Parallel()
		const over = time.Second
		g, cmd := start(t, "--drain-for", over.String())
		servers := embeddedServers(t, cmd.Process.Pid)
		require.Len(t, servers, 1)
		ann, bob := g.connect(g.guest("ann")), g.connect(g.guest("bob"))
		begun := time.Now()
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		for _, p := range []*player{ann, bob} {
			bye := p.event("gateway:closing")
			require.Equal(t, "DRAINING", bye["code"])
			require.Positive(t, bye["reconnectInMs"])
			require.False(t, p.ended(), "a DISCONNECT would keep browsers away")
		}
		require.NoError(t, ended(t, cmd), "%s", g.err)
		require.Less(t, time.Since(begun), over+3*time.Second)
		gone(t, servers[0])
		require.NotContains(t, g.out.String()+g.err.String(), "SHUTTING_DOWN")
	})

	t.Run("a second SIGTERM does not wait", func(t *testing.T) {
		t.Parallel()
		g, cmd := start(t, "--drain-for", "1h")
		g.connect(g.guest("ann"))
		g.connect(g.guest("bob"))
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		g.status(g.public+"/health/ready", 503, patience)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.Error(t, ended(t, cmd))
	})

	t.Run("exit statuses and errors", func(t *testing.T) {
		t.Parallel()
		url := redistest.URL(t)
		for name, c := range map[string]struct {
			args []string
			code int
			says string
		}{
			"done":        {[]string{"session", "list", "ann", "--redis", url}, 0, ""},
			"no":          {[]string{"session", "show", "x", "--redis", url}, 1, "gateway: there is no such session\n"},
			"usage":       {[]string{"session", "show"}, 2, "gateway: "},
			"unreachable": {[]string{"session", "show", "x", "--redis", "redis://127.0.0.1:1"}, 3, "gateway: redis://127.0.0.1:1: Redis cannot be reached"},
		} {
			var out, errs bytes.Buffer
			cmd := program(t, c.args...)
			cmd.Stdout, cmd.Stderr = &out, &errs
			_ = cmd.Run()
			require.Equal(t, c.code, cmd.ProcessState.ExitCode(), name)
			require.Contains(t, errs.String(), c.says, name)
			if c.code != 0 {
				require.Empty(t, out.String(), name)
			}
		}
	})
}
