package redisconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/redisconn"
)

func TestOpenDatabase(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t)
	require.NoError(t, open(t, s.URL()+"/3").Set(ctx, "k", "v", 0).Err())
	require.Equal(t, "v", open(t, s.URL()+"/3").Get(ctx, "k").Val())
	require.ErrorIs(t, open(t, s.URL()).Get(ctx, "k").Err(), redis.Nil)
}

func TestOpenWithPassword(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t, "--requirepass", "hun@ter/2", "--user", "ann", "on", ">pass:word%", "~*", "+@all")
	at := "@" + s.Addr()
	for name, credentials := range map[string]string{
		"raw": ":hun@ter/2", "escaped": ":hun%40ter%2F2", "named": "default:hun@ter/2", "other user": "ann:pass%3Aword%25",
	} {
		require.Equal(t, "PONG", open(t, "redis://"+credentials+at).Ping(ctx).Val(), name)
	}
	for name, credentials := range map[string]string{"none": "", "wrong": ":hunter2@"} {
		_, err := redisconn.Open(ctx, "redis://"+credentials+s.Addr(), redisconn.Config{})
		require.ErrorIs(t, err, redisconn.ErrRefused, name)
		require.True(t, redisconn.IsUnavailable(err), name)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestOpenUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sock")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "r.sock")
	s := redistest.Server(t, "--unixsocket", socket)
	c := open(t, "unix://"+socket+"?db=2")
	require.NoError(t, c.Set(context.Background(), "k", "v", 0).Err())
	require.Equal(t, "v", open(t, s.URL()+"/2").Get(context.Background(), "k").Val())
}

func TestOpenTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close())
	redistest.Server(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-auth-clients", "no", "--tls-ca-cert-file", cert)
	ctx := context.Background()
	c, err := redisconn.Open(ctx, "rediss://127.0.0.1:"+port, redisconn.Config{TLS: &tls.Config{RootCAs: pool}})
	require.NoError(t, err)
	require.NoError(t, c.Close())

	_, err = redisconn.Open(ctx, "rediss://127.0.0.1:"+port, redisconn.Config{})
	require.ErrorIs(t, err, redisconn.ErrUnreachable, "a certificate that nobody vouches for")
	_, err = redisconn.Open(ctx, "rediss://localhost:"+port, redisconn.Config{TLS: &tls.Config{RootCAs: pool}})
	require.ErrorIs(t, err, redisconn.ErrUnreachable, "a certificate for another name")
}

// certificate writes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return path
	}
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), pool
}

func TestFailsFast(t *testing.T) {
	t.Parallel()
	s, lag := redistest.Server(t), redistest.Lag(t)
	c := open(t, s.URL())
	s.Pause()
	start := time.Now()
	err := c.Ping(context.Background()).Err()
	require.True(t, redisconn.IsUnavailable(err), "%v", err)
	require.Less(t, time.Since(start), 2500*time.Millisecond, "hung: two tries of 500 ms")

	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start = time.Now()
	err = c.Ping(ctx).Err()
	require.Equal(t, "no answer in time", redisx.UnavailableReason(err), "%v", err)
	require.Less(t, time.Since(start), 400*time.Millisecond+lag(), "the caller's deadline counts")

	s.Kill()
	start = time.Now()
	err = c.Ping(context.Background()).Err()
	require.True(t, redisconn.IsUnavailable(err), "%v", err)
	require.Less(t, time.Since(start), 400*time.Millisecond+lag(), "refused")
}

// TestComesBackWithinASecond fails when failed dials count as go-redis counts them: then the
// client would look again only once a second.
func TestComesBackWithinASecond(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	c, err := redisconn.Open(context.Background(), s.URL(), redisconn.Config{PoolSize: 2})
	require.NoError(t, err)
	defer c.Close()
	s.Kill()
	for range 20 {
		err := c.Ping(context.Background()).Err()
		require.True(t, redisconn.IsUnavailable(err), "%v", err)
		require.True(t, strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "EOF"), err)
	}
	s.Restart()
	back := time.Now()
	require.Eventually(t, func() bool { return c.Ping(context.Background()).Err() == nil }, 10*time.Second, time.Millisecond)
	require.Less(t, time.Since(back), within)
}

// TestAServerThatRefusesNames: a name in CLIENT LIST is a help for operators, and no condition.
func TestAServerThatRefusesNames(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t, "--user", "game", "on", ">secret", "~*", "&*", "+@all", "-client|setname")
	c, err := redisconn.Open(t.Context(), "redis://game:secret@"+s.Addr(), redisconn.Config{Name: "gateway"})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Set(t.Context(), "k", "v", 0).Err())
	require.NotContains(t, s.Client().ClientList(t.Context()).Val(), "name=gateway")

	named, err := redisconn.Open(t.Context(), s.URL(), redisconn.Config{Name: "gateway"})
	require.NoError(t, err)
	defer named.Close()
	require.Contains(t, s.Client().ClientList(t.Context()).Val(), "name=gateway")
}

func TestARefusalIsNotUnreachable(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t, "--requirepass", "secret", "--user", "game", "on", ">secret", "~*", "+@all", "-ping")
	for name, login := range map[string]string{"a wrong password": ":wrong@", "no password": "", "no right": "game:secret@"} {
		_, err := redisconn.Open(t.Context(), "redis://"+login+s.Addr(), redisconn.Config{Name: "gateway"})
		require.ErrorIs(t, err, redisconn.ErrRefused, name)
		require.NotErrorIs(t, err, redisconn.ErrUnreachable, name)
	}
}
