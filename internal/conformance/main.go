// Command conformance serves what the official Engine.IO 4 and Socket.IO 5 test suites expect, with
// the same code that the gateway serves with.
//
//	go run ./internal/conformance -mode engine|socket|recovery -addr HOST:PORT [-redis HOST:PORT]
//
// With -redis, in socket mode, it is one node of a cluster and also serves GET /op (op.go). The
// mode recovery, which needs -redis, has connection state recovery too. It prints "listening" on
// standard error when it is ready.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/cors"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
)

func main() {
	mode := flag.String("mode", "socket", "engine, socket or recovery")
	addr := flag.String("addr", "127.0.0.1:3000", "where to listen")
	bus := flag.String("redis", "", "host:port of the cluster's Redis, in the modes socket and recovery")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serveMode(ctx, *mode, *addr, *bus); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// suiteEngineConfig returns the settings that the suites' constants expect.
func suiteEngineConfig() engineio.Config {
	return engineio.Config{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond, MaxPayload: 1e6}
}

// serveMode serves a mode on an address until ctx ends. bus is the address of the cluster's Redis,
// or "".
func serveMode(ctx context.Context, mode, addr, bus string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	mux := http.NewServeMux()
	var stop func()
	switch mode {
	case "engine":
		stop = serveEngineMode(mux)
	case "socket":
		stop = serveSocketMode(mux, bus, nil)
	case "recovery":
		stop = serveSocketMode(mux, bus, &socketio.LogConfig{})
	default:
		return fmt.Errorf("unknown mode %q", mode)
	}
	srv := &http.Server{Handler: cors.AllowAll().Handler(mux), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	fmt.Fprintln(os.Stderr, "listening")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop()
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return srv.Shutdown(down)
}

// An echo sends every message back.
type echo struct{}

func (echo) Message(c *engineio.Conn, binary bool, data []byte) error {
	var m *engineio.Message
	if binary {
		m = engineio.NewBinary(data)
	} else {
		m = engineio.NewText().Append(string(data))
	}
	c.Queue(m)
	m.Free()
	return nil
}
func (echo) Malformed(*engineio.Conn, error) {}
func (echo) Overflow(*engineio.Conn)         {}
func (echo) Closed(*engineio.Conn, string)   {}

func serveEngineMode(mux *http.ServeMux) (stop func()) {
	cfg := suiteEngineConfig()
	cfg.Handler = func(c *engineio.Conn, _ *http.Request) engineio.Handler {
		c.Confirm()
		return echo{}
	}
	s := engineio.New(cfg)
	mux.Handle("/engine.io/", s)
	return s.Stop
}
