package server

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/clientaddr"
	"github.com/aeturnis/realtime/internal/tlsserve"
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
	return &boundedListener{
		Listener: public, budget: n.descriptors, dropped: dropped,
		maxPlain: n.cfg.MaxHTTPConnectionsPerAddress, isTrusted: n.logins.callers.proxies.IsTrusted, plain: map[string]int{},
	}
}

// A boundedListener counts the open connections of the players' address, and those of each client's
// address that are plain HTTP: that have not become websockets.
type boundedListener struct {
	net.Listener
	budget  descriptorBudget
	open    atomic.Int64
	dropped prometheus.Counter

	maxPlain  int                    // plain connections of one clientaddr.Network; 0 or less is no bound
	isTrusted func(addr string) bool // of proxies, whose connections are many clients'
	mu        sync.Mutex
	plain     map[string]int // by clientaddr.Network; guarded by mu
}

// lateFactor times maxPlain connections of an address are accepted, so that a burst of clients
// behind one address may open websockets: beyond maxPlain they are served nothing else.
const lateFactor = 10

// countPlain counts a new plain connection. It reports whether it is beyond the bound, and whether
// it is so far beyond it that it must be closed.
func (l *boundedListener) countPlain(c *countedConn) (isBeyond, isFarBeyond bool) {
	peer := c.RemoteAddr().String()
	if l.maxPlain <= 0 || l.isTrusted(peer) {
		return false, false
	}
	network := clientaddr.Network(peer)
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.plain[network] + 1
	if n > lateFactor*l.maxPlain {
		return true, true
	}
	l.plain[network], c.network = n, network
	return n > l.maxPlain, false
}

// forgetPlain no longer counts a connection as a plain one.
func (l *boundedListener) forgetPlain(c *countedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.network == "" {
		return
	}
	if l.plain[c.network]--; l.plain[c.network] <= 0 {
		delete(l.plain, c.network)
	}
	c.network = ""
}

// noteHijacked is a ConnState hook: a connection that became a websocket has bounds of its own.
func noteHijacked(c net.Conn, state http.ConnState) {
	if counted, ok := tlsserve.Under(c).(*countedConn); ok && state == http.StateHijacked {
		counted.listener.forgetPlain(counted)
		counted.isHurried.Store(false)
	}
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
		counted := &countedConn{TCPConn: tcp, listener: l, isSpare: n > l.budget.players}
		isBeyond, isFarBeyond := l.countPlain(counted)
		if isFarBeyond {
			l.dropped.Inc()
			_ = counted.Close()
			continue
		}
		counted.isCrowded = isBeyond
		counted.isHurried.Store(counted.isSpare || counted.isCrowded)
		return counted, nil
	}
}

// A countedConn is a connection of a boundedListener.
type countedConn struct {
	*net.TCPConn
	listener  *boundedListener
	isSpare   bool
	isCrowded bool // its address has too many plain connections: it may only become a websocket
	isHurried atomic.Bool
	isClosed  atomic.Bool
	network   string // under which it counts as a plain connection, or ""; guarded by listener.mu
}

// Close closes the connection, and counts it no longer.
func (c *countedConn) Close() error {
	if c.isClosed.CompareAndSwap(false, true) {
		c.listener.open.Add(-1)
		c.listener.forgetPlain(c)
	}
	return c.TCPConn.Close()
}

// spareTimeout is how long a connection may take for its request that is a spare one, or one too
// many of its address.
const spareTimeout = time.Second

// SetReadDeadline sets the deadline, and an earlier one for a connection that is hurried.
func (c *countedConn) SetReadDeadline(t time.Time) error {
	if latest := time.Now().Add(spareTimeout); c.isHurried.Load() && (t.IsZero() || t.After(latest)) {
		t = latest
	}
	return c.TCPConn.SetReadDeadline(t)
}

type spareKey struct{}

// markSpare is a ConnContext that remembers a connection on which little is served.
func markSpare(ctx context.Context, c net.Conn) context.Context {
	if counted, ok := tlsserve.Under(c).(*countedConn); ok && (counted.isSpare || counted.isCrowded) {
		return context.WithValue(ctx, spareKey{}, counted)
	}
	return ctx
}

// spareConnOf returns the connection of a request if little is served on it, or nil.
func spareConnOf(r *http.Request) *countedConn {
	counted, _ := r.Context().Value(spareKey{}).(*countedConn)
	return counted
}

// mayUpgrade reports whether a request makes a websocket of a connection that is only one too many
// of its address.
func (c *countedConn) mayUpgrade(r *http.Request) bool {
	return !c.isSpare && websocket.IsWebSocketUpgrade(r)
}

// refuseSpare refuses the requests of spare connections, and of those that are too many of their
// address, but for health checks, and websockets of the latter.
func refuseSpare(sockets, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spare := spareConnOf(r)
		if spare == nil || spare.mayUpgrade(r) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		switch {
		case strings.HasPrefix(r.URL.Path, "/health/"):
			next.ServeHTTP(w, r)
		case r.URL.Query().Has("transport") && !r.URL.Query().Has("sid"):
			sockets.ServeHTTP(w, r) // counts and logs the refusal, see admitSpare
		case spare.isSpare:
			fault.Unavailable("gateway", 5*time.Second, nil).WriteProblem(w)
		default:
			fault.ErrRateLimited.With("scope", "ip").With("retryAfterMs", crowdedRetry.Milliseconds()).WriteProblem(w)
		}
	})
}

// crowdedRetry is when a client may come back whose address has too many connections.
const crowdedRetry = 5 * time.Second

// admitSpare returns the refusal of a handshake on a connection on which little is served, or nil.
func admitSpare(r *http.Request) *engineio.Refusal {
	spare := spareConnOf(r)
	switch {
	case spare == nil, spare.mayUpgrade(r):
		return nil
	case spare.isSpare:
		return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Too many connections", RetryAfter: 5 * time.Second}
	}
	return &engineio.Refusal{Status: http.StatusTooManyRequests, Message: "Too many connections from this address", RetryAfter: crowdedRetry}
}
