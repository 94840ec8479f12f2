package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/aeturnis/realtime/cache"
	"github.com/aeturnis/realtime/internal/redisdial"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/jobs"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// redisServices are the one client of Redis, and the libraries that use it.
type redisServices struct {
	embedded *redisconn.Server // nil where a URL was given
	client   redis.UniversalClient
	monitor  *redisconn.Monitor
	moves    *redisconn.MoveMonitor
	checks   singleflight.Group // of the health of Redis

	sessions      *sessions.Store
	sessionTotals *sessionTotals
	tracker       *sessions.Tracker
	limiter       *throttle.Limiter
	locks         *lock.Manager
	lockClients   []redis.UniversalClient // of LockRedisURLs
	lockServers   lockServers             // the same
	cache         *cache.Manager
	cacheBreaker  *redisconn.Breaker
	jobs          *jobs.Runner
}

// open makes the client of the Redis of the configuration, or starts the embedded one.
func (r *redisServices) open(ctx context.Context, cfg *Config) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	url, clientConfig := cfg.RedisURL, redisconn.Config{Name: "gateway", PoolSize: 64}
	if url != "" {
		clientConfig.Moves = r.moves
	} else {
		server, err := redisconn.Embedded(ctx, redisconn.EmbeddedConfig{})
		if err != nil {
			return fmt.Errorf("embedded Redis: %w", err)
		}
		r.embedded, url = server, server.URL()
	}
	client, err := cfg.redisTarget(url).New(clientConfig)
	if err != nil {
		r.close()
		return err
	}
	r.client = client
	return nil
}

// close ends the client, and the embedded server.
func (r *redisServices) close() {
	if r.client != nil {
		_ = r.client.Close()
	}
	if r.embedded != nil {
		_ = r.embedded.Close()
	}
}

// makeLibraries makes what stands directly over Redis.
func (n *node) makeLibraries() (err error) {
	r, c := n.redis, &n.cfg
	if err := n.makeOutbox(); err != nil {
		return err
	}
	r.makeCache(c, n.log)
	monitor := redisconn.MonitorConfig{OnChange: n.redisChanged}
	if r.embedded == nil { // our own server allows everything
		monitor.Rights = n.neededRights()
	}
	r.monitor = redisconn.NewMonitor(r.client, monitor)
	r.sessions = sessions.New(r.client, sessions.Config{TTL: c.SessionTTL, AbsoluteTTL: c.SessionAbsoluteTTL, AnnounceLua: n.outbox.SessionLua()})
	r.sessionTotals = &sessionTotals{count: r.sessions.Stats}
	r.tracker = sessions.NewTracker(r.sessions, sessions.TrackerConfig{SubscriptionRefused: func(err error) {
		n.log.Warn("revocations are only read from their log: Redis refuses the subscription", zap.Error(err))
	}})
	if r.limiter, err = throttle.New(r.client, c.Policies, n.limiterConfig()); err != nil {
		return usage.Wrap(err)
	}
	return r.makeLocks(c, n.name, n.log)
}

// makeLocks makes the locks: on the one Redis, or on the majority of LockRedisURLs.
func (r *redisServices) makeLocks(c *Config, node string, log *zap.Logger) (err error) {
	clients := []redis.UniversalClient{r.client}
	if len(c.LockRedisURLs) > 0 {
		if r.lockClients, err = c.redisTarget(c.RedisURL).LockServers(c.LockRedisURLs, redisconn.Config{Name: "gateway-locks", PoolSize: 16}); err != nil {
			return err
		}
		clients = r.lockClients
		r.lockServers = watchLockServers(c.LockRedisURLs, clients, log)
	}
	r.locks = lock.New(lock.Config{Node: node, SubscriptionFailed: func(err error) {
		log.Warn("releases of locks on other nodes are not heard: waiting callers ask Redis more often", zap.Error(err))
	}}, clients...)
	return nil
}

// makeCache puts the cache behind a breaker of its own: while Redis is away, values are loaded from
// their source without waiting for Redis.
//
// Trades have no breaker. It would not turn an unknown outcome into a refusal, because UNAVAILABLE
// says that the outcome is open. But it would cut off what follows a decision (the escrow, the
// ledger, the notice), which then waits for the sweeper; its budget would end a wait for a replica
// or the disk; and on a Cluster its client has none of our hooks. Fights have none either: the
// first command that times out ends the request, as with trades.
func (r *redisServices) makeCache(c *Config, log *zap.Logger) {
	r.cacheBreaker = redisconn.NewBreaker(r.client, "cache", redisconn.BreakerConfig{
		Budget: 300 * time.Millisecond,
		OnChange: func(feature, state string) {
			log.Warn("breaker changed", zap.String("feature", feature), zap.String("state", state))
		},
	})
	r.cache = cache.New(r.cacheBreaker.Client(), cache.Config{
		TTL:   c.CacheTTL,
		Local: cache.Local{Off: c.CacheLocalBytes < 0, Bytes: uint64(max(0, c.CacheLocalBytes))},
		OnError: func(doing string, err error) {
			log.Warn("cache failed", zap.String("doing", doing), zap.Error(err))
		},
	})
}

// closeLibraries waits for what the libraries still do with Redis.
func (r *redisServices) closeLibraries() {
	if r.limiter != nil {
		r.limiter.Close()
	}
	if r.locks != nil {
		r.locks.Close()
	}
	redisdial.CloseAll(r.lockClients)
}

// closeCache waits for loads that are under way.
func (r *redisServices) closeCache() {
	if r.cache != nil {
		r.cache.Close()
		_ = r.cacheBreaker.Close() // nothing was sent
	}
}

// registerMetrics puts the metrics of Redis and of the libraries into the registry.
func (r *redisServices) registerMetrics(registry *prometheus.Registry) error {
	return errors.Join(
		registry.Register(r.jobs), registry.Register(r.tracker), registry.Register(r.limiter), registry.Register(r.locks),
		redisconn.Metrics(registry, r.client), r.monitor.Metrics(registry), r.moves.Metrics(registry),
		registry.Register(r.cache), r.cacheBreaker.Metrics(registry), r.lockServers.registerMetrics(registry),
	)
}

// checkHealth checks the health of Redis, and returns the HTTP status for a load balancer. It takes
// at most a second, whatever Redis does. Requests that come at the same time share one check.
func (r *redisServices) checkHealth() (redisconn.Health, int) {
	v, _, _ := r.checks.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 800*time.Millisecond)
		defer cancel()
		return redisconn.Check(ctx, r.client), nil
	})
	h := v.(redisconn.Health)
	switch {
	case h.Status == redisconn.StatusDown:
		return h, http.StatusServiceUnavailable
	case r.monitor.State() == redisconn.Forbidden:
		h.Status, h.Error = redisconn.StatusDegraded, r.monitor.MissingRights().Public()
		return h, http.StatusServiceUnavailable
	}
	return h, http.StatusOK
}

// serverKind returns "configured", or what the embedded Redis is.
func (r *redisServices) serverKind() string {
	if r.embedded == nil {
		return "configured"
	}
	return "embedded " + r.embedded.Kind()
}

// watchEmbedded returns when the embedded Redis ends: nothing is left to serve with.
func (r *redisServices) watchEmbedded(ctx context.Context) error {
	select {
	case <-r.embedded.Done():
		return fmt.Errorf("embedded Redis ended: %w: %w", redisconn.ErrUnreachable, r.embedded.Err())
	case <-ctx.Done():
		return nil
	}
}

// takesNoWrites reports whether Redis is down or read-only, or does not give our user a right that
// the gateway needs. Then new connections are refused, and fights and trades pause.
func takesNoWrites(s redisconn.State) bool {
	return s == redisconn.Down || s == redisconn.ReadOnly || s == redisconn.Forbidden
}

// redisChanged notes a change of Redis's state, and tells the players which features work now.
func (n *node) redisChanged(from, to redisconn.State, why string) {
	n.outage.observe(from, to, why)
	n.status.sendChanges(to, n.redis.limiter.Degraded)
}
