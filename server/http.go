package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/serverapi"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/web/testclient"
)

// subjectOf returns the subject of limits for a caller whom the gateway has identified. Without a
// socket, all requests of a session count as one connection.
func subjectOf(r *http.Request) throttle.Subject {
	p, _ := gateway.PlayerOf(r)
	return throttle.Subject{User: p.UserID, Session: p.SessionID, IP: p.Addr, Conn: "http:" + p.SessionID, Roles: p.Roles}
}

// serveEvent serves an event over HTTP, to callers without a socket. A request spends the same
// limits as the event over a socket.
func (n *node) serveEvent(event string) http.Handler {
	var limits []string
	for _, r := range n.gateway.Routes() {
		if r.Name == event {
			limits = r.Limits
		}
	}
	spend := func(w http.ResponseWriter, r *http.Request, look *record.Look) (record.Found, error) {
		found, refused := n.redis.limiter.SpendRequest(w, r, limits, subjectOf(r), look)
		if refused != nil {
			return found, refused
		}
		return found, nil
	}
	return n.gateway.Identify(n.gateway.Endpoint(event, spend))
}

// publicRoutes returns the handler for players, at Config.Addr.
func (n *node) publicRoutes() http.Handler {
	api := &profileAPI{n.profiles, n.features.leaderboard, n.redis.cache, n.gateway.Identify, n.log}
	mux := http.NewServeMux()
	mux.Handle("POST /auth/login", n.redis.limiter.Middleware("login", n.logins.byAddress, http.HandlerFunc(n.logins.auth.Login)))
	mux.HandleFunc("POST /auth/logout", n.logins.auth.Logout)
	mux.HandleFunc("POST /auth/renew", n.logins.auth.Renew)
	mux.Handle("POST /chat/message", n.serveEvent("chat:message"))
	mux.Handle("POST /combat/action", n.serveEvent("combat:action"))
	mux.Handle("/api/", n.redis.limiter.Middleware("api", n.logins.byAddress, api.routes()))
	n.addHealthRoutes(mux, false)
	if n.cfg.Dev || n.cfg.Page {
		n.addContractRoutes(mux)
		mux.Handle("/", testclient.Handler(n.cfg.Dev, n.cfg.Path, n.adminUI != nil))
		if n.adminUI != nil {
			mux.Handle(testclient.AdminPath, testclient.AdminPage())
		}
	}
	requests := n.traceRequests(boundBodies(n.cfg.BodyTimeout, mux))
	return n.allowOrigins(refuseSpare(n.gateway, n.routeSockets(requests)))
}

// routeSockets returns a handler that serves Socket.IO and the official client at Config.Path, and
// leaves other paths to next. The path is also served without its last slash, because there are
// clients that leave it out, and proxies that cut it off.
func (n *node) routeSockets(next http.Handler) http.Handler {
	var clientFiles map[string]http.Handler
	if !n.cfg.NoClientFiles {
		clientFiles = testclient.ClientFiles()
	}
	path := n.cfg.Path
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, below := strings.CutPrefix(r.URL.Path, path)
		switch file := clientFiles[name]; {
		case below && file != nil:
			file.ServeHTTP(w, r)
		case below && strings.HasPrefix(name, "socket.io."): // a bundle that is not served here
			http.NotFound(w, r)
		case below || r.URL.Path == path[:len(path)-1]:
			n.gateway.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// boundBodies bounds how long a client may take to send the body of a request, and how long to read
// the answer: twice as long, and a second.
func boundBodies(body time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, now := http.NewResponseController(w), time.Now()
		_ = c.SetReadDeadline(now.Add(body)) // net/http's own connections can
		_ = c.SetWriteDeadline(now.Add(2*body + time.Second))
		next.ServeHTTP(w, r)
	})
}

// addHealthRoutes adds the health checks that load balancers call. What is wrong in detail is told
// to operators only.
func (n *node) addHealthRoutes(mux *http.ServeMux, isForOperators bool) {
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, _ *http.Request) {
		answer, code := map[string]string{"status": "ready"}, http.StatusOK
		switch state := n.redis.monitor.State(); {
		case n.gateway.Draining():
			answer["status"], code = "draining", http.StatusServiceUnavailable
		case n.redis.moves.PauseReason() != "":
			answer["status"], code = n.redis.moves.PauseReason(), http.StatusServiceUnavailable
		case takesNoWrites(state):
			answer["status"], code = "redis "+state.String(), http.StatusServiceUnavailable
			if state == redisconn.Forbidden && isForOperators {
				answer["error"] = n.redis.monitor.MissingRights().Public()
			}
		case n.redis.lockServers.lackMajority():
			answer["status"], code = "locks forbidden", http.StatusServiceUnavailable
			if isForOperators {
				answer["error"] = n.redis.lockServers.missingRights()
			}
		case state == redisconn.Slow:
			answer["status"] = "degraded"
		}
		writeJSON(w, code, answer)
	})
	mux.HandleFunc("GET /health/redis", func(w http.ResponseWriter, _ *http.Request) { n.writeRedisHealth(w, isForOperators) })
}

// writeRedisHealth answers the health of Redis: to players only whether it is up, degraded or down.
func (n *node) writeRedisHealth(w http.ResponseWriter, isForOperators bool) {
	h, code := n.redis.checkHealth()
	if !isForOperators {
		writeJSON(w, code, map[string]string{"status": h.Status})
		return
	}
	writeJSON(w, code, struct {
		redisconn.Health `json:",inline"`
		Server           string `json:"server"`
	}{h, n.redis.serverKind()})
}

// forbidSniffing keeps browsers from guessing the type of any answer: what a player wrote must not
// become a page.
func forbidSniffing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// adminRoutes returns the handler for operators, at Config.AdminAddr.
func (n *node) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{EnableOpenMetrics: n.tracer != nil})) // which has exemplars
	n.addHealthRoutes(mux, true)
	mux.HandleFunc("GET /health/detailed", n.serveDetailedHealth)
	mux.HandleFunc("/debug/pprof/", fromThisMachine(pprof.Index))
	mux.HandleFunc("/debug/pprof/profile", fromThisMachine(pprof.Profile))
	mux.HandleFunc("/debug/pprof/symbol", fromThisMachine(pprof.Symbol))
	mux.HandleFunc("/debug/pprof/trace", fromThisMachine(pprof.Trace))
	return n.guardOperators(mux)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}

// redisURL returns where this node's data is. It may hold a password.
func (n *node) redisURL() string {
	if n.redis.embedded != nil {
		return n.redis.embedded.URL()
	}
	return n.cfg.RedisURL
}

// printBanner tells a newcomer what runs and what to try. It writes once, so that a program that
// waits for the first line has all of them.
func (n *node) printBanner(to io.Writer, public net.Addr, admin net.Listener) {
	w := &bytes.Buffer{}
	defer func() { _, _ = to.Write(w.Bytes()) }() // nobody may be reading
	scheme := n.tls.scheme()
	url := scheme + "://" + public.String()
	fmt.Fprintf(w, "listening on %s\n", url)
	if admin != nil {
		fmt.Fprintf(w, "operators    %s://%s/metrics\n", scheme, admin.Addr())
	}
	if n.apiListener != nil {
		fmt.Fprintf(w, "server api   %s://%s%s\n", scheme, n.apiListener.Addr(), serverapi.Root)
	}
	if n.redis.embedded != nil {
		fmt.Fprintf(w, "redis        EMBEDDED %s: for trying out, nothing is kept\n", n.redis.embedded.Kind())
	} else {
		fmt.Fprintf(w, "redis        %s\n", redisconn.Redact(n.cfg.RedisURL))
	}
	trades := n.promises.durability()
	fmt.Fprintf(w, "trades       --trade-durability %s: %s\n", trades.Durability, trades.Why)
	if n.cfg.Dev {
		fmt.Fprintf(w, "guests       open %s/ in a browser, or get a session:\n", url)
		fmt.Fprintf(w, "             curl -s %s/auth/login -H 'Content-Type: application/json' -d '{\"username\":\"ann\"}'\n", url)
		if at := n.redisURL(); at == redisconn.Redact(at) { // no password in it
			fmt.Fprintf(w, "items        gateway trade mint --redis %s --character ann --item sword --qty 3\n", at)
		}
	}
}
