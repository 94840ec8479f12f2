package server

import (
	"context"
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
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/web/testclient"
)

func (n *node) byAddress(r *http.Request) throttle.Subject { return throttle.Subject{IP: n.addr(r)} }

// byPlayer is who the gateway identified. Without a socket, all that a session asks for counts
// as one connection.
func byPlayer(r *http.Request) throttle.Subject {
	p, _ := gateway.PlayerOf(r)
	return throttle.Subject{User: p.UserID, Session: p.SessionID, IP: p.Addr, Conn: "http:" + p.SessionID, Roles: p.Roles}
}

// endpoint serves an event to callers without a socket, for what it costs those with one.
func (n *node) endpoint(event string) http.Handler {
	var limits []string
	for _, r := range n.gateway.Routes() {
		if r.Name == event {
			limits = r.Limits
		}
	}
	return n.gateway.Identify(n.limits.Guard(limits, byPlayer, n.gateway.Endpoint(event)))
}

// publicRoutes is what players reach.
func (n *node) publicRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /auth/login", n.limits.Middleware("login", n.byAddress, http.HandlerFunc(n.auth.Login)))
	mux.HandleFunc("POST /auth/logout", n.auth.Logout)
	mux.HandleFunc("POST /auth/renew", n.auth.Renew)
	mux.Handle("POST /chat/message", n.endpoint("chat:message"))
	mux.Handle("POST /combat/action", n.endpoint("combat:action"))
	mux.Handle("/api/", n.limits.Middleware("api", n.byAddress, n.apiRoutes()))
	n.healthRoutes(mux)
	n.contractRoutes(mux)
	mux.Handle("/", testclient.Handler(n.cfg.Dev))
	requests := bounded(n.cfg.BodyTimeout, mux)
	return n.shared(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/socket.io/") {
			n.sockets(w, r)
			return
		}
		requests.ServeHTTP(w, r)
	}))
}

// bounded gives a client so long to send its body, and twice as long to take the answer.
func bounded(body time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, now := http.NewResponseController(w), time.Now()
		_ = c.SetReadDeadline(now.Add(body)) // net/http's own connections can
		_ = c.SetWriteDeadline(now.Add(2*body + time.Second))
		next.ServeHTTP(w, r)
	})
}

// healthRoutes is what balancers ask.
func (n *node) healthRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, _ *http.Request) {
		status, code := "ready", http.StatusOK
		switch {
		case n.gateway.Draining():
			status, code = "draining", http.StatusServiceUnavailable
		case away(n.monitor.State()):
			status, code = "redis "+n.monitor.State().String(), http.StatusServiceUnavailable
		case n.monitor.State() == redisconn.Slow:
			status = "degraded"
		}
		writeJSON(w, code, map[string]string{"status": status})
	})
	mux.HandleFunc("GET /health/redis", func(w http.ResponseWriter, _ *http.Request) {
		h, code := n.redisHealth()
		writeJSON(w, code, struct {
			redisconn.Health `json:",inline"`
			Server           string `json:"server"`
		}{h, n.redisKind()})
	})
}

// redisHealth asks Redis how it is, within a second whatever it does, and is the status
// that tells a balancer. Requests that come at the same time share one check.
func (n *node) redisHealth() (redisconn.Health, int) {
	v, _, _ := n.health.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 800*time.Millisecond)
		defer cancel()
		return redisconn.Check(ctx, n.rdb), nil
	})
	h := v.(redisconn.Health)
	if h.Status == redisconn.StatusDown {
		return h, http.StatusServiceUnavailable
	}
	return h, http.StatusOK
}

// redisKind is "configured", or what the embedded default is.
func (n *node) redisKind() string {
	if n.embedded == nil {
		return "configured"
	}
	return "embedded " + n.embedded.Kind()
}

// adminRoutes is what operators reach.
func (n *node) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}))
	n.healthRoutes(mux)
	mux.HandleFunc("GET /health/detailed", n.detailed)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
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

// redisURL is where this node's data is. It may hold a password.
func (n *node) redisURL() string {
	if n.embedded != nil {
		return n.embedded.URL()
	}
	return n.cfg.RedisURL
}

// banner tells a newcomer what runs and what to try.
func banner(w io.Writer, n *node, public net.Addr, admin net.Listener) {
	url := "http://" + public.String()
	fmt.Fprintf(w, "listening on %s\n", url)
	if admin != nil {
		fmt.Fprintf(w, "operators    http://%s/metrics\n", admin.Addr())
	}
	if n.embedded != nil {
		fmt.Fprintf(w, "redis        EMBEDDED %s: for trying out, nothing is kept\n", n.embedded.Kind())
	} else {
		fmt.Fprintf(w, "redis        %s\n", redisconn.Redact(n.cfg.RedisURL))
	}
	if n.cfg.Dev {
		fmt.Fprintf(w, "guests       open %s/ in a browser, or get a session:\n", url)
		fmt.Fprintf(w, "             curl -s %s/auth/login -H 'Content-Type: application/json' -d '{\"username\":\"ann\"}'\n", url)
		if at := n.redisURL(); at == redisconn.Redact(at) { // no password in it
			fmt.Fprintf(w, "items        gateway trade mint --redis %s --character ann --item sword --qty 3\n", at)
		}
	}
}
