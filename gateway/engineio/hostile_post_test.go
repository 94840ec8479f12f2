package engineio

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every test of hostile input asserts what the client is answered, and that a neighbour
// keeps chatting.

func TestHostilePosts(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	for _, c := range []struct {
		name, body string
		status     int
		err        error
	}{
		{"nothing", "", 400, ErrMalformed},
		{"an empty packet", "\x1e", 400, ErrMalformed},
		{"an empty packet in the middle", "4a\x1e\x1e4b", 400, ErrMalformed},
		{"an empty packet at the end", "4a\x1e", 400, ErrMalformed},
		{"a type that does not exist", "7", 400, ErrMalformed},
		{"a type beyond ASCII", "\xc3\xa9", 400, ErrMalformed},
		{"an OPEN", `0{"sid":"x"}`, 400, ErrMalformed},
		{"a PING", "2", 400, ErrMalformed},
		{"an UPGRADE", "5", 400, ErrMalformed},
		{"base64 of another alphabet", "b!!!!", 400, ErrMalformed},
		{"base64 without padding", "bAQ", 400, ErrMalformed},
		{"text that is not UTF-8", "4\xff\xfe", 400, ErrMalformed},
		{"half a rune", "4\xe2\x82", 400, ErrMalformed},
		{"too many packets", strings.Repeat("4\x1e", 2000) + "4", 400, ErrTooMany},
		{"too many empty packets", strings.Repeat("\x1e", 900_000), 400, ErrTooMany},
		{"one byte too much", "4" + strings.Repeat("x", 1e6), 413, ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.poller(t)
			h := p.recorder()
			status, body := p.post(c.body)
			require.Equal(t, c.status, status)
			if status == 400 {
				require.Equal(t, `{"code":3,"message":"Bad request"}`, body)
			}
			require.ErrorIs(t, <-h.malformed, c.err)
			require.Equal(t, ReasonParseError, h.ends(t))
			for status = 200; status == 200; { // what was answered before the bad packet, and the close
				status, _ = p.get()
			}
			require.Equal(t, 400, status)
			require.Equal(t, int32(1), h.closes.Load())
			chats()
		})
	}
}

func TestPostsUpToTheBounds(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{OutboundQueue: 4 << 20})
	for _, c := range []struct{ name, body string }{
		{"a packet of 70 KB", "4" + strings.Repeat("x", 70_000)},
		{"a packet of exactly the maximum", "4" + strings.Repeat("x", 1e6-1)},
		{"exactly 2,000 packets", strings.Repeat("4\x1e", 1999) + "4"},
		{"an empty text and an empty binary", "4\x1eb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.poller(t)
			status, _ := p.post(c.body)
			require.Equal(t, 200, status)
			status, body := p.get()
			require.Equal(t, 200, status)
			require.True(t, c.body == body, "the echo differs: %d bytes for %d", len(body), len(c.body))
		})
	}
}

// open starts a POST by hand: its head, and nothing of its body.
func (p *poller) open(head string) net.Conn {
	p.t.Helper()
	nc, err := net.Dial("tcp", p.s.web.Listener.Addr().String())
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = nc.Close() })
	require.NoError(p.t, nc.SetDeadline(time.Now().Add(3*patience)))
	_, err = fmt.Fprintf(nc, "POST /engine.io/?%s HTTP/1.1\r\nHost: test\r\n%s\r\n\r\n", p.query(), head)
	require.NoError(p.t, err)
	return nc
}

// answered reads the answer on a connection, and that the server then closes it.
func answered(t testing.TB, nc net.Conn) int {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(nc), nil)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, r.Body)
	require.True(t, r.Close, "the connection stays open")
	return r.StatusCode
}

func TestALengthTooLargeIsRefusedUnread(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	for _, length := range []string{"1000001", "300000000", "9223372036854775807"} {
		p := s.poller(t)
		h := p.recorder()
		require.Equal(t, 413, answered(t, p.open("Content-Length: "+length)))
		require.ErrorIs(t, <-h.malformed, ErrTooLarge)
		require.Equal(t, ReasonParseError, h.ends(t))
		chats()
	}
}

// Not parallel: it measures memory.
func TestAPostOf300MegabytesIsNotKept(t *testing.T) {
	s := serve(t, Config{})
	chats := s.neighbour(t)
	p := s.poller(t)
	h := p.recorder()
	before, stop := settled(), peak()
	nc := p.open("Transfer-Encoding: chunked")
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	sent, err := 0, error(nil)
	for ; sent < 300 && err == nil; sent++ {
		_, err = fmt.Fprintf(nc, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	require.Error(t, err, "the server took all of it")
	require.Less(t, sent, 30)
	require.ErrorIs(t, <-h.malformed, ErrTooLarge)
	require.Equal(t, ReasonParseError, h.ends(t))
	require.Less(t, stop()-before, int64(16<<20))
	chats()
}

func TestAChunkedPostPastTheBoundIsAnswered(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{MaxPayload: 1000})
	chats := s.neighbour(t)
	p := s.poller(t)
	h := p.recorder()
	nc := p.open("Transfer-Encoding: chunked")
	_, err := fmt.Fprintf(nc, "3e9\r\n%s\r\n", strings.Repeat("x", 1001))
	require.NoError(t, err)
	require.Equal(t, 413, answered(t, nc))
	require.Equal(t, ReasonParseError, h.ends(t))
	chats()
}

func TestAnAbortedPostEndsTheSession(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	p := s.poller(t)
	nc := p.open("Content-Length: 1000")
	_, err := nc.Write([]byte("4half"))
	require.NoError(t, err)
	require.NoError(t, nc.Close())
	require.Equal(t, ReasonTransportError, p.recorder().ends(t))
	chats()
}

func TestTwoPostsAtOnceEndTheSession(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	p := s.poller(t)
	h, c := p.recorder(), p.conn()
	first := p.open("Content-Length: 6")
	require.Eventually(t, c.hasPost.Load, patience, time.Millisecond)
	status, body := p.post("4b")
	require.Equal(t, 400, status)
	require.Equal(t, `{"code":3,"message":"Bad request"}`, body)
	require.Equal(t, ReasonTransportError, h.ends(t))
	_, err := first.Write([]byte("4first"))
	require.NoError(t, err)
	r, err := http.ReadResponse(bufio.NewReader(first), nil)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	status, body = p.get()
	require.Equal(t, 200, status)
	require.Equal(t, "1", body, "nothing of either POST is served")
	status, _ = p.get()
	require.Equal(t, 400, status)
	chats()
}

func TestAPollThatIsNeverReadEnds(t *testing.T) {
	t.Parallel()
	big := NewText().Append(strings.Repeat("x", 24<<20)).Seal() // more than the kernel takes
	s := serve(t, Config{OutboundQueue: 32 << 20, PingInterval: 500 * time.Millisecond, PingTimeout: 500 * time.Millisecond})
	p := s.poller(t)
	h, c := p.recorder(), p.conn()
	require.True(t, c.Push(big))
	nc, err := net.Dial("tcp", s.web.Listener.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	_, err = fmt.Fprintf(nc, "GET /engine.io/?%s HTTP/1.1\r\nHost: test\r\n\r\n", p.query())
	require.NoError(t, err)
	require.Contains(t, []string{ReasonTransportError, ReasonPingTimeout}, h.ends(t))
	require.Eventually(t, func() bool { return s.active.Load() == 0 }, patience, 5*time.Millisecond, "the poll is held for ever")
	s.neighbour(t)()
}
