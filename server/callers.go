package server

import (
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/auth"
)

// callers says where requests come from, and tells the operator what it can not judge as a player
// would expect: addresses that are a proxy's, and pages of origins that are not allowed.
type callers struct {
	proxies       auth.Proxies
	log           *zap.Logger
	warnings      *warnings
	unknownAddrs  *prometheus.CounterVec
	foreignPages  *prometheus.CounterVec
	toldByProblem sync.Map // the reason of an auth.ForwardProblem → *sync.Once
}

func newCallers(proxies auth.Proxies, log *zap.Logger, warnings *warnings) *callers {
	return &callers{
		proxies: proxies, log: log, warnings: warnings,
		unknownAddrs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_client_addresses_unknown_total",
			Help: "Handshakes, logins and requests of /api whose address may be that of a proxy: its X-Forwarded-For is unreadable, missing, or sent by an untrusted one.",
		}, []string{"reason"}),
		foreignPages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_origins_not_allowed_total",
			Help: "Handshakes, and questions of browsers before a request (preflights), of pages whose origin is not allowed.",
		}, []string{"transport"}),
	}
}

// addressOf returns the client's address, and counts that it may be a proxy's. The first of each
// kind is logged. It is called once for a request; proxies.Addr counts nothing.
func (c *callers) addressOf(r *http.Request) string {
	if problem := c.proxies.Problem(r); problem != nil {
		c.unknownAddrs.WithLabelValues(problem.Reason).Inc()
		once, _ := c.toldByProblem.LoadOrStore(problem.Reason, new(sync.Once))
		once.(*sync.Once).Do(func() { c.logProblem(problem) })
	}
	return c.proxies.Addr(r)
}

func (c *callers) logProblem(problem *auth.ForwardProblem) {
	switch peer := zap.String("peer", problem.Peer); problem.Reason {
	case auth.UnreadableEntry:
		c.log.Warn("a trusted proxy sends an X-Forwarded-For whose entry is no address: the entry before it counts, or else all its players share the proxy's address",
			peer, zap.String("entry", problem.Entry))
	case auth.NoEntry:
		c.log.Info("a trusted proxy sends no X-Forwarded-For: its players share its address", peer)
	default:
		c.warnings.set(untrustedProxy, true, peer)
	}
}

// noteForeignPage logs and counts a request of a page whose origin is not allowed. transport is
// that of a handshake, or "http".
func (c *callers) noteForeignPage(r *http.Request, origin, transport string) {
	c.foreignPages.WithLabelValues(transport).Inc()
	c.log.Info("origin not allowed", zap.String("origin", origin), zap.String("host", strings.Join(c.proxies.Hosts(r), ", ")),
		zap.String("transport", transport), zap.String("path", cutPath(r.URL.Path)), zap.String("addr", c.proxies.Addr(r)))
}

// cutPath bounds what a log line quotes of a request's path.
func cutPath(path string) string {
	return strings.ToValidUTF8(path[:min(len(path), 100)], "?")
}

// transportOf returns the transport that a handshake asks for: polling, websocket or "http".
func transportOf(r *http.Request) string {
	switch transport := r.URL.Query().Get("transport"); transport {
	case "polling", "websocket":
		return transport
	}
	return "http"
}
