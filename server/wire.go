package server

import (
	"errors"
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/housekeeping"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/jobs"
)

// wire makes every part of the node, from the bottom to the top. Nothing runs yet.
func (n *node) wire() (err error) {
	c, r := &n.cfg, n.redis
	if err := n.makeLibraries(); err != nil {
		return err
	}
	if err := n.makeWebhooks(); err != nil {
		return err
	}
	n.traceRedis(append(r.lockClients, r.client)...)
	if n.logins, err = newLogins(c, r, n.log, n.warnings); err != nil {
		return err
	}
	source, err := c.newProfileSource()
	if err != nil {
		return err
	}
	n.profiles = &profileReader{source: source, cache: r.cache, ttl: c.CacheTTL}

	rooms := &gatewayRooms{} // the features need it before the gateway, which needs their events
	all, err := n.makeFeatures(rooms)
	if err != nil {
		return err
	}
	if n.backends, err = n.makeBackends(rooms, all); err != nil {
		return err
	}
	routes, casts := eventTables(append(all, n.backends))
	if err := event.CheckTables(routes, casts); err != nil {
		return usage.Wrap(err)
	}
	if err := checkEventNames(routes, casts); err != nil {
		return err
	}
	if err := attachPolicies(routes, c.PolicyEvents); err != nil {
		return err
	}

	if n.adminUI, err = n.newAdminUI(rooms); err != nil {
		return err
	}
	metrics := gateway.NewMetrics()
	n.once = once.New(r.client, once.Config{Timeout: c.HandlerTimeout, Report: n.onceFailed})
	var judge gateway.ConnectJudge
	if n.backends.Judges() {
		judge = n.backends
	}
	n.gateway = gateway.New(gateway.Config{
		ConnectJudge: judge, JoinChannel: n.joinChannel,
		Auth: authenticator{n.logins.auth, n.logins.devices, n.logins.connections}, Tracker: tracker{r.tracker}, Sessions: sessionChanges{r.sessions}, Limiter: limiter{r.limiter},
		Observer: n.features.observers(n.webhookConnections), Rooms: chatRooms{n.features.chat}, ConnectPolicy: "connect", MistakePolicy: "errors", CloseAfter: c.LimitCloseAfter, MaxPerUser: max(0, c.MaxConnectionsPerUser),
		Characters: n.characterOwners(), Routes: routes, Casts: casts, Namespaces: n.features.namespaces(), Once: n.once, Socket: n.socketConfig(), Node: n.name, Timeout: c.HandlerTimeout, Log: n.log, Metrics: metrics, Tracer: n.tracer,
	})
	rooms.Gateway = n.gateway
	n.features.bindNamespaces(n.gateway)
	n.outage.source = outageSource{
		figures: n.outageFigures, touches: func() int { return n.redis.tracker.Stats().Pending },
		durability: func() string { return string(n.promises.durability().Durability) },
	}
	n.status = newStatusBoard(n.gateway.SendStatus, n.log)
	r.jobs = jobs.New(r.client, housekeeping.Leases{Manager: r.locks}, jobs.Config{Node: n.name, Failed: n.logJobFailure},
		housekeeping.Jobs(r.client, r.locks, r.sessions, r.cache, n.features.leaderboard)...)
	return errors.Join(n.registerMetrics(metrics), n.makeServerAPI())
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

// socketConfig returns the settings of the wire.
func (n *node) socketConfig() socketio.Config {
	c := &n.cfg
	return socketio.Config{
		Inbound: c.InboundQueue, Attachments: c.MaxAttachments, Depth: c.MaxDepth, MaxRooms: c.MaxRooms, Cluster: n.clusterConfig(),
		LocalNamespaces: n.adminNamespace(),
		Engine: engineio.Config{
			PingInterval: c.PingInterval, PingTimeout: c.PingTimeout, ConnectTimeout: c.ConnectTimeout,
			UpgradeTimeout: c.UpgradeTimeout, BodyTimeout: c.BodyTimeout, MaxPayload: c.MaxPayload, MaxPackets: c.MaxPackets,
			OutboundQueue: c.OutboundQueue, MaxConns: c.MaxConnections, MaxConnsPerAddr: c.MaxConnectionsPerAddress,
			HandshakesPerSecond: c.HandshakesPerSecond, Compression: c.Compression,
			ClientAddr: n.logins.callers.proxies.Addr, Header: n.logins.auth.HandshakeHeader, Admit: n.logins.admitHandshake,
		},
	}
}

// registerMetrics puts the metrics of all that was wired where /metrics finds them.
func (n *node) registerMetrics(metrics prometheus.Collector) error {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gateway_node_info", Help: "1, with this node's name.", ConstLabels: prometheus.Labels{"node": n.name},
	})
	info.Set(1)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gateway_build_info", Help: "1, with the version and the commit of this build, and the Go that built it.",
		ConstLabels: prometheus.Labels{"version": version.String(), "commit": version.Commit(), "go": runtime.Version()},
	})
	build.Set(1)
	queued := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_outbound_queued_bytes", Help: "Bytes that wait for all clients of this node.",
	}, func() float64 { return float64(n.gateway.QueuedBytes()) })
	historyWaits := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_chat_unwritten_bytes", Help: "Bytes of messages that wait to be written to the history; where casts are logged, gateway_log_unconfirmed_bytes has them.",
	}, func() float64 { return float64(n.features.chat.HistoryStats().WaitingBytes) })
	unwritten := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "gateway_chat_unwritten_total", Help: "Messages that may be missing in the history, because Redis did not take them.",
	}, func() float64 { return float64(n.features.chat.HistoryStats().Unwritten) })
	return errors.Join(
		n.registry.Register(historyWaits), n.registry.Register(unwritten), n.registry.Register(build), n.registry.Register(queued), n.registry.Register(n.redisFigures.clockOffset), n.registry.Register(n.redisFigures.tradeBacklog),
		n.registry.Register(metrics), n.registry.Register(info), n.registry.Register(collectors.NewGoCollector()),
		n.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
		n.registry.Register(n.logins.callers.unknownAddrs), n.registry.Register(n.logins.callers.foreignPages), n.registry.Register(n.backends.Metrics()),
		n.redis.registerMetrics(n.registry),
	)
}

// closeServices waits for what the parts still do with Redis, from the top to the bottom.
func (n *node) closeServices() {
	n.features.close()
	if n.backends != nil {
		n.backends.Close()
	}
	if n.once != nil {
		n.once.Close()
	}
	n.redis.closeCache()
	n.redis.closeLibraries()
}

func (n *node) onceFailed(err error) {
	n.log.Warn("answers could not be recorded", zap.Error(err))
}

func (n *node) logJobFailure(job string, err error) {
	n.log.Warn("job failed", zap.String("job", job), zap.Error(err))
}
