package engineio

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/tlsserve"
	"github.com/aeturnis/realtime/internal/tlstest"
)

// patience is how long a test waits for something that must happen.
const patience = 10 * time.Second

// A recorder is a handler that records its calls. It echoes, unless message is set.
type recorder struct {
	message func(c *Conn, isBinary bool, data []byte) error
	words   func(c *Conn) // said on Overflow and Malformed

	closed    chan string // reasons; room for several, so that a second one is noticed
	malformed chan error
	overflows atomic.Int32
	closes    atomic.Int32
}

func newRecorder() *recorder {
	return &recorder{closed: make(chan string, 8), malformed: make(chan error, 8)}
}

func (h *recorder) Message(c *Conn, isBinary bool, data []byte) error {
	if h.message != nil {
		return h.message(c, isBinary, data)
	}
	m := NewBinary(data)
	if !isBinary {
		m.Free()
		m = NewText().Append(string(data))
	}
	c.Queue(m)
	m.Free()
	return nil
}

func (h *recorder) Malformed(c *Conn, err error) {
	h.malformed <- err
	if h.words != nil {
		h.words(c)
	}
}

func (h *recorder) Overflow(c *Conn) {
	h.overflows.Add(1)
	if h.words != nil {
		h.words(c)
	}
}

func (h *recorder) Closed(_ *Conn, reason string) {
	h.closes.Add(1)
	h.closed <- reason
}

// ends waits for Closed and returns its reason.
func (h *recorder) ends(t testing.TB) string {
	t.Helper()
	select {
	case reason := <-h.closed:
		return reason
	case <-time.After(patience):
		require.FailNow(t, "the connection did not end")
		return ""
	}
}

// A site is a server with an HTTP server around it.
type site struct {
	*Server
	web    *httptest.Server
	client *http.Client
	told   sync.Map     // sid → *recorder
	active atomic.Int32 // requests that are being served
}

type option func(*recorder)

// serve starts a site. Its connections echo, unless an option says otherwise.
func serve(t testing.TB, cfg Config, opts ...option) *site {
	t.Helper()
	s := newSite(cfg, opts...)
	s.web.Start()
	t.Cleanup(s.end)
	return s
}

func newSite(cfg Config, opts ...option) *site {
	s := &site{}
	if cfg.Linger == 0 {
		cfg.Linger = 200 * time.Millisecond // pollers that are still there when a test ends
	}
	if cfg.Handler == nil {
		cfg.Handler = func(c *Conn, _ *http.Request) Handler {
			c.Confirm()
			h := newRecorder()
			for _, o := range opts {
				o(h)
			}
			s.told.Store(c.ID(), h)
			return h
		}
	}
	s.Server = New(cfg)
	s.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.active.Add(1)
		defer s.active.Add(-1)
		s.ServeHTTP(w, r)
	}))
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 2 * patience}
	return s
}

// startTLS starts a site that serves TLS as the gateway does.
func (s *site) startTLS(t testing.TB) {
	t.Helper()
	a := tlstest.New(t)
	a.Issue("server", a)
	certificates, err := tlsserve.Open(a.Path("server.crt"), a.Path("server.key"))
	require.NoError(t, err)
	s.web.Listener = tlsserve.NewListener(s.web.Listener, certificates.ServerConfig(nil))
	s.web.Start()
	s.web.URL = "https" + strings.TrimPrefix(s.web.URL, "http")
	s.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: a.Pool()}
}

func (s *site) end() {
	s.Stop()
	s.client.CloseIdleConnections()
	s.web.CloseClientConnections()
	s.web.Close()
}

func onMessage(f func(c *Conn, isBinary bool, data []byte) error) option {
	return func(h *recorder) { h.message = f }
}

func saying(f func(c *Conn)) option { return func(h *recorder) { h.words = f } }

func (s *site) recorder(t testing.TB, sid string) *recorder {
	t.Helper()
	h, ok := s.told.Load(sid)
	require.True(t, ok, "unknown sid")
	return h.(*recorder)
}

func (s *site) url(query string) string { return s.web.URL + "/engine.io/?" + query }

// do makes a request and returns its status and body.
func (s *site) do(t testing.TB, method, query string, body io.Reader) (int, string) {
	t.Helper()
	r := s.request(t, context.Background(), method, query, body)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(b)
}

func (s *site) request(t testing.TB, ctx context.Context, method, query string, body io.Reader) *http.Response {
	t.Helper()
	q, err := http.NewRequestWithContext(ctx, method, s.url(query), body)
	require.NoError(t, err)
	r, err := s.client.Do(q)
	require.NoError(t, err)
	return r
}

// An opening is the payload of an OPEN packet.
type opening struct {
	Sid          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"`
	PingTimeout  int      `json:"pingTimeout"`
	MaxPayload   int      `json:"maxPayload"`
}

func parseOpening(t testing.TB, packet string) (o opening) {
	t.Helper()
	require.True(t, strings.HasPrefix(packet, "0"), "OPEN expected: %q", packet)
	d := json.NewDecoder(strings.NewReader(packet[1:]))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&o))
	require.NotEmpty(t, o.Sid)
	return o
}

// settled is the heap in use after a collection.
func settled() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// peak samples the heap until it is stopped, and returns the most that was in use. When a sample is
// higher than all before, it has the garbage collected: on a loaded machine the collector comes
// late, and what nobody keeps is no memory that a client costs.
func peak() (stop func() int64) {
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		objects, live := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}, []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		var top int64
		for {
			metrics.Read(objects)
			if int64(objects[0].Value.Uint64()) > top {
				runtime.GC()
				metrics.Read(live)
				top = max(top, int64(live[0].Value.Uint64()))
			}
			select {
			case <-done:
				most <- top
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(done); return <-most }
}

// calm waits until no more goroutines run than before.
func calm(t testing.TB, before int) {
	t.Helper()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 64<<10)
			require.FailNow(t, "goroutines stay", "%d now, %d before\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
