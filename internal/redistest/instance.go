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
	t testing.TB
	n *node
}

// Server starts a server for this test, with args added to its command line, and stops it
// when the test ends. It keeps nothing over a Restart unless args say so.
func Server(t testing.TB, args ...string) *Instance {
	t.Helper()
	n, err := start(args...)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(n.remove)
	return &Instance{t: t, n: n}
}

// Addr is host:port, the same for the whole test.
func (i *Instance) Addr() string { return i.n.addr() }

// URL is the redis:// URL.
func (i *Instance) URL() string { return "redis://" + i.n.addr() }

// Pid is the process id of the server that runs, or ran last.
func (i *Instance) Pid() int { return i.n.process.Pid() }

// Client is a new client with the timeouts of production: 500 ms.
func (i *Instance) Client() redis.UniversalClient {
	return client(i.t, &redis.Options{Addr: i.Addr()}, 500*time.Millisecond)
}

// Stop ends the server as an operator would, and waits until it has ended.
func (i *Instance) Stop() { i.n.process.Stop(5 * time.Second) }

// Kill ends the server with kill -9, and waits until it has ended.
func (i *Instance) Kill() { i.n.process.Kill() }

// Restart runs the server again on the same port and directory, killing it first when it
// still runs, and waits until it answers.
func (i *Instance) Restart() {
	i.t.Helper()
	i.n.process.Kill()
	if err := i.n.run(); err != nil {
		i.t.Fatalf("redistest: restart: %v", err)
	}
}

// Pause freezes the server (SIGSTOP): connections stay open, nothing is answered.
func (i *Instance) Pause() { i.n.process.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (i *Instance) Resume() { i.n.process.Signal(syscall.SIGCONT) }
