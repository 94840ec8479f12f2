package main

import (
	"context"
	"net/http"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/internal/contract"
	"github.com/aeturnis/realtime/redisconn"
)

// contractCmd prints what clients may rely on. It needs no Redis.
type contractCmd struct {
	Form string `arg:"" enum:"asyncapi,typescript,markdown" help:"asyncapi (/asyncapi.json), typescript (/events.d.ts) or markdown (docs/EVENTS.md)."`
}

// Run wires a gateway as serve does, reads its tables, and ends it.
func (c contractCmd) Run(ctx context.Context, s streams) error {
	var cli commands
	parser, err := kong.New(&cli)
	if err != nil {
		return err
	}
	if _, err := parser.Parse([]string{"serve"}); err != nil { // for the settings' defaults
		return err
	}
	policies, err := cli.Serve.policies()
	if err != nil {
		return err
	}
	redisconn.SetLogger(zap.NewNop()) // nothing is behind the socket, and that is no news
	n := &node{cfg: &cli.Serve, log: zap.NewNop(), registry: prometheus.NewRegistry()}
	n.rdb = redis.NewClient(&redis.Options{Network: "unix", Addr: "/nonexistent/redis.sock", MaxRetries: -1})
	defer n.closeRedis()
	defer n.closeServices()
	if err := n.wire(policies); err != nil {
		return err
	}
	defer n.gateway.Close()
	is := n.contract("")
	forms := map[string]func() []byte{"asyncapi": is.AsyncAPI, "typescript": is.TypeScript, "markdown": is.Markdown}
	_, err = s.out.Write(forms[c.Form]())
	return err
}

// contract is what clients of this node may rely on.
func (n *node) contract(version string) *contract.Contract {
	policies := make([]contract.Policy, 0, 8)
	for _, p := range n.limits.Policies() {
		policies = append(policies, contract.Policy{Name: p.Name, Limit: p.Limit, WindowMs: p.Window.Milliseconds(), Scope: string(p.Scope)})
	}
	return contract.New(contract.Config{Routes: n.gateway.Routes(), Casts: n.gateway.Casts(), Policies: policies, Version: version})
}

// contractRoutes serve the contract, limits as they are on this node.
func (n *node) contractRoutes(mux *http.ServeMux) {
	is := n.contract(version())
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
