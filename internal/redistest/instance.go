package redistest

import (
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// An Instance is a server that one test has for itself. Its methods are for that test's
// goroutine; they fail the test when the server does not do what it is told.
type Instance struct {
	t    testing.TB
	node *node
}

// Server starts a server for this test, with args added to its command line, and stops it
// when the test ends. It keeps nothing over a Restart unless args say so.
func Server(t testing.TB, args ...string) *Instance {
	t.Helper()
	n, err := startServer(args...)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(n.killAndRemove)
	return &Instance{t: t, node: n}
}

// Addr is host:port, the same for the whole test.
func (i *Instance) Addr() string { return i.node.hostAndPort() }

// URL is the redis:// URL.
func (i *Instance) URL() string { return "redis://" + i.node.hostAndPort() }

// Pid is the process id of the server that runs, or ran last.
func (i *Instance) Pid() int { return i.node.process.Pid() }

// Client is a new client with the timeouts of production: 500 ms.
func (i *Instance) Client() redis.UniversalClient {
	return newTestClient(i.t, &redis.Options{Addr: i.Addr()}, 500*time.Millisecond)
}

// Stop ends the server as an operator would, and waits until it has ended.
func (i *Instance) Stop() { i.node.process.Stop(5 * time.Second) }

// Kill ends the server with kill -9, and waits until it has ended.
func (i *Instance) Kill() { i.node.process.Kill() }

// Restart runs the server again on the same port and directory, killing it first when it
// still runs, and waits until it answers.
func (i *Instance) Restart() {
	i.t.Helper()
	i.node.process.Kill()
	if err := i.node.startProcess(); err != nil {
		i.t.Fatalf("redistest: restart: %v", err)
	}
}

// Pause freezes the server (SIGSTOP): connections stay open, nothing is answered.
func (i *Instance) Pause() { i.node.process.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (i *Instance) Resume() { i.node.process.Signal(syscall.SIGCONT) }
