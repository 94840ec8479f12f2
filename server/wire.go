package server

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/presence"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// wire makes every service, from the bottom to the top. Nothing runs yet.
func (n *node) wire() (err error) {
	c := &n.cfg

	if n.people, err = c.profileSource(); err != nil {
		return err
	}
	n.makeCache()

	// Who is there, and how much they may do.
	n.monitor = redisconn.NewMonitor(n.rdb, redisconn.MonitorConfig{OnChange: n.redisChanged})
	n.store = sessions.New(n.rdb, sessions.Config{TTL: c.SessionTTL, AbsoluteTTL: c.SessionAbsoluteTTL})
	n.tracker = sessions.NewTracker(n.store, sessions.TrackerConfig{})
	n.limits, err = throttle.New(n.rdb, c.Policies, n.throttling())
	if err != nil {
		return usage.Wrap(err)
	}
	if err := n.openLogins(); err != nil {
		return err
	}
	if err := n.locking(); err != nil {
		return err
	}

	// The features. Their rooms are the gateway, which is made of their routes.
	r := &rooms{}
	n.present = presence.New(n.rdb, channels{r}, presence.Config{Usernames: n.usernames, Report: n.presenceUntold})
	n.talk = n.chat(r)
	trades, err := n.trading(r)
	if err != nil {
		return err
	}
	n.boards = leaderboard.New(n.rdb, leaderboard.Config{})
	n.fights = n.combat(r, trades, n.boards)
	routes, casts := tables(n.talk, n.present, n.fights, trades, n.boards)
	added, err := n.startFeatures(r)
	if err != nil {
		return err
	}
	addedRoutes, addedCasts := tables(added...)
	routes, casts = append(routes, addedRoutes...), append(casts, addedCasts...)
	if err := attachPolicies(routes, c.PolicyEvents); err != nil {
		return err
	}

	n.makeJobs()

	metrics := gateway.NewMetrics()
	n.gateway = gateway.New(gateway.Config{
		Auth: authenticator{n.auth, n.devices}, Tracker: tracker{n.tracker}, Sessions: sessionChanges{n.store}, Limiter: limiter{n.limits},
		Observer:      connectionObservers{n.present, n.roster, n.returns},
		MistakePolicy: "errors", CloseAfter: c.LimitCloseAfter,
		Characters: n.characterOwners(), Routes: routes, Casts: casts, Socket: n.socket(), Node: n.name, Timeout: c.HandlerTimeout, Log: n.log, Metrics: metrics,
	})
	r.Gateway = n.gateway
	return n.register(metrics, n.chores, n.tracker, n.limits, n.locks)
}

func tables(features ...Feature) (routes []event.Route, casts []event.Cast) {
	for _, f := range features {
		routes = append(routes, f.Routes()...)
		casts = append(casts, f.Casts()...)
	}
	return routes, casts
}

// startFeatures gives the features of the configuration what they need.
func (n *node) startFeatures(r Rooms) ([]Feature, error) {
	services := Services{Redis: n.rdb, Rooms: r, Locks: n.locks, Cache: n.cache, Sessions: n.store, Node: n.name, Log: n.log}
	for _, f := range n.cfg.Features {
		if starter, ok := f.(Starter); ok {
			if err := starter.Start(services); err != nil {
				return nil, err
			}
		}
		if metrics, ok := f.(prometheus.Collector); ok {
			if err := n.registry.Register(metrics); err != nil {
				return nil, err
			}
		}
	}
	return n.cfg.Features, nil
}

// attachPolicies makes events spend the policies that the configuration adds to their routes' own.
func attachPolicies(routes []event.Route, eventsOf map[string][]string) error {
	for policy, events := range eventsOf {
		for _, e := range events {
			i := slices.IndexFunc(routes, func(r event.Route) bool { return r.Name == e })
			if i < 0 {
				return usage.Errorf("--config: policies: %s: there is no event %q", policy, e)
			}
			routes[i] = routes[i].Limit(policy)
		}
	}
	return nil
}

// socket is the wire's settings.
func (n *node) socket() socketio.Config {
	c := &n.cfg
	return socketio.Config{
		Inbound: c.InboundQueue, Attachments: c.MaxAttachments, Depth: c.MaxDepth, MaxRooms: c.MaxRooms, Cluster: n.cluster(),
		Engine: engineio.Config{
			PingInterval: c.PingInterval, PingTimeout: c.PingTimeout, ConnectTimeout: c.ConnectTimeout,
			UpgradeTimeout: c.UpgradeTimeout, BodyTimeout: c.BodyTimeout, MaxPayload: c.MaxPayload, MaxPackets: c.MaxPackets,
			OutboundQueue: c.OutboundQueue, MaxConns: c.MaxConnections, MaxConnsPerAddr: c.MaxConnectionsPerAddress,
			HandshakesPerSecond: c.HandshakesPerSecond, Compression: c.Compression,
			ClientAddr: n.addr, Header: auth.HandshakeHeader, Admit: n.admit,
		},
	}
}

// register puts the metrics of all that was wired where /metrics finds them.
func (n *node) register(services ...prometheus.Collector) error {
	process := collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	this := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gateway_node_info", Help: "1, with this node's name.", ConstLabels: prometheus.Labels{"node": n.name},
	})
	this.Set(1)
	for _, x := range append(services, collectors.NewGoCollector(), process, this) {
		if err := n.registry.Register(x); err != nil {
			return err
		}
	}
	return errors.Join(redisconn.Metrics(n.registry, n.rdb), n.monitor.Metrics(n.registry), n.cacheMetrics())
}

// closeServices waits for what services still do with Redis.
func (n *node) closeServices() {
	for _, f := range n.cfg.Features {
		if closer, ok := f.(Closer); ok {
			closer.Close()
		}
	}
	n.closeCache()
	if n.talk != nil {
		n.talk.Close()
	}
	if n.limits != nil {
		n.limits.Close()
	}
	n.closeLocks()
}

// admit turns handshakes away, before a sid exists, while Redis is known to be unreachable,
// and those of an address that come too often.
func (n *node) admit(r *http.Request) *engineio.Refusal {
	if away(n.monitor.State()) {
		return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Temporarily unavailable", RetryAfter: 2 * time.Second}
	}
	return n.connects(r)
}

// away tells that Redis takes no writes: nobody new may come in, and fights and trades pause.
func away(s redisconn.State) bool { return s == redisconn.Down || s == redisconn.ReadOnly }

// What services tell the log, because they have nobody to return it to.

// redisChanged tells the players too what Redis can not do for them now.
func (n *node) redisChanged(from, to redisconn.State, why string) {
	n.log.Warn("redis changed", zap.Stringer("from", from), zap.Stringer("to", to), zap.String("why", why))
	n.tellStatus(to)
}

func (n *node) authFailed(doing string, err error) {
	n.log.Warn("request could not be served", zap.String("doing", doing), zap.Error(err))
}

func (n *node) fightUntold(err error) { n.log.Error("fight could not be told", zap.Error(err)) }
