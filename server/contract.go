package server

import (
	"net/http"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/contract"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/version"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/throttle"
)

// Tables returns the events that players may send, the casts that they are sent, and the limits of
// a server with this configuration. It makes every feature as Run does, reads its tables, and ends
// it; it needs no Redis.
func Tables(cfg Config) (routes []event.Route, casts []event.Cast, limits []throttle.Policy, err error) {
	err = withTables(cfg, func(n *node) {
		routes, casts, limits = n.gateway.Routes(), n.gateway.Casts(), n.redis.limiter.Policies()
	})
	return routes, casts, limits, err
}

// withTables makes a node that can serve nobody, has it read, and ends it.
func withTables(cfg Config, read func(n *node)) error {
	redisconn.SetLogger(zap.NewNop()) // the client below can not connect, which is expected
	n := newNode(cfg.WithDefaults(), "")
	n.redis.client = redis.NewClient(&redis.Options{Network: "unix", Addr: "/nonexistent/redis.sock", MaxRetries: -1})
	defer n.redis.close()
	defer n.closeServices()
	if err := n.wire(); err != nil {
		return err
	}
	defer n.gateway.Close()
	read(n)
	return nil
}

// Contract returns what clients of a server with this configuration may rely on: its events,
// their payloads, errors and limits. The form is asyncapi, typescript or markdown. It needs no
// Redis.
func Contract(cfg Config, form string) ([]byte, error) {
	var described *contract.Contract
	if err := withTables(cfg, func(n *node) { described = n.describeEvents("") }); err != nil {
		return nil, err
	}
	switch form {
	case "asyncapi":
		return described.AsyncAPI(), nil
	case "typescript":
		return described.TypeScript(), nil
	case "markdown":
		return described.Markdown(), nil
	}
	return nil, usage.Errorf("a contract is asyncapi, typescript or markdown, not %q", form)
}

// describeEvents returns what clients may rely on: events, casts and limits.
func (n *node) describeEvents(version string) *contract.Contract {
	return contract.New(contract.Config{
		Routes: n.gateway.Routes(), Casts: n.gateway.Casts(), Policies: contractPolicies(n.redis.limiter.Policies()), Version: version,
		Comments: contract.PublishedComments(), ConnectCodes: n.connectCodes(), Everywhere: gateway.OwnEvents(),
	})
}

// contractPolicies returns the limits as clients are told of them.
func contractPolicies(limits []throttle.Policy) []contract.Policy {
	policies := make([]contract.Policy, 0, len(limits))
	for _, p := range limits {
		policies = append(policies, contract.Policy{
			Name: p.Name, Limit: p.Limit, WindowMs: p.Window.Milliseconds(), Scope: string(p.Scope),
		})
	}
	return policies
}

// addContractRoutes adds the contract, with the limits as they are on this node.
func (n *node) addContractRoutes(mux *http.ServeMux) {
	described := n.describeEvents(version.String())
	for path, file := range map[string]struct {
		kind string
		body []byte
	}{
		"GET /asyncapi.json": {"application/json", described.AsyncAPI()},
		"GET /events.d.ts":   {"text/plain; charset=utf-8", described.TypeScript()},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", file.kind)
			w.Header().Set("Cache-Control", "no-cache")
			_, _ = w.Write(file.body)
		})
	}
}
