package main

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startWithSockets starts `gateway serve` as systemd does that listens for it: with its sockets as
// descriptors 3 and up, and the process's own number in LISTEN_PID. systemd itself is not there.
func startWithSockets(t *testing.T, names string, sockets ...*net.TCPListener) (out, errs *output, cmd *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve --dev --addr 127.0.0.1:1 --admin-addr 127.0.0.1:0 --drain-for 0s`, self)
	cmd.Env = append(os.Environ(), beTheProgram+"=1", "LISTEN_FDS="+string(rune('0'+len(sockets))), "LISTEN_FDNAMES="+names)
	for _, s := range sockets {
		f, err := s.File()
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	out, errs = &output{}, &output{}
	cmd.Stdout, cmd.Stderr = out, errs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return out, errs, cmd
}

func listenLocally(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// The gateway serves at sockets that it is given, whatever --addr says. A client that comes before
// it serves waits, and is not refused.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	public, admin := listenLocally(t), listenLocally(t)
	early := make(chan int, 1)
	go func() {
		answer, err := (&http.Client{Timeout: patience}).Get("http://" + public.Addr().String() + "/health/live")
		if err != nil {
			early <- 0
			return
		}
		_ = answer.Body.Close()
		early <- answer.StatusCode
	}()
	out, errs, _ := startWithSockets(t, "addr:admin-addr", public, admin)
	require.Eventually(t, func() bool { return adminLine.MatchString(out.String()) }, patience, tick, errs.String())
	require.Equal(t, "http://"+public.Addr().String(), publicLine.FindStringSubmatch(out.String())[1])
	require.Equal(t, "http://"+admin.Addr().String(), adminLine.FindStringSubmatch(out.String())[1])
	select {
	case status := <-early:
		require.Equal(t, 200, status)
	case <-time.After(patience):
		t.Fatal("the early client got no answer")
	}
}

// A single socket without the name of a flag is that of --addr, as a unit has it that says nothing
// of names. Sockets that cannot be told apart are named.
func TestNamesOfSockets(t *testing.T) {
	t.Parallel()
	public := listenLocally(t)
	out, errs, _ := startWithSockets(t, "gateway.socket", public)
	require.Eventually(t, func() bool { return publicLine.MatchString(out.String()) }, patience, tick, errs.String())
	require.Equal(t, "http://"+public.Addr().String(), publicLine.FindStringSubmatch(out.String())[1])

	for names, want := range map[string]string{
		"addr:other": `the socket "other" is none of addr, admin-addr and api-addr`,
		"addr:addr":  `two sockets of systemd are called "addr"`,
	} {
		_, errs, cmd := startWithSockets(t, names, listenLocally(t), listenLocally(t))
		var exit *exec.ExitError
		require.ErrorAs(t, ended(t, cmd), &exit)
		require.Equal(t, 2, exit.ExitCode())
		require.Regexp(t, regexp.QuoteMeta(want), strings.TrimSpace(errs.String()))
	}
}
