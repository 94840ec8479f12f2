package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// The operators' address answers what names it by loopback, an IP address or --admin-hosts, and no
// page of another site, whatever is asked.
func TestOperatorsAddressAnswersNoForeignPage(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--admin-hosts", "gateway-1", "--admin-hosts", "Gateway.Internal")
	port := g.admin[strings.LastIndex(g.admin, ":"):]
	own := strings.TrimPrefix(g.admin, "http://")
	for name, c := range map[string]struct {
		host    string
		headers []string
		want    int
	}{
		"loopback":                   {"127.0.0.1" + port, nil, 200},
		"loopback by name":           {"localhost" + port, nil, 200},
		"loopback of IPv6":           {"[::1]" + port, nil, 200},
		"without a port":             {"localhost", nil, 200},
		"an IP address":              {"10.1.2.3" + port, nil, 200},
		"an address of IPv6":         {"[2001:db8::7]", nil, 200},
		"a listed host":              {"gateway-1" + port, nil, 200},
		"a listed host, other case":  {"GATEWAY.internal.", nil, 200},
		"a host that was rebound":    {"evil.example" + port, nil, 403},
		"a host that begins well":    {"127.0.0.1.evil.example", nil, 403},
		"a host that ends well":      {"evil-gateway-1" + port, nil, 403},
		"a page of another site":     {own, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"a page of another port":     {own, []string{"Sec-Fetch-Site", "same-site"}, 403},
		"a page of the same origin":  {own, []string{"Sec-Fetch-Site", "same-origin", "Origin", g.admin}, 200},
		"the address bar":            {own, []string{"Sec-Fetch-Site", "none"}, 200},
		"an older browser's page":    {own, []string{"Origin", "https://evil.example"}, 403},
		"a page without an origin":   {own, []string{"Origin", "null"}, 403},
		"the players' page, as page": {own, []string{"Origin", g.public}, 403},
	} {
		for _, path := range []string{"/metrics", "/health/detailed", "/health/live", "/debug/pprof/cmdline", "/nothing"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.admin+path, nil)
			require.NoError(t, err)
			req.Host = c.host
			for i := 0; i+1 < len(c.headers); i += 2 {
				req.Header.Set(c.headers[i], c.headers[i+1])
			}
			res, err := client.Do(req)
			require.NoError(t, err)
			_ = res.Body.Close()
			if path == "/nothing" && c.want == 200 || path == "/debug/pprof/cmdline" && res.StatusCode == http.StatusNotFound {
				require.Equal(t, 404, res.StatusCode, "%s %s", name, path)
				continue
			}
			require.Equal(t, c.want, res.StatusCode, "%s %s", name, path)
		}
	}
	require.Equal(t, 200, do(t, "GET", g.public+"/health/live", "", "Sec-Fetch-Site", "cross-site").status, "players' address")
}
