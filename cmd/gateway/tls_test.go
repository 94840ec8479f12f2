package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/tlstest"
)

// secureGate is a gateway that serves TLS at all of its addresses.
type secureGate struct {
	t                  *testing.T
	authority          *tlstest.Authority
	out, err           *output
	public, admin, api string
}

var (
	securePublicLine = regexp.MustCompile(`(?m)^listening on (https://\S+)$`)
	secureAdminLine  = regexp.MustCompile(`(?m)^operators +(https://\S+)/metrics$`)
	secureAPILine    = regexp.MustCompile(`(?m)^server api +(https://\S+)$`)
)

// serveTLS starts a gateway with a certificate of an authority of its own. The authority clients
// signs certificates for the operators' address and the server API.
func serveTLS(t *testing.T, a, clients *tlstest.Authority, args ...string) *secureGate {
	t.Helper()
	keysFile := a.Path("keys")
	require.NoError(t, os.WriteFile(keysFile, nil, 0o600))
	a.Issue("server", a)
	args = append([]string{
		"serve", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0", "--api-keys-file", keysFile, "--drain-for", "0s", "--dev",
		"--redis", redistest.URL(t), "--tls-cert", a.Path("server.crt"), "--tls-key", a.Path("server.key"),
		"--admin-client-ca", clients.Path("ca.crt"), "--api-client-ca", clients.Path("ca.crt"),
	}, args...)
	g := &secureGate{t: t, authority: a, out: &output{}, err: &output{}}
	cmd := program(t, args...)
	cmd.Stdout, cmd.Stderr = g.out, g.err
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { return secureAPILine.MatchString(g.out.String()) }, patience, tick, g.err.String())
	g.public = securePublicLine.FindStringSubmatch(g.out.String())[1]
	g.admin = secureAdminLine.FindStringSubmatch(g.out.String())[1]
	g.api = secureAPILine.FindStringSubmatch(g.out.String())[1]
	return g
}

// client returns an HTTP client that trusts the gateway's authority, on connections of its own.
func (g *secureGate) client(certificates ...tls.Certificate) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: g.authority.Pool(), Certificates: certificates}}
	return &http.Client{Timeout: patience, Transport: transport}
}

func (g *secureGate) get(c *http.Client, url string) (status int, body string, err error) {
	g.t.Helper()
	answer, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// The three addresses serve TLS and nothing in the clear. The operators' address and the server API
// ask for a certificate that the right authority signed; players need none.
func TestAllAddressesServeTLS(t *testing.T) {
	t.Parallel()
	a, clients, strangers := tlstest.New(t), tlstest.New(t), tlstest.New(t)
	clients.Issue("operator", clients)
	strangers.Issue("eve", strangers)
	g := serveTLS(t, a, clients)
	operator, eve := g.client(clients.Pair("operator")), g.client(strangers.Pair("eve"))

	status, _, err := g.get(g.client(), g.public+"/health/live")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	for name, url := range map[string]string{"operators": g.admin + "/metrics", "server api": g.api + "limits"} {
		status, body, err := g.get(operator, url)
		require.NoError(t, err, name)
		require.NotEqual(t, 404, status, name)
		if name == "operators" {
			require.Equal(t, 200, status)
			require.Contains(t, body, "gateway_tls_certificate_expiry_timestamp_seconds ")
		} else {
			require.Equal(t, 401, status, "a certificate is no key")
		}
		_, _, err = g.get(g.client(), url)
		require.ErrorContains(t, err, "certificate", name+" without a certificate")
		_, _, err = g.get(eve, url)
		require.Error(t, err, name+" with a certificate of another authority")
	}
	require.Eventually(t, func() bool {
		_, body, err := g.get(operator, g.admin+"/metrics")
		return err == nil && regexp.MustCompile(`(?m)^gateway_tls_handshakes_failed_total [4-9]`).MatchString(body)
	}, patience, tick, "handshakes that failed are counted")
	require.NotContains(t, g.err.String(), "TLS handshake error", "anybody could fill the log")

	for _, url := range []string{g.public + "/health/live", g.admin + "/metrics", g.api} {
		status, body, err := g.get(http.DefaultClient, "http"+strings.TrimPrefix(url, "https"))
		require.NoError(t, err)
		require.Equal(t, 400, status, body)
		require.Contains(t, body, "HTTPS server")
	}
}

// A certificate that is replaced is served to the next client, while connections live on. Half a
// file, and a key that does not fit, change nothing; neither does an authority that is none.
func TestACertificateIsReplaced(t *testing.T) {
	t.Parallel()
	a, clients := tlstest.New(t), tlstest.New(t)
	clients.Issue("operator", clients)
	g := serveTLS(t, a, clients)
	old := clients.Pair("operator")
	dialer := &websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: a.Pool()}}
	socket, _, err := dialer.DialContext(t.Context(), "wss"+strings.TrimPrefix(g.public, "https")+"/socket.io/?EIO=4&transport=websocket", nil)
	require.NoError(t, err)
	defer socket.Close()

	served := func() []byte {
		c, err := tls.Dial("tcp", strings.TrimPrefix(g.public, "https://"), &tls.Config{RootCAs: a.Pool()})
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	before := served()
	require.NoError(t, os.WriteFile(a.Path("server.crt"), []byte("half"), 0o600))
	require.Eventually(t, func() bool { return strings.Contains(g.err.String(), "files of TLS could not be read again") }, patience, tick)
	require.Equal(t, before, served())

	a.Issue("server", a)
	require.Eventually(t, func() bool { return !bytes.Equal(before, served()) }, patience, tick)
	require.Eventually(t, func() bool { return strings.Contains(g.err.String(), "files of TLS read again") }, patience, tick)
	require.Equal(t, 1, strings.Count(g.err.String(), "files of TLS could not be read again"), "one line for each change")

	require.NoError(t, os.WriteFile(clients.Path("ca.crt"), []byte("none"), 0o600))
	require.Eventually(t, func() bool { return strings.Contains(g.err.String(), "no certificate in PEM") }, patience, tick)
	status, _, err := g.get(g.client(old), g.admin+"/health/live")
	require.NoError(t, err)
	require.Equal(t, 200, status, "what was read before stays in force")
	clients.Renew()
	clients.Issue("operator", clients)
	require.Eventually(t, func() bool {
		_, _, err := g.get(g.client(old), g.admin+"/health/live")
		return err != nil
	}, patience, tick, "the old authority's clients are still let in")
	_, _, err = g.get(g.client(clients.Pair("operator")), g.admin+"/health/live")
	require.NoError(t, err)

	// The connection of before lives on.
	require.NoError(t, socket.WriteMessage(websocket.TextMessage, []byte("40")))
	_, open, err := socket.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(open), `0{"sid"`)
	_, refused, err := socket.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(refused), "44", "without a session")
}

// Settings of TLS that cannot be are named at the start.
func TestSettingsOfTLSThatCannotBe(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	crt, key, ca := a.Path("server.crt"), a.Path("server.key"), a.Path("ca.crt")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--tls-cert and --tls-key need each other", []string{"--tls-cert", crt}},
		{"--tls-cert and --tls-key need each other", []string{"--tls-key", key}},
		{"--admin-client-ca needs --tls-cert", []string{"--admin-client-ca", ca}},
		{"--api-client-ca is for --api-addr", []string{"--tls-cert", crt, "--tls-key", key, "--api-client-ca", ca}},
		{"--tls-cert, --tls-key: stat " + a.Path("none"), []string{"--tls-cert", a.Path("none"), "--tls-key", key}},
		{"private key does not match", []string{"--tls-cert", crt, "--tls-key", a.Path("ca.key")}},
		{"--admin-client-ca: " + key + ": no certificate", []string{"--tls-cert", crt, "--tls-key", key, "--admin-client-ca", key}},
	} {
		_, stderr, code := command(t, append([]string{"serve", "--dev", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"}, c.args...)...)
		require.Equal(t, 2, code, stderr)
		require.Contains(t, stderr, c.want)
	}
}
