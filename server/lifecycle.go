package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	group "github.com/oklog/run"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/redisconn"
)

// serve runs everything until ctx ends or something fails, then stops in the right order:
// clients first, then what serves them, operators last; Redis is there until all are gone.
func (n *node) serve(ctx context.Context, public, admin net.Listener) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	players := n.server(n.publicRoutes())
	operators := n.server(n.adminRoutes())

	// When one of these ends, the second functions are called in this order.
	var g group.Group
	g.Add(func() error {
		<-waiting.Done()
		return nil
	}, func(error) { stopWaiting() })
	g.Add(func() error { return served(players.Serve(public)) }, func(error) {
		n.drain()
		shutdown(players)
		n.gateway.Close()
		stopBackground() // the tracker flushes its touches
	})
	loop := func(run func(context.Context) error) {
		g.Add(func() error { return run(background) }, func(error) {})
	}
	loop(n.monitor.Run)
	loop(n.tracker.Run)
	loop(n.devices.Run)
	loop(n.talk.Run)
	loop(n.trades.Sweep)
	loop(n.returns.Run)
	loop(n.roster.Run)
	loop(n.fights.Run)
	loop(n.present.Run)
	loop(n.limits.Run)
	loop(n.reload)
	loop(n.cache.Run)
	loop(n.chores.Run)
	for _, f := range n.cfg.Features {
		if runner, ok := f.(Runner); ok {
			loop(runner.Run)
		}
	}
	if n.embedded != nil {
		loop(n.watchEmbedded)
	}
	if admin != nil {
		g.Add(func() error { return served(operators.Serve(admin)) }, func(error) { _ = operators.Close() })
	}
	err := g.Run()
	n.log.Info("stopped", zap.Error(err))
	return err
}

// server bounds what a client may take before its request is understood; routes bound the rest.
func (n *node) server(routes http.Handler) *http.Server {
	return &http.Server{
		Handler: routes, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: zap.NewStdLog(n.log),
	}
}

// drain tells clients to come back elsewhere, over --drain-for.
func (n *node) drain() {
	n.log.Info("draining", zap.Int("connections", n.gateway.Connections()), zap.Duration("for", n.cfg.DrainFor))
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainFor+time.Second)
	defer cancel()
	n.gateway.Drain(ctx, n.cfg.DrainFor)
}

// shutdown lets requests end that are being served.
func shutdown(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
}

// watchEmbedded ends when the embedded Redis does: nothing is left to serve with.
func (n *node) watchEmbedded(ctx context.Context) error {
	select {
	case <-n.embedded.Done():
		return fmt.Errorf("embedded Redis ended: %w: %w", redisconn.ErrUnreachable, n.embedded.Err())
	case <-ctx.Done():
		return nil
	}
}

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
