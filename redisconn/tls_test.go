package redisconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// authority makes certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", nil)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// issue writes name.crt and name.key; without a parent it signs itself.
func (a *authority) issue(name string, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	require.NoError(a.t, err)
	raw, err := x509.MarshalECPrivateKey(key)
	require.NoError(a.t, err)
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: raw},
	} {
		require.NoError(a.t, os.WriteFile(a.path(file), pem.EncodeToMemory(block), 0o600))
	}
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return cert, key
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a, stranger := newAuthority(t), newAuthority(t)
	a.issue("server", a)
	a.issue("gateway", a)
	stranger.issue("eve", stranger)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	redistest.Server(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", a.path("server.crt"), "--tls-key-file", a.path("server.key"),
		"--tls-ca-cert-file", a.path("ca.crt"), "--tls-auth-clients", "yes", "--user", "ann", "on", ">secret", "~*", "&*", "+@all")
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
	require.NoError(t, tell(redisconn.TLSFiles{CA: a.path("ca.crt"), Cert: a.path("gateway.crt"), Key: a.path("gateway.key")}))
	for name, f := range map[string]redisconn.TLSFiles{
		"no certificate":           {CA: a.path("ca.crt")},
		"that of a stranger":       {CA: a.path("ca.crt"), Cert: stranger.path("eve.crt"), Key: stranger.path("eve.key")},
		"a server that we do not":  {CA: stranger.path("ca.crt"), Cert: a.path("gateway.crt"), Key: a.path("gateway.key")},
		"the system's authorities": {},
	} {
		require.ErrorIs(t, tell(f), redisconn.ErrUnreachable, name)
	}
}

func TestTLSFilesThatCanNotBe(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("gateway", a)
	for name, f := range map[string]redisconn.TLSFiles{
		"no key":         {Cert: a.path("gateway.crt")},
		"no certificate": {Key: a.path("gateway.key")},
		"no file":        {CA: a.path("nothing")},
		"no PEM":         {CA: a.path("ca.key")},
		"another's key":  {Cert: a.path("gateway.crt"), Key: a.path("ca.key")},
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
func (a *authority) serveTLS(name string) (s *redistest.Instance, url string) {
	a.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(a.t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(a.t, l.Close())
	s = redistest.Server(a.t, "--tls-port", port, "--tls-cert-file", a.path(name+".crt"), "--tls-key-file", a.path(name+".key"),
		"--tls-ca-cert-file", a.path("ca.crt"), "--tls-auth-clients", "yes")
	return s, "rediss://127.0.0.1:" + port
}

// TestCertificatesAreReadAtEachDial changes everything while a client lives: the authority, the
// server's certificate and ours.
func TestCertificatesAreReadAtEachDial(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server", a)
	a.issue("gateway", a)
	s, url := a.serveTLS("server")
	files := redisconn.TLSFiles{CA: a.path("ca.crt"), Cert: a.path("gateway.crt"), Key: a.path("gateway.key")}
	config, err := files.Load()
	require.NoError(t, err)
	c, err := redisconn.Open(t.Context(), url, redisconn.Config{TLS: config, TLSFiles: files})
	require.NoError(t, err)
	defer c.Close()

	a.cert, a.key = a.issue("ca", nil)
	a.issue("server", a)
	a.issue("gateway", a)
	admin := s.Client()
	require.NoError(t, admin.Do(t.Context(), "config", "set", "tls-ca-cert-file", a.path("ca.crt"),
		"tls-cert-file", a.path("server.crt"), "tls-key-file", a.path("server.key")).Err())
	require.NoError(t, admin.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err())
	require.Eventually(t, func() bool { return c.Ping(t.Context()).Err() == nil }, 10*time.Second, 20*time.Millisecond)

	// Half of a rotation: the last certificates that could be read are used.
	require.NoError(t, os.WriteFile(a.path("gateway.crt"), []byte("half"), 0o600))
	require.NoError(t, admin.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err())
	require.Eventually(t, func() bool { return c.Ping(t.Context()).Err() == nil }, 10*time.Second, 20*time.Millisecond)
}

func TestTLSAgainstPlainIsExplained(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server", a)
	s, url := a.serveTLS("server")
	_, err := redisconn.Open(t.Context(), "redis"+url[len("rediss"):], redisconn.Config{})
	require.ErrorContains(t, err, "wants TLS (rediss://)")
	_, err = redisconn.Open(t.Context(), "rediss"+s.URL()[len("redis"):], redisconn.Config{})
	require.ErrorContains(t, err, "TLS handshake")
}
