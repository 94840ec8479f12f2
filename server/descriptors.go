package server

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
)

// A process may have so many files open, and each connection is one. When none is left, nothing can
// be accepted any more: not even a client that is to be refused, nor an operator. So the players'
// address gets a part of them, and refuses with 503 beyond it.
type descriptorBudget struct {
	players int // TCP connections to the players' address that are served
	spare   int // further ones, which are only served health checks and refusals
	sockets int // connections of Socket.IO: fewer than players, so that requests have their part
}

const (
	// ownDescriptors are for Redis, the operators' address, logs and files. Each further Redis server
	// may take as many connections as its pool has.
	ownDescriptors = 192
	poolSize       = 64
	// spareDescriptors are for health checks, and for clients that are refused.
	spareDescriptors = 64
)

// divideDescriptors divides what a process may have open, beside redisServers Redis servers.
func divideDescriptors(limit uint64, redisServers int) descriptorBudget {
	n := int(min(limit, 1<<30))
	own, spare := ownDescriptors+poolSize*max(0, redisServers-1), spareDescriptors
	if own+spare > n/2 { // a very low limit: half is for players
		own = n / 2 * own / (own + spare)
		spare = n/2 - own
	}
	players := n - own - spare
	return descriptorBudget{players: players, spare: spare, sockets: max(1, players-players/16)}
}

// boundByDescriptors lowers MaxConnections to what the limit of open files allows, and tells.
func (n *node) boundByDescriptors() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil { // Go has raised it as far as it may
		n.log.Warn("the limit of open files is unknown, and does not bound connections", zap.Error(err))
		limit.Cur = 1 << 30
	}
	n.descriptors = divideDescriptors(limit.Cur, 1+len(n.cfg.LockRedisURLs))
	if wanted := n.cfg.MaxConnections; wanted < 0 || wanted > n.descriptors.sockets {
		n.cfg.MaxConnections = n.descriptors.sockets
		if wanted >= 0 {
			n.log.Warn("fewer connections than --max-connections: the limit of open files allows no more",
				zap.Int("max-connections", wanted), zap.Int("inForce", n.descriptors.sockets), zap.Uint64("openFiles", limit.Cur))
		}
	}
}

// boundConnections bounds the connections of the players' address, and adds the metrics of that.
func (n *node) boundConnections(public net.Listener) *boundedListener {
	bound := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gateway_connections_bound", Help: "Connections of Socket.IO that this node admits: --max-connections, or what the limit of open files allows.",
	})
	bound.Set(float64(n.cfg.MaxConnections))
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gateway_tcp_dropped_total", Help: "TCP connections that were closed unread, because not even a refusal could be served.",
	})
	n.registry.MustRegister(bound, dropped)
	return &boundedListener{Listener: public, budget: n.descriptors, dropped: dropped}
}

// A boundedListener counts the open connections of the players' address.
type boundedListener struct {
	net.Listener
	budget  descriptorBudget
	open    atomic.Int64
	dropped prometheus.Counter
}

// Accept returns the next connection. One beyond the budget and its spare part is closed at once.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		n := int(l.open.Add(1))
		if n > l.budget.players+l.budget.spare {
			l.open.Add(-1)
			l.dropped.Inc()
			_ = c.Close()
			continue
		}
		return &countedConn{TCPConn: tcp, listener: l, isSpare: n > l.budget.players}, nil
	}
}

// A countedConn is a connection of a boundedListener.
type countedConn struct {
	*net.TCPConn
	listener *boundedListener
	isSpare  bool
	isClosed atomic.Bool
}

// Close closes the connection, and counts it no longer.
func (c *countedConn) Close() error {
	if c.isClosed.CompareAndSwap(false, true) {
		c.listener.open.Add(-1)
	}
	return c.TCPConn.Close()
}

// spareTimeout is how long a spare connection may take for its request.
const spareTimeout = time.Second

// SetReadDeadline sets the deadline, and an earlier one for a spare connection.
func (c *countedConn) SetReadDeadline(t time.Time) error {
	if latest := time.Now().Add(spareTimeout); c.isSpare && (t.IsZero() || t.After(latest)) {
		t = latest
	}
	return c.TCPConn.SetReadDeadline(t)
}

type spareKey struct{}

// markSpare is a ConnContext that remembers whether a connection is a spare one.
func markSpare(ctx context.Context, c net.Conn) context.Context {
	if counted, ok := c.(*countedConn); ok && counted.isSpare {
		return context.WithValue(ctx, spareKey{}, true)
	}
	return ctx
}

func isSpare(r *http.Request) bool { return r.Context().Value(spareKey{}) != nil }

// refuseSpare refuses the requests of spare connections, but for health checks.
func refuseSpare(sockets, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isSpare(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		switch {
		case strings.HasPrefix(r.URL.Path, "/health/"):
			next.ServeHTTP(w, r)
		case r.URL.Query().Has("transport") && !r.URL.Query().Has("sid"):
			sockets.ServeHTTP(w, r) // counts and logs the refusal, see admitSpare
		default:
			fault.Unavailable("gateway", 5*time.Second, nil).WriteProblem(w)
		}
	})
}

// admitSpare returns the refusal of a handshake on a spare connection, or nil.
func admitSpare(r *http.Request) *engineio.Refusal {
	if !isSpare(r) {
		return nil
	}
	return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Too many connections", RetryAfter: 5 * time.Second}
}
