// Package server runs one node of the gateway: everything that `gateway serve` serves, and the
// features of the caller beside it.
//
//	err := server.Run(ctx, server.Config{
//		RedisURL: "redis://redis:6379",
//		Features: []server.Feature{&dice.Feature{}},
//	})
//
// Nodes that share a Redis are one cluster. A node is made from the bottom to the top: Redis, the
// sessions, limits, locks and the cache over it, the logins, the features, and the gateway that is
// made of the features' events. It is taken down from the outside in: new connections are refused
// first, then the players are sent elsewhere, then the features end, and Redis is closed last.
//
// examples/feature is a program with a feature of another module.
package server

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/adminui"
	"github.com/aeturnis/realtime/internal/apikeys"
	"github.com/aeturnis/realtime/internal/backend"
	"github.com/aeturnis/realtime/internal/logbuffer"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/sdnotify"
	"github.com/aeturnis/realtime/internal/serverapi"
	"github.com/aeturnis/realtime/internal/signedpost"
	"github.com/aeturnis/realtime/internal/tracing"
	"github.com/aeturnis/realtime/internal/tracing/otlp"
	"github.com/aeturnis/realtime/internal/webhooks"
	"github.com/aeturnis/realtime/redisconn"
)

// node is one running gateway. Each of its parts closes what it opened.
type node struct {
	cfg      Config
	name     string
	log      *zap.Logger
	registry *prometheus.Registry

	unreadable   *unreadableEntries // what the features leave out
	warnings     *warnings          // dangerous settings that are in force
	outage       *outage            // tells the log that Redis is away, and that it is back
	redisFigures redisFigures       // what Redis says of itself, as metrics
	promises     *redisPromises     // what Redis keeps of what it is told
	descriptors  descriptorBudget   // of what the process may have open

	redis    *redisServices // Redis, and the libraries over it
	logins   *logins        // which handshakes and logins are admitted
	profiles *profileReader // users and characters
	features *features      // what players can do
	status   *statusBoard   // tells players which features work
	gateway  *gateway.Gateway
	once     *once.Keeper // records of events that are done once
	adminUI  *adminui.UI  // nil where operators have none

	traces *otlp.Exporter  // nil without Config.OTLPEndpoint
	tracer *tracing.Tracer // the same

	backends *backend.Service // programs of the game that serve events

	tls tlsFiles // plain addresses without Config.TLSCert

	apiListener net.Listener       // of the server API; nil serves none
	apiKeys     *apikeys.Ring      // nil without apiListener
	api         *serverapi.Service // nil without apiListener

	outbox             *webhooks.Outbox      // nil without Config.WebhookURL
	webhooks           *webhooks.Dispatcher  // the same
	webhookConnections *webhooks.Connections // nil where connections are not told
	webhookSecrets     *signedpost.Secrets   // nil without Config.WebhookURL
	webhookClient      *signedpost.Client    // the same

	startedAt  time.Time
	isServing  atomic.Bool     // the gateway is made
	hangups    chan os.Signal  // SIGHUP, where that is handled
	settingsMu sync.Mutex      // held while configured changes
	configured Config          // as it was configured last: cfg before what this machine allows, and what followed a SIGHUP
	logLevel   zap.AtomicLevel // Config.LogLevel
	drainFor   atomic.Int64    // Config.DrainFor
	background context.Context //nolint:containedctx // of what serves until the players have left; set by serve
	drains     drains          // that operators ordered
}

// Run serves until ctx ends, then drains and returns. It returns an ErrConfig when cfg can not be
// served, and redisconn.ErrUnreachable when Redis can not be reached at the start, within
// Config.RedisWait. From Run on, the process survives SIGPIPE: a standard error that nobody reads
// any more ends no server.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.WithDefaults()
	if err := cfg.check(); err != nil {
		return err
	}
	passed, err := namePassedSockets(cfg.Listeners)
	if err != nil {
		return err
	}
	defer passed.close()
	public, err := passed.listenOn("addr", cfg.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = public.Close() }()
	var admin net.Listener
	if cfg.AdminAddr != "" {
		if admin, err = passed.listenOn("admin-addr", cfg.AdminAddr); err != nil {
			return err
		}
		defer func() { _ = admin.Close() }()
	}

	var api net.Listener
	if cfg.APIAddr != "" {
		if api, err = passed.listenOn("api-addr", cfg.APIAddr); err != nil {
			return err
		}
		defer func() { _ = api.Close() }()
	}

	_, port, _ := net.SplitHostPort(public.Addr().String())
	n := newNode(cfg, cfg.nodeName(port))
	n.apiListener = api
	defer n.openLog()()
	defer n.watchLife()()
	defer n.catchHangups()()
	redisconn.SetLogger(n.log)
	n.unreadable = newUnreadableEntries(n.log)
	n.warnings = newWarnings(n.log)
	n.registry.MustRegister(n.unreadable.counter, n.warnings.inForce)
	n.boundByDescriptors()
	if err := n.openTLS(); err != nil {
		return err
	}
	n.warnOfSettings(public, admin)
	closeTraces, err := n.openTraces()
	if err != nil {
		return err
	}
	defer closeTraces()
	n.warnings.set(apiIsPublic, api != nil && !isLoopback(api) && n.tls.certificates == nil)

	if err := n.redis.open(ctx, &n.cfg); err != nil {
		return err
	}
	defer n.redis.close()
	n.notifyManager(sdnotify.Ready, sdnotify.Status("waits for Redis"))
	if err := n.waitForRedis(ctx, public, admin); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	defer n.closeServices()
	if err := n.armCrashHook(); err != nil {
		return err
	}
	if err := n.wire(); err != nil {
		return err
	}
	n.redis.monitor.Probe(ctx) // so that the first answer of /health/ready is true
	n.redis.lockServers.probe(ctx)
	n.judgePromises(ctx, false)
	n.measureRedis(ctx)
	n.publishLimits(ctx)
	n.logRecovery()
	if cfg.Out != nil {
		banner := logbuffer.New(cfg.Out, logbuffer.Config{}) // which nobody may read either
		defer banner.Close()
		n.printBanner(banner, public.Addr(), admin)
	}
	n.announceStart(ctx)
	n.isServing.Store(true)
	n.notifyManager(sdnotify.Status("serves players"))
	return n.serve(ctx, public, admin)
}

// newNode returns a node that knows its configuration and nothing else.
func newNode(cfg Config, name string) *node {
	n := &node{
		cfg: cfg, name: name, startedAt: time.Now(), log: zap.NewNop(), registry: prometheus.NewRegistry(), unreadable: newUnreadableEntries(zap.NewNop()),
		warnings: newWarnings(zap.NewNop()), promises: newRedisPromises(), redisFigures: newRedisFigures(),
		redis: &redisServices{}, features: &features{},
	}
	n.outage = &outage{log: n.log, held: n.log, lines: &outageLines{isVerbose: func() bool { return false }}}
	n.configured, n.logLevel = cfg, zap.NewAtomicLevel()
	_ = n.logLevel.UnmarshalText([]byte(cfg.LogLevel)) // else it is info
	n.drainFor.Store(int64(cfg.DrainFor))
	n.redis.moves = redisconn.NewMoveMonitor(redisconn.MoveConfig{OnChange: n.redisServerChanged, OnUnsettled: n.redisUnsettled})
	return n
}
