package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aeturnis/realtime/internal/spawn"
)

// A node is one server process with its directory and port. The directory and the port outlive the
// process.
type node struct {
	program string
	dir     string
	port    int
	args    []string
	config  string // a sentinel's configuration; empty for a server
	process *spawn.Process
}

// startServer starts a server that persists nothing, on a free port of 127.0.0.1.
func startServer(args ...string) (*node, error) { return startNodeProcess(&node{args: args}) }

// startSentinel starts a sentinel on a free port of 127.0.0.1. The sentinel rewrites its
// configuration.
func startSentinel(config string) (*node, error) { return startNodeProcess(&node{config: config}) }

func startNodeProcess(n *node) (*node, error) {
	var err error
	if n.program == "" {
		if n.program, err = spawn.Find(); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		return nil, err
	}
	n.dir = dir
	for range 5 { // another process may take the port before our server does
		if n.port, err = findFreePort(); err != nil {
			break
		}
		if err = n.startProcess(); err == nil {
			return n, nil
		}
		if s := err.Error(); !strings.Contains(s, "Address already in use") && !strings.Contains(s, "answers on") {
			break
		}
	}
	_ = os.RemoveAll(dir)
	return nil, err
}

// startProcess starts the process and waits until it answers, at most 20 s.
func (n *node) startProcess() error {
	args := append([]string{
		"--port", strconv.Itoa(n.port), "--bind", "127.0.0.1", "--dir", n.dir,
		"--save", "", "--appendonly", "no", "--loglevel", "warning",
	}, n.args...)
	if n.config != "" {
		file := filepath.Join(n.dir, "sentinel.conf")
		if _, err := os.Stat(file); err != nil {
			if err := os.WriteFile(file, []byte(n.config), 0o600); err != nil {
				return err
			}
		}
		args = []string{file, "--sentinel", "--port", strconv.Itoa(n.port), "--bind", "127.0.0.1", "--dir", n.dir}
	}
	p, err := spawn.Start(n.program, n.dir, args...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Ready(ctx, "tcp", n.hostAndPort()); err != nil {
		p.Kill()
		return err
	}
	n.process = p
	return nil
}

func (n *node) hostAndPort() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }

// killAndRemove kills the process and deletes its directory.
func (n *node) killAndRemove() {
	n.process.Kill()
	_ = os.RemoveAll(n.dir)
}

func findFreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
