package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/contract"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/redisconn"
)

// Contract returns what clients of a server with this configuration may rely on: its events,
// their payloads, errors and limits. The form is asyncapi, typescript or markdown. It wires the
// server as Run does, reads its tables, and ends it; it needs no Redis.
func Contract(cfg Config, form string) ([]byte, error) {
	redisconn.SetLogger(zap.NewNop()) // nothing is behind the socket, and that is no news
	n := &node{cfg: cfg.WithDefaults(), log: zap.NewNop(), registry: prometheus.NewRegistry()}
	n.rdb = redis.NewClient(&redis.Options{Network: "unix", Addr: "/nonexistent/redis.sock", MaxRetries: -1})
	defer n.closeRedis()
	defer n.closeServices()
	if err := n.wire(); err != nil {
		return nil, err
	}
	defer n.gateway.Close()
	is := n.contract("")
	switch form {
	case "asyncapi":
		return is.AsyncAPI(), nil
	case "typescript":
		return is.TypeScript(), nil
	case "markdown":
		return is.Markdown(), nil
	}
	return nil, usage.Errorf("a contract is asyncapi, typescript or markdown, not %q", form)
}

// contract is what clients of this node may rely on.
func (n *node) contract(version string) *contract.Contract {
	policies := make([]contract.Policy, 0, 8)
	for _, p := range n.limits.Policies() {
		policies = append(policies, contract.Policy{Name: p.Name, Limit: p.Limit, WindowMs: p.Window.Milliseconds(), Scope: string(p.Scope)})
	}
	return contract.New(contract.Config{
		Routes: n.gateway.Routes(), Casts: n.gateway.Casts(), Policies: policies, Version: version, Comments: contract.PublishedComments(),
	})
}

// contractRoutes serve the contract, limits as they are on this node.
func (n *node) contractRoutes(mux *http.ServeMux) {
	is := n.contract(version.String())
	for path, file := range map[string]struct {
		kind string
		body []byte
	}{
		"GET /asyncapi.json": {"application/json", is.AsyncAPI()},
		"GET /events.d.ts":   {"text/plain; charset=utf-8", is.TypeScript()},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", file.kind)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			_, _ = w.Write(file.body)
		})
	}
}
