package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

var (
	metricName = regexp.MustCompile(`\b(?:gateway|go|process)_[a-z0-9_]+`)
	metricType = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
)

// expressionsOf returns what stands under the key expr anywhere in a file of JSON or YAML.
func expressionsOf(t *testing.T, path string) (expressions []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var file any
	if filepath.Ext(path) == ".json" {
		require.NoError(t, json.Unmarshal(b, &file))
	} else {
		require.NoError(t, yaml.Unmarshal(b, &file))
	}
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				collect(x)
			}
		case map[string]any:
			for name, x := range v {
				if text, ok := x.(string); ok && (name == "expr" || name == "query") {
					expressions = append(expressions, text)
				}
				collect(x)
			}
		}
	}
	collect(file)
	require.Greater(t, len(expressions), 20, path)
	return expressions
}

// Every metric that the dashboard and the alerts name is one that a gateway has, once something has
// happened that it counts.
func TestDashboardAndAlertsNameMetricsOfAGateway(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("a secret, long enough"), 0o600))
	g := serve(t, "--redis", server.URL(), "--lock-redis", redistest.URL(t), "--dev", "--webhook-url", "http://127.0.0.1:1/", "--webhook-secret-file", secret, "--allowed-origins", "https://play.example")
	require.NoError(t, server.Client().XAdd(t.Context(), &redis.XAddArgs{Stream: keys.ChatHistory("zone:1"), Values: []string{"m", "no JSON"}}).Err())
	do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "", "Origin", "https://evil.example", "X-Forwarded-For", "203.0.113.7")
	do(t, "GET", g.public+"/api/users/ann", "", bearer(g.guest("ann"))...)
	p, _, err := dial(t, g)
	require.NoError(t, err)
	p.send(`40{"sessionId":"` + g.guest("bob") + `","pid":"none","offset":"none"}`)
	p.take("40", func(frame) bool { return true })
	p.ok("chat:join", `{"channel":"zone:1"}`)
	p.ok("chat:history", `{"channel":"zone:1"}`)
	p.refused("no:event", "")
	p.send("1")
	p.ended()
	g.handshake("nobody").take("44", func(frame) bool { return true })

	named := map[string]string{}
	for _, path := range []string{"../../deploy/grafana/gateway.json", "../../deploy/alerts.yaml"} {
		for _, expression := range expressionsOf(t, path) {
			for _, name := range metricName.FindAllString(expression, -1) {
				named[name] = filepath.Base(path)
			}
		}
	}
	missing := func() (missing []string) {
		known := map[string]bool{}
		for _, m := range metricType.FindAllStringSubmatch(string(do(t, "GET", g.admin+"/metrics", "").body), -1) {
			known[m[1]] = true
			if m[2] == "histogram" {
				for _, part := range []string{"_bucket", "_sum", "_count"} {
					known[m[1]+part] = true
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(named)) {
			if !known[name] {
				missing = append(missing, name+" of "+named[name])
			}
		}
		return missing
	}
	require.Eventually(t, func() bool { return len(missing()) == 0 }, patience, 20*tick, "%s", strings.Join(missing(), "\n"))
	require.Greater(t, len(named), 50)
	require.NotRegexp(t, `[{,](job|instance)="`, string(do(t, "GET", g.admin+"/metrics", "").body), "Prometheus sets these labels itself, and would rename ours to exported_…")
}
