package engineio

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/tlsserve"
	"github.com/aeturnis/realtime/internal/tlstest"
)

// holdVariable makes the test binary a program that runs holdConnections, which it describes.
const holdVariable = "ENGINEIO_HOLD"

// holdConnections opens connections that say one thing and are idle then, until its standard input
// ends. described is URL, count and the file of the server's authority.
func holdConnections(described string) error {
	url, rest, _ := strings.Cut(described, " ")
	count, authority, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	dialer := websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 512}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		dialer.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	for range n {
		c, _, err := dialer.Dial(url, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, _, err = c.ReadMessage(); err != nil { // OPEN
			return err
		}
		if err := c.WriteMessage(websocket.TextMessage, []byte("4hello")); err != nil {
			return err
		}
		if _, _, err = c.ReadMessage(); err != nil {
			return err
		}
	}
	fmt.Println("held")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startHolder runs holdConnections in another process.
func startHolder(t testing.TB, url string, n int, authority string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holdVariable+"="+url+" "+strconv.Itoa(n)+" "+authority)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "held" {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return
		}
		t.Fatal(lines.Text())
	}
	t.Fatal("the other process ended")
}

// memoryInUse returns the bytes of live objects and of stacks.
func memoryInUse() uint64 {
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// idleBytes returns how many bytes one of n idle connections takes: objects and stack.
func idleBytes(t testing.TB, n int, start func(s *site) (scheme, authority string)) float64 {
	t.Helper()
	s := newSite(Config{PingInterval: time.Hour})
	scheme, authority := start(s)
	t.Cleanup(s.end)
	url := scheme + strings.TrimPrefix(s.url("EIO=4&transport=websocket"), "http")
	before := memoryInUse()
	startHolder(t, url, n, authority)
	require.Equal(t, n, s.Count())
	return float64(memoryInUse()-before) / float64(n)
}

// plainBytes returns what an idle connection takes without TLS.
func plainBytes(t testing.TB, n int) float64 {
	return idleBytes(t, n, func(s *site) (string, string) {
		s.web.Start()
		return "ws", ""
	})
}

// secureBytes returns what an idle connection takes over TLS, as the gateway serves it.
func secureBytes(t testing.TB, n int) float64 {
	a := tlstest.New(t)
	a.Issue("server", a)
	return idleBytes(t, n, func(s *site) (string, string) {
		certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
		require.NoError(t, err)
		s.web.Listener = tlsserve.NewListener(s.web.Listener, certificates.ServerConfig(nil))
		s.web.Start()
		return "wss", a.Path("ca.crt")
	})
}

var writeBuffers sync.Pool

// cryptoTLSBytes returns what crypto/tls itself keeps of a connection: it is only accepted, and
// read from once.
func cryptoTLSBytes(t testing.TB, n int) float64 {
	t.Helper()
	a := tlstest.New(t)
	a.Issue("server", a)
	certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
	require.NoError(t, err)
	s := newSite(Config{})
	held := make(chan *tls.Conn, n)
	s.web.Listener = tlsserve.NewListener(s.web.Listener, certificates.ServerConfig(nil))
	upgrader := websocket.Upgrader{ReadBufferSize: 64, WriteBufferPool: &writeBuffers}
	s.web.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		_ = c.WriteMessage(websocket.TextMessage, []byte("0{}"))
		if kind, text, err := c.ReadMessage(); err == nil {
			_ = c.WriteMessage(kind, text)
		}
		held <- c.NetConn().(*tls.Conn) // and nothing of gorilla's
	})
	s.web.Start()
	t.Cleanup(s.end)
	before := memoryInUse()
	startHolder(t, "wss"+strings.TrimPrefix(s.web.URL, "http"), n, a.Path("ca.crt"))
	bytes := float64(memoryInUse()-before) / float64(n)
	require.Len(t, held, n)
	for range n {
		_ = (<-held).Close()
	}
	return bytes
}

// An idle connection over TLS takes at most 1.5 times as much as a plain one, beside what
// crypto/tls keeps of it. It is not parallel: it measures memory.
func TestAllocationsOfAnIdleConnectionOverTLS(t *testing.T) {
	if raced {
		t.Skip("the race detector changes what objects take; it runs with the tests of allocations")
	}
	const n = 1000
	plain, cryptoTLS, secure := plainBytes(t, n), cryptoTLSBytes(t, n), secureBytes(t, n)
	t.Logf("plain %.0f bytes, over TLS %.0f, of these crypto/tls %.0f", plain, secure, cryptoTLS)
	require.LessOrEqual(t, secure, 1.5*plain+cryptoTLS)
}
