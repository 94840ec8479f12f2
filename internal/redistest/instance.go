package redistest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// An Instance is a server that belongs to one test. Only that test's goroutine may call its
// methods. They fail the test when the server does not do what they ask.
type Instance struct {
	t    testing.TB
	node *node
}

// Server starts a server for this test, with args added to its command line, and stops it when the
// test ends. Unless args say otherwise, it loses its data on a Restart.
func Server(t testing.TB, args ...string) *Instance {
	t.Helper()
	n, err := startServer(args...)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(n.killAndRemove)
	return &Instance{t: t, node: n}
}

// Addr returns host:port, which does not change during the test.
func (i *Instance) Addr() string { return i.node.hostAndPort() }

// URL returns the redis:// URL.
func (i *Instance) URL() string { return "redis://" + i.node.hostAndPort() }

// Pid returns the process id of the server that runs, or ran last.
func (i *Instance) Pid() int { return i.node.process.Pid() }

// Client returns a new client with the timeouts of production: 500 ms.
func (i *Instance) Client() redis.UniversalClient {
	return newTestClient(i.t, &redis.Options{Addr: i.Addr()}, 500*time.Millisecond)
}

// Stop ends the server with SIGTERM, as an operator would, and waits until it has ended.
func (i *Instance) Stop() { i.node.process.Stop(5 * time.Second) }

// Kill ends the server with SIGKILL, and waits until it has ended.
func (i *Instance) Kill() { i.node.process.Kill() }

// Restart starts the server again on the same port and in the same directory, and waits until it
// answers. It first kills the server if it still runs.
func (i *Instance) Restart() {
	i.t.Helper()
	i.node.process.Kill()
	if err := i.node.startProcess(); err != nil {
		i.t.Fatalf("redistest: restart: %v", err)
	}
}

// AppendOnlySize returns how many bytes the append-only file has.
func (i *Instance) AppendOnlySize() int64 {
	i.t.Helper()
	info, err := os.Stat(i.findAppendOnly())
	if err != nil {
		i.t.Fatalf("redistest: append-only file: %v", err)
	}
	return info.Size()
}

// TruncateAppendOnly cuts the append-only file of a server that was killed back to a size, as a
// machine does that loses its power before the file was synced.
func (i *Instance) TruncateAppendOnly(size int64) {
	i.t.Helper()
	if err := os.Truncate(i.findAppendOnly(), size); err != nil {
		i.t.Fatalf("redistest: append-only file: %v", err)
	}
}

// findAppendOnly returns the file to which commands are appended.
func (i *Instance) findAppendOnly() string {
	i.t.Helper()
	for _, pattern := range []string{"appendonlydir/*.incr.aof", "appendonly.aof"} { // since Redis 7, and before
		if found, _ := filepath.Glob(filepath.Join(i.node.dir, pattern)); len(found) == 1 {
			return found[0]
		}
	}
	i.t.Fatal("redistest: there is no append-only file")
	return ""
}

// Pause freezes the server with SIGSTOP: connections stay open, and nothing is answered.
func (i *Instance) Pause() { i.node.process.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (i *Instance) Resume() { i.node.process.Signal(syscall.SIGCONT) }
