package redisconn_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/tlstest"
	"github.com/aeturnis/realtime/redisconn"
)

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a, stranger := tlstest.New(t), tlstest.New(t)
	a.Issue("server", a)
	a.Issue("gateway", a)
	stranger.Issue("eve", stranger)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	redistest.Server(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", a.Path("server.crt"), "--tls-key-file", a.Path("server.key"),
		"--tls-ca-cert-file", a.Path("ca.crt"), "--tls-auth-clients", "yes", "--user", "ann", "on", ">secret", "~*", "&*", "+@all")
	url := "rediss://ann:secret@127.0.0.1:" + strconv.Itoa(port)

	tell := func(f redisconn.TLSFiles) error {
		config, err := f.Load()
		require.NoError(t, err)
		c, err := redisconn.Open(ctx, url, redisconn.Config{TLS: config})
		if err != nil {
			return err
		}
		defer c.Close()
		require.Equal(t, "ann", c.Do(ctx, "acl", "whoami").Val())
		return c.Set(ctx, "k", "v", 0).Err()
	}
	require.NoError(t, tell(redisconn.TLSFiles{CA: a.Path("ca.crt"), Cert: a.Path("gateway.crt"), Key: a.Path("gateway.key")}))
	for name, f := range map[string]redisconn.TLSFiles{
		"no certificate":           {CA: a.Path("ca.crt")},
		"that of a stranger":       {CA: a.Path("ca.crt"), Cert: stranger.Path("eve.crt"), Key: stranger.Path("eve.key")},
		"a server that we do not":  {CA: stranger.Path("ca.crt"), Cert: a.Path("gateway.crt"), Key: a.Path("gateway.key")},
		"the system's authorities": {},
	} {
		require.ErrorIs(t, tell(f), redisconn.ErrUnreachable, name)
	}
}

func TestTLSFilesThatCanNotBe(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("gateway", a)
	for name, f := range map[string]redisconn.TLSFiles{
		"no key":         {Cert: a.Path("gateway.crt")},
		"no certificate": {Key: a.Path("gateway.key")},
		"no file":        {CA: a.Path("nothing")},
		"no PEM":         {CA: a.Path("ca.key")},
		"another's key":  {Cert: a.Path("gateway.crt"), Key: a.Path("ca.key")},
	} {
		_, err := f.Load()
		require.Error(t, err, name)
	}
	c, err := redisconn.TLSFiles{}.Load()
	require.NoError(t, err)
	require.Nil(t, c)
	require.True(t, redisconn.Secure("rediss+sentinel://a,b/main"))
	require.False(t, redisconn.Secure("redis://a"))
}

// serveTLS starts a server that presents name's certificate and asks for one of ours.
func serveTLS(t *testing.T, a *tlstest.Authority, name string) (s *redistest.Instance, url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close())
	s = redistest.Server(t, "--tls-port", port, "--tls-cert-file", a.Path(name+".crt"), "--tls-key-file", a.Path(name+".key"),
		"--tls-ca-cert-file", a.Path("ca.crt"), "--tls-auth-clients", "yes")
	return s, "rediss://127.0.0.1:" + port
}

// TestCertificatesAreReadAtEachDial changes everything while a client lives: the authority, the
// server's certificate and ours.
func TestCertificatesAreReadAtEachDial(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	a.Issue("gateway", a)
	s, url := serveTLS(t, a, "server")
	files := redisconn.TLSFiles{CA: a.Path("ca.crt"), Cert: a.Path("gateway.crt"), Key: a.Path("gateway.key")}
	config, err := files.Load()
	require.NoError(t, err)
	c, err := redisconn.Open(t.Context(), url, redisconn.Config{TLS: config, TLSFiles: files})
	require.NoError(t, err)
	defer c.Close()

	a.Renew()
	a.Issue("server", a)
	a.Issue("gateway", a)
	admin := s.Client()
	require.NoError(t, admin.Do(t.Context(), "config", "set", "tls-ca-cert-file", a.Path("ca.crt"),
		"tls-cert-file", a.Path("server.crt"), "tls-key-file", a.Path("server.key")).Err())
	require.NoError(t, admin.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err())
	require.Eventually(t, func() bool { return c.Ping(t.Context()).Err() == nil }, 10*time.Second, 20*time.Millisecond)

	// Half of a rotation: the last certificates that could be read are used.
	require.NoError(t, os.WriteFile(a.Path("gateway.crt"), []byte("half"), 0o600))
	require.NoError(t, admin.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err())
	require.Eventually(t, func() bool { return c.Ping(t.Context()).Err() == nil }, 10*time.Second, 20*time.Millisecond)
}

func TestTLSAgainstPlainIsExplained(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	s, url := serveTLS(t, a, "server")
	_, err := redisconn.Open(t.Context(), "redis"+url[len("rediss"):], redisconn.Config{})
	require.ErrorContains(t, err, "wants TLS (rediss://)")
	_, err = redisconn.Open(t.Context(), "rediss"+s.URL()[len("redis"):], redisconn.Config{})
	require.ErrorContains(t, err, "TLS handshake")
}
