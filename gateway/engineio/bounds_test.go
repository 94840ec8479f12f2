package engineio

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestErrorsOfTheProtocol(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{AllowOrigin: func(r *http.Request) bool { return r.Header.Get("Origin") != "https://evil.example" }})
	p := s.poller(t)
	for _, c := range []struct {
		name, method, query, origin string
		status                      int
		body                        string
	}{
		{"0", "GET", "EIO=4&transport=webtransport", "", 400, `{"code":0,"message":"Transport unknown"}`},
		{"0 without any", "GET", "EIO=4", "", 400, `{"code":0,"message":"Transport unknown"}`},
		{"1", "GET", "EIO=4&transport=polling&sid=abc", "", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"1 with an empty sid", "POST", "EIO=4&transport=polling&sid=", "", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"2", "POST", "EIO=4&transport=polling", "", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"3, a websocket that is none", "GET", "EIO=4&transport=websocket", "", 400, `{"code":3,"message":"Bad request"}`},
		{"4", "GET", "EIO=4&transport=polling", "https://evil.example", 403, `{"code":4,"message":"Forbidden"}`},
		{"5, version 3", "GET", "EIO=3&transport=polling", "", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"5, none", "GET", "transport=polling", "", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"PUT", "PUT", "EIO=4&transport=polling", "", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"OPTIONS", "OPTIONS", "EIO=4&transport=polling", "", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"HEAD", "HEAD", "EIO=4&transport=polling", "", 400, ""},
		{"PUT on a session", "PUT", p.query(), "", 400, `{"code":3,"message":"Bad request"}`},
		{"DELETE on a session", "DELETE", p.query(), "", 400, `{"code":3,"message":"Bad request"}`},
		{"OPTIONS on a session", "OPTIONS", p.query(), "", 400, `{"code":3,"message":"Bad request"}`},
		{"HEAD on a session", "HEAD", p.query(), "", 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, err := http.NewRequest(c.method, s.url(c.query), nil)
			require.NoError(t, err)
			if c.origin != "" {
				q.Header.Set("Origin", c.origin)
			}
			r, err := s.client.Do(q)
			require.NoError(t, err)
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, r.StatusCode)
			require.Equal(t, c.body, string(body))
			require.Equal(t, "application/json", r.Header.Get("Content-Type"))
		})
	}
	for query, body := range map[string]string{
		"EIO=4&transport=websocket&sid=abc": `{"code":1,"message":"Session ID unknown"}`,
		"EIO=4&transport=polling":           `{"code":3,"message":"Bad request"}`,
		"EIO=3&transport=websocket":         `{"code":5,"message":"Unsupported protocol version"}`,
	} {
		r := s.knock(t, query)
		require.Equal(t, 400, r.StatusCode)
		got, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, body, string(got))
	}
	p.echoes()
}

func TestHandshakesAreTurnedAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		cfg    Config
		comeIn int // how many may come in before
		status int
		retry  string
		body   string
	}{
		{"too many in all", Config{MaxConns: 3}, 3, 503, "5", `{"code":4,"message":"Too many connections"}`},
		{"too many of an address", Config{MaxConnsPerAddr: 2}, 2, 429, "5", `{"code":4,"message":"Too many connections from this address"}`},
		{"too many a second", Config{HandshakesPerSecond: 0.001}, 1, 503, "1", `{"code":4,"message":"Too many handshakes"}`},
		{
			"not admitted",
			Config{Admit: func(*http.Request) *Refusal {
				return &Refusal{429, "Slow \"down\"\n", 1500 * time.Millisecond}
			}},
			0, 429, "2", `{"code":4,"message":"Slow \"down\"\n"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.cfg)
			var last *socket
			for range c.comeIn {
				last = s.socket(t)
			}
			refused := func(r *http.Response) {
				t.Helper()
				defer r.Body.Close()
				body, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				require.Equal(t, c.status, r.StatusCode)
				require.Equal(t, c.retry, r.Header.Get("Retry-After"))
				require.Equal(t, c.body, string(body))
				require.Empty(t, r.Header.Get("Set-Cookie"))
				require.Equal(t, c.comeIn, s.Count())
			}
			refused(s.request(t, t.Context(), http.MethodGet, "EIO=4&transport=polling", nil))
			refused(s.knock(t, "EIO=4&transport=websocket"))
			if last == nil || c.cfg.HandshakesPerSecond > 0 {
				return
			}
			last.send("4hello")
			require.Equal(t, "4hello", last.text())
			h := last.recorder()
			require.NoError(t, last.Close())
			h.ends(t)
			s.socket(t) // one left, one may come
		})
	}
}

// One customer has a /64, and NAT64 translates many customers: 2 of 12 addresses of a /64 come in,
// and 2 connections of each translated one.
func TestConnectionsAreBoundByNetwork(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{MaxConnsPerAddr: 2, ClientAddr: func(r *http.Request) string { return r.URL.Query().Get("addr") }})
	shake := func(addr string) int {
		status, _ := s.do(t, http.MethodGet, "EIO=4&transport=polling&addr="+url.QueryEscape(addr), nil)
		return status
	}
	admitted := 0
	for i := range 12 {
		if status := shake(fmt.Sprintf("2001:db8::%x", i+1)); status == http.StatusOK {
			admitted++
		} else {
			require.Equal(t, http.StatusTooManyRequests, status)
		}
	}
	require.Equal(t, 2, admitted)
	for i := range 12 {
		require.Equal(t, http.StatusOK, shake(fmt.Sprintf("64:ff9b::203.0.113.%d", i+1)))
	}
	require.Equal(t, http.StatusOK, shake("203.0.113.1"))
	require.Equal(t, http.StatusTooManyRequests, shake("203.0.113.1"), "the same customer without translation")
}

func TestARefusingServerKeepsWhatIsConnected(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	s.Refuse()
	r := s.knock(t, "EIO=4&transport=websocket")
	require.Equal(t, 503, r.StatusCode)
	require.Equal(t, "2", r.Header.Get("Retry-After"))
	status, _ := s.do(t, http.MethodGet, "EIO=4&transport=polling", nil)
	require.Equal(t, 503, status)
	chats()
}

func TestAddressesThatLeftAreForgotten(t *testing.T) {
	t.Parallel()
	next := 0
	s := serve(t, Config{MaxConnsPerAddr: 1, ClientAddr: func(*http.Request) string { next++; return strconv.Itoa(next) }})
	for range 20 {
		w := s.socket(t)
		h := w.recorder()
		w.send("1")
		h.ends(t)
		w.status()
	}
	require.Zero(t, s.Count())
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.placesByAddr)
	require.Empty(t, s.conns)
}

func TestACookieIsSetOnlyWhenItIsNamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "io"} {
		s := serve(t, Config{Cookie: name})
		r := s.request(t, t.Context(), http.MethodGet, "EIO=4&transport=polling", nil)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		if name == "" {
			require.Empty(t, r.Cookies())
			continue
		}
		require.Len(t, r.Cookies(), 1)
		require.Equal(t, parseOpening(t, string(body)).Sid, r.Cookies()[0].Value)
		require.True(t, r.Cookies()[0].HttpOnly)
	}
}

// overflow pushes until the connection is closed for it, and asserts how it is closed.
func overflow(t *testing.T, c *Conn, h *recorder) {
	t.Helper()
	m := NewText().Append(strings.Repeat("x", 1000)).Seal()
	before, stop := settled(), peak()
	for range 100_000 {
		if !c.Push(m) {
			break
		}
	}
	require.False(t, c.Push(m), "100 MB wait")
	require.Equal(t, int32(1), h.overflows.Load())
	require.Equal(t, ReasonSlowConsumer, h.ends(t))
	require.Less(t, stop()-before, int64(16<<20))
	require.Equal(t, int32(1), h.closes.Load())
}

// Not parallel: it measures memory.
func TestAReaderThatNeverReads(t *testing.T) {
	const bound = 256 << 10
	words := saying(func(c *Conn) { c.Push(NewText().Append("too slow")) })

	s := serve(t, Config{OutboundQueue: bound}, words)
	chats := s.neighbour(t)
	goroutines := runtime.NumGoroutine()
	w := s.socket(t)
	c, h := w.conn(), w.recorder()
	overflow(t, c, h)
	require.Eventually(t, func() bool { return s.Count() == 1 }, patience, time.Millisecond) // it lingered, and went
	calm(t, goroutines)
	chats()

	p := s.poller(t)
	c, h = p.conn(), p.recorder()
	overflow(t, c, h)
	require.Eventually(t, func() bool { return s.Count() == 1 }, patience, time.Millisecond)
	chats()
}

func TestASlowReaderHearsTheLastWords(t *testing.T) {
	t.Parallel()
	const bound = 64 << 10
	s := serve(t, Config{OutboundQueue: bound, Linger: patience},
		saying(func(c *Conn) { c.Push(NewText().Append("too slow")) }))
	m := NewText().Append(strings.Repeat("x", 1000)).Seal()

	w := s.socket(t)
	c, h := w.conn(), w.recorder()
	sent := 0
	for c.Push(m) {
		sent++
	}
	require.Equal(t, int32(1), h.overflows.Load())
	for range sent {
		require.Len(t, w.text(), 1001)
	}
	require.Equal(t, "4too slow", w.text())
	require.Equal(t, closeNormal, w.status())

	p := s.poller(t)
	c = p.conn()
	for sent = 0; c.Push(m); sent++ {
	}
	_, body := p.get()
	packets := strings.Split(body, "\x1e")
	require.Len(t, packets, sent+1)
	require.Equal(t, "4too slow", packets[sent])
	_, body = p.get()
	require.Equal(t, "1", body)
}

func TestLastWordsAreBoundedToo(t *testing.T) {
	t.Parallel()
	const bound = 64 << 10
	took := make(chan int, 1)
	s := serve(t, Config{OutboundQueue: bound}, saying(func(c *Conn) {
		n, m := 0, NewText().Append(strings.Repeat("x", 1000)).Seal()
		for n < 10_000 && c.Push(m) {
			n++
		}
		took <- n
	}))
	c := s.poller(t).conn()
	m := NewText().Append(strings.Repeat("x", 1000)).Seal()
	for c.Push(m) {
	}
	require.Less(t, <-took, 2*bound/1000)
}

func TestVolatileMessagesAreDroppedWhenTheClientIsBehind(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{OutboundQueue: 16 << 20})
	vol := NewText().Append("volatile").Volatile().Seal()
	normal := NewText().Append("normal").Seal()

	p := s.poller(t)
	c := p.conn()
	require.False(t, c.Push(vol), "nobody polls")
	require.True(t, c.Push(normal))
	_, body := p.get()
	require.Equal(t, "4normal", body)
	waiting := p.getLater()
	require.True(t, c.Push(vol), "a poll waits")
	require.Equal(t, answer{200, "4volatile"}, <-waiting)

	w := s.socket(t)
	c = w.conn()
	require.True(t, c.Push(vol))
	require.Equal(t, "4volatile", w.text())
	big := NewText().Append(strings.Repeat("x", 1<<20)).Seal()
	behind := func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.hasWriter }
	pushed := 0
	for ; !behind(); pushed++ { // until the kernel takes no more
		require.True(t, c.Push(big))
		c.Flush()
	}
	dropped := 0
	for range 50 {
		if !c.Push(vol) {
			dropped++
		}
	}
	require.Equal(t, 50, dropped)
	require.True(t, c.Push(normal))
	for range pushed {
		require.Len(t, w.text(), 1<<20+1)
	}
	require.Equal(t, "4normal", w.text())
	require.Eventually(t, func() bool { return !behind() }, patience, time.Millisecond)
	require.True(t, c.Push(vol))
	require.Equal(t, "4volatile", w.text())
}
