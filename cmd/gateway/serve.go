package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	group "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// unavailable turns an error that means "Redis is not there" into the fault that says so.
func unavailable(feature string, err error) error {
	var f *fault.Fault
	if err == nil || errors.As(err, &f) || !redisconn.IsUnavailable(err) {
		return err
	}
	return fault.Unavailable(feature, time.Second, err)
}

// node is one running gateway: everything that serve wires together.
type node struct {
	cfg      *serveCmd
	name     string
	log      *zap.Logger
	embedded *redisconn.Server // nil where --redis was given
	rdb      redis.UniversalClient
	monitor  *redisconn.Monitor
	store    *sessions.Store
	tracker  *sessions.Tracker
	limits   *throttle.Limiter
	auth     *auth.Service
	gateway  *gateway.Gateway
	registry *prometheus.Registry
}

// Run serves until ctx ends, then drains.
func (c *serveCmd) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	policies, err := c.policies()
	if err != nil {
		return err
	}
	log := newLog(s.err, c.LogLevel, c.LogFormat)
	defer func() { _ = log.Sync() }()
	redisconn.SetLogger(log)

	public, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return usageError{fmt.Errorf("--addr: %w", err)}
	}
	defer func() { _ = public.Close() }()
	var admin net.Listener
	if c.AdminAddr != "" {
		if admin, err = net.Listen("tcp", c.AdminAddr); err != nil {
			return usageError{fmt.Errorf("--admin-addr: %w", err)}
		}
		defer func() { _ = admin.Close() }()
	}
	_, port, _ := net.SplitHostPort(public.Addr().String())
	n := &node{cfg: c, name: c.node(port), registry: prometheus.NewRegistry()}
	n.log = log.With(zap.String("node", n.name))
	if err := n.openRedis(ctx); err != nil {
		return err
	}
	defer n.closeRedis()
	if err := n.wire(policies); err != nil {
		return err
	}
	defer n.limits.Close()
	banner(s.out, n, public.Addr(), admin)
	return n.serve(ctx, public, admin)
}

// openRedis connects to what --redis names, or starts the embedded default.
func (n *node) openRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	url := n.cfg.Redis
	if url == "" {
		server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
		if err != nil {
			return fmt.Errorf("embedded Redis: %w", err)
		}
		n.embedded, url = server, server.URL()
	}
	rdb, err := redisconn.Open(ctx, url, redisconn.Config{Name: "gateway", PoolSize: 64})
	if err != nil {
		n.closeRedis()
		return err
	}
	n.rdb = rdb
	return nil
}

func (n *node) closeRedis() {
	if n.rdb != nil {
		_ = n.rdb.Close()
	}
	if n.embedded != nil {
		_ = n.embedded.Close()
	}
}

// wire makes every service, from the bottom to the top.
func (n *node) wire(policies []throttle.Policy) (err error) {
	c := n.cfg
	n.monitor = redisconn.NewMonitor(n.rdb, redisconn.MonitorConfig{OnChange: n.redisChanged})
	n.store = sessions.New(n.rdb, sessions.Config{TTL: c.SessionTTL, AbsoluteTTL: c.SessionAbsoluteTTL})
	n.tracker = sessions.NewTracker(n.store, sessions.TrackerConfig{})
	n.limits, err = throttle.New(n.rdb, policies, throttle.Config{
		OnChange: func(degraded bool, cause error) {
			n.log.Warn("limits moved", zap.Bool("local", degraded), zap.Error(cause))
		},
		OnError: func(r *http.Request, err error) {
			n.log.Error("request could not be limited", zap.String("path", r.URL.Path), zap.Error(err))
		},
	})
	if err != nil {
		return err
	}
	n.auth = auth.New(n.store, auth.Config{
		Dev: c.Dev, CookieName: c.SessionCookie, SessionTTL: c.SessionTTL, AllowedOrigins: c.AllowedOrigins,
		Failed: func(doing string, err error) {
			n.log.Warn("request could not be served", zap.String("doing", doing), zap.Error(err))
		},
	})
	metrics := gateway.NewMetrics()
	r := &rooms{} // the features' rooms are the gateway, which is made of the features
	locks := lock.New([]redis.UniversalClient{n.rdb}, lock.Config{})
	trades := trade.New(n.rdb, locker{locks}, characters{n.store, c.Dev}, r, trade.Config{
		Missed: func(_ context.Context, err error) { n.log.Error("trade could not be told", zap.Error(err)) },
	})
	if err := trades.Check(); err != nil {
		return usageError{err}
	}
	fights := combat.New(n.rdb, r, combat.Config{
		Report: func(err error) { n.log.Error("fight could not be told", zap.Error(err)) },
	})
	routes := chat.New(r, chat.Config{}).Routes()
	routes = append(routes, fights.Routes()...)
	routes = append(routes, trades.Routes()...)
	n.gateway = gateway.New(gateway.Config{
		Auth: authenticator{n.auth}, Tracker: tracker{n.tracker}, Sessions: sessionChanges{n.store}, Limiter: limiter{n.limits},
		Routes: routes, Node: n.name, Timeout: c.HandlerTimeout, Log: n.log, Metrics: metrics,
		Socket: socketio.Config{
			Inbound: c.InboundQueue, Attachments: c.MaxAttachments, Depth: c.MaxDepth, MaxRooms: c.MaxRooms,
			Engine: engineio.Config{
				PingInterval: c.PingInterval, PingTimeout: c.PingTimeout, ConnectTimeout: c.ConnectTimeout,
				UpgradeTimeout: c.UpgradeTimeout, BodyTimeout: c.BodyTimeout, MaxPayload: c.MaxPayload, MaxPackets: c.MaxPackets,
				OutboundQueue: c.OutboundQueue, MaxConns: c.MaxConnections, MaxConnsPerAddr: c.MaxConnectionsAddr,
				HandshakesPerSecond: c.HandshakesPerSecond, Compression: c.Compression,
				Header: auth.HandshakeHeader, Admit: n.admit,
			},
		},
	})
	r.Gateway = n.gateway
	for _, x := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), metrics, n.tracker, n.limits} {
		if err := n.registry.Register(x); err != nil {
			return err
		}
	}
	return errors.Join(redisconn.Metrics(n.registry, n.rdb), n.monitor.Metrics(n.registry))
}

// admit turns handshakes away, before a sid exists, while Redis is known to be unreachable.
func (n *node) admit(*http.Request) *engineio.Refusal {
	switch n.monitor.State() {
	case redisconn.Down, redisconn.ReadOnly:
		return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Temporarily unavailable", RetryAfter: 2 * time.Second}
	}
	return nil
}

// redisChanged tells the log and the players what Redis can not do for them now.
func (n *node) redisChanged(from, to redisconn.State, why string) {
	n.log.Warn("redis changed", zap.Stringer("from", from), zap.Stringer("to", to), zap.String("why", why))
	away := func(s redisconn.State) bool { return s == redisconn.Down || s == redisconn.ReadOnly }
	if away(from) == away(to) {
		return
	}
	features := map[string]string{"session": "ok", "limits": "ok", "chat": "ok", "combat": "ok", "trade": "ok"}
	if away(to) {
		features = map[string]string{"session": "stale", "limits": "local", "chat": "local", "combat": "paused", "trade": "paused"}
	}
	if err := n.gateway.Status(features); err != nil {
		n.log.Error("status could not be told", zap.Error(err))
	}
}

// serve runs everything until ctx ends or something fails, then stops in the right order:
// clients first, Redis last.
func (n *node) serve(ctx context.Context, public, admin net.Listener) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	players := &http.Server{Handler: n.publicRoutes(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	operators := &http.Server{Handler: n.adminRoutes(), ReadHeaderTimeout: 10 * time.Second}

	var g group.Group
	addLoop := func(loop func(context.Context) error) {
		g.Add(func() error { return loop(background) }, func(error) {})
	}
	addLoop(n.monitor.Run)
	addLoop(n.tracker.Run)
	if n.embedded != nil {
		g.Add(func() error {
			select {
			case <-n.embedded.Done():
				return fmt.Errorf("embedded Redis ended: %w", errors.Join(n.embedded.Err(), redisconn.ErrUnreachable))
			case <-background.Done():
				return nil
			}
		}, func(error) {})
	}
	if admin != nil {
		g.Add(func() error { return served(operators.Serve(admin)) }, func(error) { _ = operators.Close() })
	}
	g.Add(func() error { return served(players.Serve(public)) }, func(error) {})
	waiting, stopWaiting := context.WithCancel(ctx)
	g.Add(func() error {
		<-waiting.Done()
		return nil
	}, func(error) {
		stopWaiting()
		n.drain()
		down, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if players.Shutdown(down) != nil {
			_ = players.Close()
		}
		n.gateway.Close()
		stopBackground() // the tracker flushes its touches
	})
	err := g.Run()
	n.log.Info("stopped", zap.Error(err))
	return err
}

// drain tells clients to come back elsewhere, over --drain-for.
func (n *node) drain() {
	n.log.Info("draining", zap.Int("connections", n.gateway.Connections()), zap.Duration("for", n.cfg.DrainFor))
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainFor+2*time.Second)
	defer cancel()
	n.gateway.Drain(ctx, n.cfg.DrainFor)
}

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
