package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// startWithOpenFiles runs `gateway serve` as a process that may have so many files open.
func startWithOpenFiles(t *testing.T, files int, args ...string) *gate {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	g := &gate{t: t, out: &output{}, err: &output{}}
	serve := append([]string{"serve", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--dev"}, args...)
	cmd := exec.Command("sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files), self}, serve...)...)
	cmd.Env = append(os.Environ(), beTheProgram+"=1")
	cmd.Stdout, cmd.Stderr = g.out, g.err
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { return adminLine.MatchString(g.out.String()) }, patience, tick, g.err.String())
	g.public = publicLine.FindStringSubmatch(g.out.String())[1]
	g.admin = adminLine.FindStringSubmatch(g.out.String())[1]
	return g
}

// With 300 open files, --max-connections 100,000 is 141: further players are refused with 503, and
// operators and health checks are answered, also while idle TCP connections take the rest.
func TestTheLimitOfOpenFilesBoundsConnections(t *testing.T) {
	t.Parallel()
	g := startWithOpenFiles(t, 300, "--redis", redistest.URL(t), "--limit", "connect=off", "--connect-timeout", "5m")
	g.logged(1, "fewer connections than --max-connections: the limit of open files allows no more",
		map[string]any{"level": "warn", "max-connections": 100_000.0, "inForce": 141.0, "openFiles": 300.0})
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	admitted, refused := 0, 0
	for range 170 {
		conn, r, err := dialer.Dial(socketURL(g.public), nil)
		if err != nil {
			require.NotNil(t, r, err)
			require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
			require.Equal(t, "5", r.Header.Get("Retry-After"))
			require.NoError(t, r.Body.Close())
			refused++
			continue
		}
		t.Cleanup(func() { _ = conn.Close() })
		admitted++
	}
	require.Equal(t, 141, admitted)
	require.Equal(t, 29, refused)

	for range 9 { // as many as are left beside the players, and then every further one is a spare one
		idle, err := net.Dial("tcp", strings.TrimPrefix(g.public, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = idle.Close() })
		_, err = idle.Write([]byte("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		r, err := http.ReadResponse(bufio.NewReader(idle), nil)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		require.False(t, r.Close, "it stays open")
	}
	for range 20 {
		require.Equal(t, 503, do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`).status)
		require.Equal(t, 503, do(t, "GET", g.public+"/socket.io/"+pollQuery, "").status)
		require.Equal(t, 200, do(t, "GET", g.public+"/health/live", "").status)
		require.Equal(t, 200, do(t, "GET", g.public+"/health/ready", "").status)
		require.Equal(t, 200, do(t, "GET", g.admin+"/health/live", "").status)
	}
	metrics := string(do(t, "GET", g.admin+"/metrics", "").body)
	require.Contains(t, metrics, "gateway_connections_bound 141")
	require.Contains(t, metrics, `gateway_connections_refused_total{code="UNAVAILABLE"} 49`)
	require.Contains(t, metrics, "gateway_tcp_dropped_total 0")
	require.NotContains(t, g.err.String(), "too many open files")
}
