package main

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// What we ship behind a proxy believes that proxy, and the proxy bounds what strangers may hold.
// That this keeps the players apart is tested with HAProxy, in test/client/balancer.test.js.
func TestWhatIsShippedTrustsItsProxy(t *testing.T) {
	t.Parallel()
	compose := textOf(t, "../../deploy/compose.yaml")
	trusted := regexp.MustCompile(`GATEWAY_TRUSTED_PROXIES: "([^"]+)"`).FindStringSubmatch(compose)
	require.NotNil(t, trusted)
	balancer := regexp.MustCompile(`(?s)\n  balancer:.*?ipv4_address: "([^"]+)"`).FindStringSubmatch(compose)
	require.NotNil(t, balancer)
	require.Equal(t, balancer[1], trusted[1], "only the balancer is believed")
	require.Regexp(t, `serve .*--trusted-proxies 127\.0\.0\.1 `, textOf(t, "../../scripts/cluster"))

	proxy := textOf(t, "../../deploy/haproxy.cfg")
	for _, rule := range []string{`(?m)^\tmaxconn `, `(?m)^\ttimeout http-request 10s`, `(?m)^\toption forwardfor$`} {
		require.Regexp(t, rule, proxy)
	}
}
