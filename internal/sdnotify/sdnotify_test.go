package sdnotify

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// listen returns a service manager's socket, and what it is told.
func listen(t *testing.T) (socket string, told chan string) {
	t.Helper()
	socket, told = filepath.Join(t.TempDir(), "notify"), make(chan string, 100)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			told <- string(b[:n])
		}
	}()
	return socket, told
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestNotify(t *testing.T) {
	t.Parallel()
	socket, told := listen(t)
	n := FromEnvironment(environment(map[string]string{"NOTIFY_SOCKET": socket}))
	require.NoError(t, n.Notify(Ready, Status("serves\nplayers")))
	require.Equal(t, "READY=1\nSTATUS=serves players", <-told)
	require.NoError(t, n.Notify(Reloading()))
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=[1-9]\d+$`, <-told)
	n.Watch(t.Context(), func() bool { t.Error("systemd watches nothing"); return true })
}

// Without systemd nothing is told, and with one that has gone the caller learns why.
func TestNobodyIsNotified(t *testing.T) {
	t.Parallel()
	n := FromEnvironment(environment(nil))
	require.Nil(t, n)
	require.NoError(t, n.Notify(Ready))
	n.Watch(t.Context(), func() bool { t.Error("nobody asks"); return true })
	gone := FromEnvironment(environment(map[string]string{"NOTIFY_SOCKET": "/nowhere/notify"}))
	require.ErrorContains(t, gone.Notify(Ready), "sd_notify")
}

func TestTheWatchdogIsToldWhileTheServiceLives(t *testing.T) {
	t.Parallel()
	socket, told := listen(t)
	vars := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())}
	ctx, stop := context.WithCancel(t.Context())
	asked, ended := make(chan struct{}), make(chan struct{})
	lives := make(chan bool)
	go func() {
		defer close(ended)
		FromEnvironment(environment(vars)).Watch(ctx, func() bool {
			asked <- struct{}{}
			return <-lives
		})
	}()
	<-asked
	lives <- true
	require.Equal(t, "WATCHDOG=1", <-told)
	<-asked
	lives <- false
	<-asked // nothing was told for the call before
	require.Empty(t, told)
	stop()
	lives <- true
	<-ended

	vars["WATCHDOG_PID"] = "1" // of another process of the unit
	require.Equal(t, time.Duration(0), FromEnvironment(environment(vars)).watchdog)
}
