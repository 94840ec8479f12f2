package tlsserve_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/tlsserve"
	"github.com/aeturnis/realtime/internal/tlstest"
)

const patience = 20 * time.Second

// pair returns both ends of a connection over TLS; the server's polls.
func pair(t *testing.T, config *tls.Config, trust *tls.Config) (server *tls.Conn, client *tls.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	accepted := make(chan *tls.Conn, 1)
	go func() {
		c, err := tlsserve.NewListener(l, config).Accept()
		if err != nil {
			close(accepted)
			return
		}
		secure := c.(*tls.Conn)
		_ = secure.HandshakeContext(context.Background())
		accepted <- secure
	}()
	client, err = tls.Dial("tcp", l.Addr().String(), trust)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	server = <-accepted
	require.NotNil(t, server)
	t.Cleanup(func() { _ = server.Close() })
	require.True(t, tlsserve.Below(server).StartPolling())
	return server, client
}

// readAll reads n bytes with a small buffer, as a server does that waits without one. It returns
// how often it had to wait.
func readAll(t *testing.T, server *tls.Conn, n int) (got []byte, waits int) {
	t.Helper()
	buffer := make([]byte, 1000)
	for len(got) < n {
		k, err := server.Read(buffer)
		got = append(got, buffer[:k]...)
		if errors.Is(err, tlsserve.ErrNoData) {
			waits++
			require.NoError(t, tlsserve.Below(server).WaitForData())
			continue
		}
		require.NoError(t, err)
	}
	return got, waits
}

// What comes in pieces of any size arrives whole and in order over both versions of TLS, although
// reads are broken off in the middle of records.
func TestPolledReads(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
	require.NoError(t, err)
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := pair(t, certificates.ServerConfig(nil), &tls.Config{RootCAs: a.Pool(), MinVersion: version, MaxVersion: version})
			require.Equal(t, version, server.ConnectionState().Version)
			sent := make([]byte, 300_000)
			_, _ = rand.Read(sent)
			go func() {
				for rest, size := sent, 1; len(rest) > 0; size = size*3 + 1 {
					k := min(size, len(rest))
					if _, err := client.Write(rest[:k]); err != nil {
						return
					}
					rest = rest[k:]
				}
			}()
			got, _ := readAll(t, server, len(sent))
			require.True(t, bytes.Equal(sent, got))

			_, err := server.Write([]byte("answer"))
			require.NoError(t, err)
			answer := make([]byte, 6)
			_, err = io.ReadFull(client, answer)
			require.NoError(t, err)
			require.Equal(t, "answer", string(answer))

			require.NoError(t, client.CloseWrite())
			require.NoError(t, tlsserve.Below(server).WaitForData())
			_, err = server.Read(answer)
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

// slowPieces is a client's connection that sends each byte by itself.
type slowPieces struct{ net.Conn }

func (s slowPieces) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// A record that comes byte by byte is waited for without a buffer, and is not lost.
func TestARecordInPieces(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	require.NoError(t, raw.(*net.TCPConn).SetNoDelay(true))
	c, err := tlsserve.NewListener(l, certificates.ServerConfig(nil)).Accept()
	require.NoError(t, err)
	defer c.Close()
	client := tls.Client(slowPieces{raw}, &tls.Config{RootCAs: a.Pool(), ServerName: "127.0.0.1"})
	shaken := make(chan error, 1)
	go func() { shaken <- client.HandshakeContext(context.Background()) }()
	server := c.(*tls.Conn)
	require.NoError(t, server.HandshakeContext(t.Context()))
	require.NoError(t, <-shaken)
	require.True(t, tlsserve.Below(server).StartPolling())
	go func() { _, _ = client.Write([]byte("hello, hello")) }()
	got, waits := readAll(t, server, 12)
	require.Equal(t, "hello, hello", string(got))
	require.Positive(t, waits)
}

// WaitForData ends when the connection is closed, and at a deadline.
func TestWaitForDataEnds(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
	require.NoError(t, err)
	server, _ := pair(t, certificates.ServerConfig(nil), &tls.Config{RootCAs: a.Pool()})
	below := tlsserve.Below(server)
	require.NoError(t, below.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	require.ErrorIs(t, below.WaitForData(), os.ErrDeadlineExceeded)
	require.NoError(t, below.SetReadDeadline(time.Time{}))
	ended := make(chan error, 1)
	go func() { ended <- below.WaitForData() }()
	require.NoError(t, below.Close())
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(patience):
		t.Fatal("it still waits")
	}
}

// TLS 1.1 is refused.
func TestOldVersionsAreRefused(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for secure := tlsserve.NewListener(l, certificates.ServerConfig(nil)); ; {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).HandshakeContext(context.Background())
			_ = c.Close()
		}
	}()
	_, err = tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.ErrorContains(t, err, "protocol version")
}

// Files that cannot be are named, and what was read before stays in force.
func TestFilesThatCannotBe(t *testing.T) {
	t.Parallel()
	a := tlstest.New(t)
	a.Issue("server", a)
	_, err := tlsserve.Open(a.Path("nothing.crt"), a.Path("server.key"))
	require.ErrorContains(t, err, "nothing.crt")
	_, err = tlsserve.Open(a.Path("server.crt"), a.Path("ca.key"))
	require.ErrorContains(t, err, "private key does not match")
	_, err = tlsserve.Open(a.Path("server.key"), a.Path("server.key"))
	require.ErrorContains(t, err, "server.key")
	_, err = tlsserve.OpenAuthorities(a.Path("server.key"))
	require.ErrorContains(t, err, "no certificate in PEM")
	require.NoError(t, os.WriteFile(a.Path("huge"), make([]byte, 1<<20+1), 0o600))
	_, err = tlsserve.OpenAuthorities(a.Path("huge"))
	require.ErrorContains(t, err, "larger than 1 MiB")

	certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
	require.NoError(t, err)
	require.False(t, certificates.HasChanged())
	before := certificates.NotAfter()
	require.NoError(t, os.WriteFile(a.Path("server.crt"), []byte("half a file"), 0o600))
	require.True(t, certificates.HasChanged())
	require.Error(t, certificates.Reload())
	require.False(t, certificates.HasChanged(), "it is read again each time, although it is the same")
	require.Equal(t, before, certificates.NotAfter())
	a.Issue("server", a)
	require.True(t, certificates.HasChanged())
	require.NoError(t, certificates.Reload())
}
