// Command conformance serves what the official Engine.IO 4 and Socket.IO 5 test suites
// expect, on exactly the code that the gateway serves with.
//
//	go run ./internal/conformance -mode engine|socket -addr 127.0.0.1:3000 [-redis host:port]
//
// With -redis, in socket mode, it is one node of a cluster and serves GET /op (op.go).
// It prints "listening" on standard error when it is ready.
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
)

func main() {
	mode := flag.String("mode", "socket", "engine or socket")
	addr := flag.String("addr", "127.0.0.1:3000", "where to listen")
	bus := flag.String("redis", "", "host:port of the cluster's Redis, in socket mode")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *mode, *addr, *bus); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// engineConfig is what the suites' constants expect.
func engineConfig() engineio.Config {
	return engineio.Config{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond, MaxPayload: 1e6}
}

func run(ctx context.Context, mode, addr, bus string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	mux := http.NewServeMux()
	var stop func()
	switch mode {
	case "engine":
		stop = engineMode(mux)
	case "socket":
		stop = socketMode(mux, bus)
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

// echo sends every message back.
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

func engineMode(mux *http.ServeMux) (stop func()) {
	cfg := engineConfig()
	cfg.Handler = func(c *engineio.Conn, _ *http.Request) engineio.Handler {
		c.Confirm()
		return echo{}
	}
	s := engineio.New(cfg)
	mux.Handle("/engine.io/", s)
	return s.Stop
}
