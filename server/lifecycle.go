package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	group "github.com/oklog/run"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/aeturnis/realtime/internal/gcgoal"
)

// serve runs everything until ctx ends or a part fails, then stops in the right order: the clients
// first, then what serves them, the operators' address last. Redis is there until all have ended.
func (n *node) serve(ctx context.Context, public, admin net.Listener) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	n.background = background
	defer n.drains.running.Wait()
	waiting, stopWaiting := context.WithCancel(ctx)
	defer stopWaiting()
	players := n.newHTTPServer(n.publicRoutes())
	players.ConnContext, players.ConnState = markSpare, noteHijacked
	bounded := n.boundConnections(public)
	operators := n.newHTTPServer(n.adminRoutes())

	// When one of these ends, the second functions are called in this order.
	var g group.Group
	g.Add(func() error {
		<-waiting.Done()
		return nil
	}, func(error) { stopWaiting() })
	g.Add(func() error { return ignoreClosed(players.Serve(n.tls.secure(bounded, nil))) }, func(error) {
		n.drainPlayers()
		shutDownHTTP(players)
		n.gateway.Close()
		stopBackground() // the tracker flushes its touches
	})
	addLoop := func(run func(context.Context) error) {
		g.Add(func() error { return run(background) }, func(error) {})
	}
	r := n.redis
	for _, run := range []func(context.Context) error{
		r.monitor.Run, r.moves.Run, r.tracker.Run, n.logins.devices.Run, n.logins.connections.Run, r.limiter.Run, n.reloadSettings, n.followAPIKeys, n.followBackendSecrets, n.followTLS, n.watchPromises, n.followRights, n.answerOperators, r.cache.Run, r.jobs.Run, gcgoal.Run,
	} {
		addLoop(run)
	}
	for _, run := range n.webhookLoops() {
		addLoop(run)
	}
	if n.adminUI != nil {
		addLoop(n.adminUI.Run)
	}
	for _, m := range r.lockServers.monitors {
		addLoop(m.Run)
	}
	for _, run := range n.features.loops() {
		addLoop(run)
	}
	if r.embedded != nil {
		addLoop(r.watchEmbedded)
	}
	if admin != nil {
		g.Add(func() error { return ignoreClosed(operators.Serve(n.tls.secure(admin, n.tls.adminClients))) }, func(error) { _ = operators.Close() })
	}
	if n.api != nil {
		programs := n.newHTTPServer(boundBodies(n.cfg.BodyTimeout, n.api.Handler()))
		g.Add(func() error { return ignoreClosed(programs.Serve(n.tls.secure(n.apiListener, n.tls.apiClients))) }, func(error) { shutDownHTTP(programs) })
	}
	err := g.Run()
	n.log.Info("stopped", zap.Error(err))
	return err
}

// newHTTPServer returns a server that bounds what a client may take before its request is
// understood. Routes bound the rest.
func (n *node) newHTTPServer(routes http.Handler) *http.Server {
	log := n.log
	if n.tls.certificates != nil {
		log = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return handshakeFilter{core, n.tls.failedClients} }))
	}
	errorLog, err := zap.NewStdLogAt(log, zap.WarnLevel)
	if err != nil { // never: zap knows the level
		errorLog = zap.NewStdLog(log)
	}
	return &http.Server{
		Handler: forbidSniffing(routes), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: n.cfg.HTTPIdleTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: errorLog, // such as a connection that cannot be accepted
	}
}

// shutDownHTTP lets requests end that are being served, for a second.
func shutDownHTTP(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
}

// ignoreClosed returns err, or nil when it says that the server was shut down.
func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
