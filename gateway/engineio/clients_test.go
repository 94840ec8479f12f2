package engineio

import (
	"bufio"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A poller is a client that polls.
type poller struct {
	t   testing.TB
	s   *site
	sid string
}

func (s *site) poller(t testing.TB) *poller {
	t.Helper()
	status, body := s.do(t, http.MethodGet, "EIO=4&transport=polling", nil)
	require.Equal(t, http.StatusOK, status, body)
	return &poller{t, s, parseOpening(t, body).Sid}
}

func (p *poller) query() string { return "EIO=4&transport=polling&sid=" + p.sid }

func (p *poller) get() (int, string) {
	p.t.Helper()
	return p.s.do(p.t, http.MethodGet, p.query(), nil)
}

func (p *poller) post(body string) (int, string) {
	p.t.Helper()
	return p.s.do(p.t, http.MethodPost, p.query(), strings.NewReader(body))
}

// An answer is the result of a request.
type answer struct {
	status int
	body   string
}

// getLater polls in the background; it returns when the server holds the poll.
func (p *poller) getLater() <-chan answer {
	p.t.Helper()
	got := make(chan answer, 1)
	go func() {
		r, err := p.s.client.Get(p.s.url(p.query()))
		if err != nil {
			got <- answer{0, err.Error()}
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		got <- answer{r.StatusCode, string(b)}
	}()
	c := p.conn()
	require.Eventually(p.t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.waitingPoll != nil || len(got) > 0
	}, patience, time.Millisecond)
	return got
}

func (p *poller) conn() *Conn {
	p.t.Helper()
	c := p.s.findConn(p.sid)
	require.NotNil(p.t, c, "the connection is gone")
	return c
}

func (p *poller) recorder() *recorder { return p.s.recorder(p.t, p.sid) }

// A socket is a websocket client that sends any frame, also invalid ones.
type socket struct {
	net.Conn
	t   testing.TB
	s   *site
	br  *bufio.Reader
	sid string
}

// socket opens a connection over a websocket.
func (s *site) socket(t testing.TB) *socket {
	t.Helper()
	w := s.dial(t, "EIO=4&transport=websocket")
	w.sid = parseOpening(t, w.text()).Sid
	return w
}

// dial opens a websocket and nothing more. headers are whole lines.
func (s *site) dial(t testing.TB, query string, headers ...string) *socket {
	t.Helper()
	nc, err := net.Dial("tcp", s.web.Listener.Addr().String())
	require.NoError(t, err)
	return s.over(t, nc, query, headers...)
}

// over is like dial, on an existing connection.
func (s *site) over(t testing.TB, nc net.Conn, query string, headers ...string) *socket {
	t.Helper()
	t.Cleanup(func() { _ = nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(3*patience)))
	w := &socket{Conn: nc, t: t, s: s, br: bufio.NewReader(nc)}
	w.raw([]byte("GET /engine.io/?" + query + " HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")) + "\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n"))
	r, err := http.ReadResponse(w.br, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
	return w
}

func (w *socket) conn() *Conn {
	w.t.Helper()
	c := w.s.findConn(w.sid)
	require.NotNil(w.t, c, "the connection is gone")
	return c
}

func (w *socket) recorder() *recorder { return w.s.recorder(w.t, w.sid) }

func (w *socket) raw(b []byte) {
	w.t.Helper()
	_, err := w.Write(b)
	require.NoError(w.t, err)
}

// frameOf makes a masked frame. first is its first byte: FIN, reserved bits and opcode.
func frameOf(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, flagMask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, flagMask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, flagMask|127), uint64(n))
	}
	key := [4]byte{7, 77, 177, 33}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i&3])
	}
	return b
}

func (w *socket) send(text string)  { w.t.Helper(); w.raw(frameOf(flagFin|opText, text)) }
func (w *socket) bytes(data string) { w.t.Helper(); w.raw(frameOf(flagFin|opBinary, data)) }

// next reads a frame of the server.
func (w *socket) next() (op byte, payload []byte, err error) {
	var head [10]byte
	if _, err = io.ReadFull(w.br, head[:2]); err != nil {
		return 0, nil, err
	}
	if head[0]&flagFin == 0 || head[1]&flagMask != 0 {
		return 0, nil, errors.New("the server sent a fragment or a masked frame")
	}
	size := int(head[1])
	switch size {
	case 126:
		_, err = io.ReadFull(w.br, head[2:4])
		size = int(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, err = io.ReadFull(w.br, head[2:10])
		size = int(binary.BigEndian.Uint64(head[2:]))
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(w.br, payload)
	if err == nil && head[0]&0x40 != 0 { // compressed
		payload, err = io.ReadAll(flate.NewReader(strings.NewReader(string(payload) + "\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	}
	return head[0] & maskOp, payload, err
}

// text reads a text frame.
func (w *socket) text() string {
	w.t.Helper()
	op, payload, err := w.next()
	require.NoError(w.t, err)
	require.Equal(w.t, byte(opText), op, "%q", payload)
	return string(payload)
}

// message reads the next message, and skips pings.
func (w *socket) message() string {
	w.t.Helper()
	for {
		if text := w.text(); text != "2" {
			return text
		}
	}
}

// status reads until the server closes, and returns the status that its close frame told:
// 0 when none came.
func (w *socket) status() (status int) {
	w.t.Helper()
	for {
		op, payload, err := w.next()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			require.FailNow(w.t, "the server did not close")
		}
		if err != nil {
			_ = w.Close()
			return status
		}
		if op == opClose && len(payload) >= 2 {
			status = int(binary.BigEndian.Uint16(payload))
		}
	}
}

// neighbour opens a connection of another client. The returned function asserts that it still gets
// its echo.
func (s *site) neighbour(t testing.TB) (chats func()) {
	t.Helper()
	w := s.socket(t)
	return func() {
		t.Helper()
		w.send("4neighbour")
		require.Equal(t, "4neighbour", w.text())
	}
}

// upgraded opens a connection by polling and takes it to a websocket.
func (s *site) upgraded(t testing.TB) (*poller, *socket) {
	t.Helper()
	p := s.poller(t)
	w := p.probe()
	w.send("5")
	return p, w
}

// probe opens a second transport that has proven itself.
func (p *poller) probe() *socket {
	p.t.Helper()
	w := p.s.dial(p.t, "EIO=4&transport=websocket&sid="+p.sid)
	w.sid = p.sid
	w.send("2probe")
	require.Equal(p.t, "3probe", w.text())
	return w
}
