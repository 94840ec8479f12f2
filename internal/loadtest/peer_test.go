package loadtest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const peerFolder = "../bench/peer-node"

// installed installs the peer's packages once, if they are missing.
var installed = sync.OnceValue(func() error {
	if _, err := exec.LookPath("node"); err != nil {
		return fmt.Errorf("these tests talk to the Node peer: install Node 20 or later: %w", err)
	}
	if _, err := os.Stat(filepath.Join(peerFolder, "node_modules", "socket.io")); err == nil {
		return nil
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	npm.Dir = peerFolder
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", peerFolder, err, out)
	}
	return nil
})

// A peer is the Node server with a Redis of its own.
type peer struct{ url, redis string }

// startPeer starts the peer. env holds "NAME=value" pairs.
func startPeer(t *testing.T, env ...string) peer {
	t.Helper()
	require.NoError(t, installed())
	redis := redistest.Server(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	_, port, _ := net.SplitHostPort(addr)

	node := exec.Command("node", "server.js")
	node.Dir = peerFolder
	node.Env = append(os.Environ(), append([]string{"PORT=" + port, "REDIS=" + redis.Addr(), "CHAT_LIMIT=1000000", "CHAT_WINDOW_MS=1000", "COMBAT_LIMIT=1000000", "COMBAT_WINDOW_MS=1000"}, env...)...)
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, node.Start())
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait() // the process was killed, so this is never nil
	})
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- line
	}()
	select {
	case line := <-ready:
		require.True(t, strings.HasPrefix(line, "listening"), "the peer says %q", line)
	case <-time.After(20 * time.Second):
		require.Fail(t, "the peer does not start")
	}
	return peer{"http://" + addr, redis.URL()}
}
