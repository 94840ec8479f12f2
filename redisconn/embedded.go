package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/aeturnis/realtime/internal/spawn"
)

// EmbeddedConfig configures the embedded server. The zero value works.
type EmbeddedConfig struct {
	// Dir is where the server's directory is made; "" means the system's temporary directory.
	Dir string
	// InProcess makes Embedded run miniredis even when a server program is on PATH.
	InProcess bool
}

// A Server is the Redis that runs when none is configured. Its data is lost when it restarts, and
// it ends with this process.
type Server struct {
	kind string
	url  string
	done <-chan struct{}
	err  func() error
	stop func()
	once sync.Once
}

// Kind returns the program and its version: "redis-server 7.0.15", "valkey-server 8.1.1" or
// "miniredis".
func (s *Server) Kind() string { return s.kind }

// URL returns what Open takes. It may hold a password: show Redact(URL()) instead.
func (s *Server) URL() string { return s.url }

// Done returns a channel that is closed when the server has ended: after Close, or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns how the server ended by itself, and nil while it runs. After Close it means nothing.
func (s *Server) Err() error { return s.err() }

// Close ends the server, waits until it has ended, and removes its directory. It may be called more
// than once, and always returns nil.
func (s *Server) Close() error {
	s.once.Do(s.stop)
	return nil
}

// Embedded starts redis-server or valkey-server from PATH, on a unix socket in a directory that
// only our user may enter. When neither is installed it runs miniredis in this process. The context
// bounds the start, not the server's life.
func Embedded(ctx context.Context, cfg EmbeddedConfig) (*Server, error) {
	if cfg.InProcess {
		return startInProcess()
	}
	program, err := spawn.Find()
	if errors.Is(err, spawn.ErrNotInstalled) {
		return startInProcess()
	}
	if err != nil {
		return nil, err
	}
	dir, err := makePrivateDirectory(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	s, err := startChild(ctx, program, dir)
	if err != nil {
		dir.removeDirectory()
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	return s, nil
}

// startChild starts program and waits until it answers.
func startChild(ctx context.Context, program string, dir *privateDirectory) (*Server, error) {
	socket := filepath.Join(dir.path, "redis.sock")
	p, err := spawn.Start(program, dir.path,
		"--port", "0", "--unixsocket", socket, "--unixsocketperm", "700",
		"--dir", dir.path, "--save", "", "--appendonly", "no",
		"--maxmemory-policy", "noeviction", "--loglevel", "warning")
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx, "unix", socket); err != nil {
		p.Kill()
		return nil, err
	}
	s := &Server{url: "unix://" + socket, done: p.Done(), err: p.Err, stop: func() {
		p.Stop(stopGrace)
		dir.removeDirectory()
	}}
	if s.kind, err = readServerKind(ctx, s.url, filepath.Base(program)); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// readServerKind asks the server what it is, because distributions link one program to the other's
// name.
func readServerKind(ctx context.Context, url, program string) (string, error) {
	client, err := Open(ctx, url, Config{PoolSize: 1})
	if err != nil {
		return "", err
	}
	defer client.Close()
	text, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("ask its version: %w", err)
	}
	info := parseInfo(text)
	if info["server_name"] == "valkey" {
		return "valkey-server " + info["valkey_version"], nil
	}
	return program + " " + info["redis_version"], nil
}

// makePrivateDirectory makes a directory of mode 0700. Its path leaves room for a socket's name in
// the 104 bytes that a unix address may have.
func makePrivateDirectory(parent string) (*privateDirectory, error) {
	if parent == "" {
		parent = os.TempDir()
		if len(parent) > 60 {
			parent = "/tmp"
		}
	}
	removeAbandoned(parent)
	path, err := os.MkdirTemp(parent, dirPrefix)
	if err != nil {
		return nil, err
	}
	if len(path)+len("/redis.sock") > 103 {
		_ = os.Remove(path)
		return nil, fmt.Errorf("%s is too long a path for a unix socket", path)
	}
	lock, err := lockDirectory(path)
	if err != nil {
		_ = os.RemoveAll(path)
		return nil, err
	}
	return &privateDirectory{path: path, lock: lock}, nil
}
