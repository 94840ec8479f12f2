package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
)

func TestWhyAClientsAddressIsNotKnown(t *testing.T) {
	t.Parallel()
	p, err := auth.ParseProxies([]string{"10.0.0.0/8"})
	require.NoError(t, err)
	long := strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		peer    string
		headers []string
		want    *auth.ForwardProblem
	}{
		"known":            {"10.1.1.1:5", []string{"X-Forwarded-For: 203.0.113.9:80,"}, nil},
		"unknown":          {"10.1.1.1:5", []string{"X-Forwarded-For: 203.0.113.9, unknown"}, &auth.ForwardProblem{Reason: auth.UnreadableEntry, Peer: "10.1.1.1", Entry: "unknown"}},
		"only unknown":     {"10.1.1.1:5", []string{"X-Forwarded-For: unknown"}, &auth.ForwardProblem{Reason: auth.UnreadableEntry, Peer: "10.1.1.1", Entry: "unknown"}},
		"a long one":       {"10.1.1.1:5", []string{"X-Forwarded-For: " + long}, &auth.ForwardProblem{Reason: auth.UnreadableEntry, Peer: "10.1.1.1", Entry: long[:64]}},
		"the client wrote": {"10.1.1.1:5", []string{"X-Forwarded-For: unknown, 203.0.113.9"}, nil},
		"none":             {"10.1.1.1:5", nil, &auth.ForwardProblem{Reason: auth.NoEntry, Peer: "10.1.1.1"}},
		"no proxy":         {"192.0.2.1:5", nil, nil},
		"an untrusted one": {"192.0.2.1:5", []string{"X-Forwarded-For: 203.0.113.9"}, &auth.ForwardProblem{Reason: auth.UntrustedSender, Peer: "192.0.2.1"}},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Header = c.peer, header(c.headers...)
		require.Equal(t, c.want, p.Problem(r), name)
	}
}

func TestTheHostsOfARequest(t *testing.T) {
	t.Parallel()
	p, err := auth.ParseProxies([]string{"10.0.0.0/8"})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "http://inside:8080/", nil)
	r.RemoteAddr = "192.0.2.1:5"
	r.Header = header("X-Forwarded-Host: play.example, edge.example:8443", "X-Forwarded-Host: "+strings.Repeat("x", 256))
	require.Equal(t, []string{"inside:8080"}, p.Hosts(r), "the sender is not trusted")
	r.RemoteAddr = "10.1.1.1:5"
	require.Equal(t, []string{"inside:8080", "edge.example:8443", "play.example"}, p.Hosts(r))
	r.Header = header("X-Forwarded-Host: " + strings.Repeat("a,", 1000))
	require.Len(t, p.Hosts(r), 4)
	r.Header = nil
	require.Equal(t, []string{"inside:8080"}, p.Hosts(r))
}

func TestTheClientsAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trusted []string
		peer    string
		headers http.Header
		want    string
	}{
		"nobody is trusted":     {nil, "192.0.2.1:5", header("X-Forwarded-For: 203.0.113.9"), "192.0.2.1"},
		"the peer is not":       {[]string{"10.0.0.0/8"}, "192.0.2.1:5", header("X-Forwarded-For: 203.0.113.9"), "192.0.2.1"},
		"one proxy":             {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9"), "203.0.113.9"},
		"a single address":      {[]string{"10.1.1.1"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9"), "203.0.113.9"},
		"two proxies":           {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9, 10.2.2.2"), "203.0.113.9"},
		"what a client made up": {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 127.0.0.1, 203.0.113.9"), "203.0.113.9"},
		"made up, in two lines": {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9"},
		"as if from a proxy":    {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 10.9.9.9, 203.0.113.9"), "203.0.113.9"},
		"no header":             {[]string{"10.0.0.0/8"}, "10.1.1.1:5", nil, "10.1.1.1"},
		"unknown":               {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9, unknown"), "203.0.113.9"},
		"nonsense before it":    {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: <script>, 10.2.2.2"), "10.2.2.2"},
		"a port":                {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9:49152"), "203.0.113.9"},
		"a port, quoted":        {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header(`X-Forwarded-For: "203.0.113.9:49152"`), "203.0.113.9"},
		"a trailing comma":      {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9,"), "203.0.113.9"},
		"empty entries":         {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9, ,,", "X-Forwarded-For: "), "203.0.113.9"},
		"only commas":           {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: " + strings.Repeat(",", 1000)), "10.1.1.1"},
		"only unknown":          {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: unknown"), "10.1.1.1"},
		"unknown, by a client":  {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 1.2.3.4, unknown, 203.0.113.9"), "203.0.113.9"},
		"IPv6 and a port":       {[]string{"fd00::/8"}, "[fd00::1]:5", header("X-Forwarded-For: [2001:db8::7]:443"), "2001:db8::7"},
		"IPv6, quoted":          {[]string{"fd00::/8"}, "[fd00::1]:5", header(`X-Forwarded-For: "[2001:db8::7]:443"`), "2001:db8::7"},
		"NAT64":                 {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 64:ff9b::203.0.113.9"), "203.0.113.9"},
		"IPv6":                  {[]string{"fd00::/8"}, "[fd00::1]:5", header("X-Forwarded-For: 2001:db8::7"), "2001:db8::7"},
		"IPv6 in brackets":      {[]string{"fd00::/8"}, "[fd00::1]:5", header("X-Forwarded-For: [2001:db8::7]"), "2001:db8::7"},
		"IPv4 in IPv6":          {[]string{"10.0.0.0/8"}, "[::ffff:10.1.1.1]:5", header("X-Forwarded-For: ::ffff:203.0.113.9"), "203.0.113.9"},
		"other headers":         {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9"), "10.1.1.1"},
		"only proxies":          {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 10.3.3.3, 10.2.2.2"), "10.3.3.3"},
		"a long list":           {[]string{"10.0.0.0/8"}, "10.1.1.1:5", header("X-Forwarded-For: 203.0.113.9" + strings.Repeat(",10.0.0.1", 1000)), "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := auth.ParseProxies(c.trusted)
			require.NoError(t, err)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.peer
			if c.headers != nil {
				r.Header = c.headers
			}
			require.Equal(t, c.want, p.Addr(r))
		})
	}
	for _, bad := range []string{"", "proxy.internal", "10.0.0.0/33", "10.0.0.1:80", "*"} {
		_, err := auth.ParseProxies([]string{bad})
		require.Error(t, err, bad)
	}
}
