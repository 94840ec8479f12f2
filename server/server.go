// Package server runs one node of the gateway: everything that `gateway serve` serves, and the
// features of the caller beside it.
package server

import (
	"context"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/jobs"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/presence"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// node is one running gateway: everything that serve wires together.
type node struct {
	cfg      Config
	told     told
	name     string
	log      *zap.Logger
	registry *prometheus.Registry

	embedded *redisconn.Server // nil where --redis was given
	rdb      redis.UniversalClient
	monitor  *redisconn.Monitor
	health   singleflight.Group // of checks of Redis

	store   *sessions.Store
	tracker *sessions.Tracker
	devices *sessions.Devices
	limits  *throttle.Limiter
	auth    *auth.Service
	addr    func(*http.Request) string // the client's, behind trusted proxies
	locks   *lock.Manager
	tradingParts
	talk    *chat.Service
	present *presence.Service
	people  profileSource
	roster  *combat.Roster
	fights  *combat.Service
	boards  *leaderboard.Service
	chores  *jobs.Runner

	cache        *cache.Manager
	cacheBreaker *redisconn.Breaker
	gateway      *gateway.Gateway
}

// Run serves until ctx ends, then drains and returns. It returns an ErrConfig when cfg can not be
// served, and redisconn.ErrUnreachable when Redis can not be reached at the start.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.WithDefaults()
	if err := cfg.check(); err != nil {
		return err
	}
	public, err := listen("addr", cfg.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = public.Close() }()
	var admin net.Listener
	if cfg.AdminAddr != "" {
		if admin, err = listen("admin-addr", cfg.AdminAddr); err != nil {
			return err
		}
		defer func() { _ = admin.Close() }()
	}

	_, port, _ := net.SplitHostPort(public.Addr().String())
	n := &node{cfg: cfg, name: cfg.nodeName(port), registry: prometheus.NewRegistry()}
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "log_lines_dropped_total", Help: "Log lines that a flood of their kind left out."})
	n.registry.MustRegister(dropped)
	n.log = newLog(cfg.LogTo, cfg.LogLevel, cfg.LogFormat, dropped.Inc).With(zap.String("node", n.name))
	defer func() { _ = n.log.Sync() }()
	redisconn.SetLogger(n.log)

	if err := n.openRedis(ctx); err != nil {
		return err
	}
	defer n.closeRedis()
	defer n.closeServices()
	if err := n.armCrashHook(); err != nil {
		return err
	}
	if err := n.wire(); err != nil {
		return err
	}
	n.publishLimits(ctx)
	if cfg.Out != nil {
		banner(cfg.Out, n, public.Addr(), admin)
	}
	return n.serve(ctx, public, admin)
}

func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, usage.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}
