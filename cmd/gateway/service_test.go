package main

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A service manager such as systemd is told that a gateway waits for Redis, lives, serves, reads
// its settings again and ends. A SIGHUP that comes while it waits does not end it.
func TestTheServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	require.NoError(t, manager.SetReadDeadline(time.Now().Add(2*patience)))
	awaitState := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		for {
			n, err := manager.Read(b)
			require.NoError(t, err, "not told: %s", want)
			if strings.Contains(string(b[:n]), want) {
				return
			}
		}
	}
	server, relay, logged := redistest.Server(t), redistest.NewRelay(t), &output{}
	cmd := program(t, "serve", "--addr", "127.0.0.1:0", "--admin-addr=", "--redis", relay.URL(), "--drain-for", "0s")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=300000")
	cmd.Stderr = logged
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	awaitState("READY=1\nSTATUS=waits for Redis")
	awaitState("WATCHDOG=1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	awaitState("WATCHDOG=1")
	awaitState("WATCHDOG=1") // it has survived

	relay.PointTo(server)
	awaitState("STATUS=serves players")
	awaitState("RELOADING=1\nMONOTONIC_USEC=")
	awaitState("READY=1")
	require.Contains(t, logged.String(), "settings read again")
	awaitState("WATCHDOG=1")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	awaitState("STOPPING=1")
	require.NoError(t, ended(t, cmd))
}

func TestHealthOnTheCommandLine(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	g := serve(t, "--redis", server.URL(), "--dev")
	addr := strings.TrimPrefix(g.admin, "http://")
	require.Equal(t, "ok", must(t, "health", "--admin-addr", addr))
	require.Equal(t, "ready", must(t, "health", "--ready", "--admin-addr", addr))
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	must(t, "health", "--admin-addr", "0.0.0.0:"+port) // as in a container

	server.Kill()
	g.status(g.public+"/health/ready", 503, patience)
	must(t, "health", "--admin-addr", addr) // a new start would not bring Redis back
	_, errs, code := command(t, "health", "--ready", "--admin-addr", addr)
	require.Equal(t, cli.ExitNo, code)
	require.Contains(t, errs, "503")
	require.NoError(t, g.stop())
	_, _, code = command(t, "health", "--admin-addr", addr)
	require.Equal(t, cli.ExitNo, code)
	_, _, code = command(t, "health", "--admin-addr", "nowhere")
	require.Equal(t, cli.ExitUsage, code)
}
