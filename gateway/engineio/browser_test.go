package engineio

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A browser that offers protocols fails unless one of them is chosen.
func TestTheFirstProtocolIsChosen(t *testing.T) {
	t.Parallel()
	for _, compression := range []bool{false, true} {
		s := serve(t, Config{Compression: compression})
		for offer, want := range map[string]string{"a, b": "a", "b": "b", " c ,a": "c", "": ""} {
			for _, query := range []string{"EIO=4&transport=websocket", "EIO=4&transport=websocket&sid=" + s.poller(t).sid} {
				nc, err := net.Dial("tcp", s.web.Listener.Addr().String())
				require.NoError(t, err)
				w := &socket{Conn: nc, t: t, s: s}
				t.Cleanup(func() { _ = nc.Close() })
				header := ""
				if offer != "" {
					header = "Sec-WebSocket-Protocol: " + offer + "\r\n"
				}
				r := w.upgrade(query, header+"Sec-WebSocket-Extensions: permessage-deflate\r\n")
				require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
				require.Equal(t, want, r.Header.Get("Sec-WebSocket-Protocol"), "%q %s", offer, query)
			}
		}
	}
}

// upgrade asks for a websocket and returns the answer. headers are whole lines.
func (w *socket) upgrade(query, headers string) *http.Response {
	w.t.Helper()
	require.NoError(w.t, w.SetDeadline(time.Now().Add(3*patience)))
	w.raw([]byte("GET /engine.io/?" + query + " HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")) + "\r\n" + headers + "\r\n"))
	r, err := http.ReadResponse(bufio.NewReader(w), nil)
	require.NoError(w.t, err)
	return r
}

func TestACloseReasonThatIsNotUTF8(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	w := s.socket(t)
	h := w.recorder()
	w.raw(frameOf(flagFin|opClose, "\x03\xe8\xff"))
	require.Equal(t, closeUTF8, w.status())
	require.Equal(t, ReasonParseError, h.ends(t))
}

// A client that is told of the end by its poll would take it for a lost connection.
func TestAPostIsAnsweredBeforeThePollEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"too large": {"4" + strings.Repeat("x", 1000), http.StatusRequestEntityTooLarge},
		"malformed": {"x", http.StatusBadRequest},
	} {
		for range 20 {
			answered := make(chan int, 1)
			s := serve(t, Config{MaxPayload: 1000}, saying(func(*Conn) { // the poll ends after this
				select {
				case status := <-answered:
					if status != c.status {
						t.Errorf("%s: answered with %d", name, status)
					}
				case <-time.After(patience):
					t.Errorf("%s: the poll ends before the POST is answered", name)
				}
			}))
			p := s.poller(t)
			poll := p.getLater()
			r, err := s.client.Post(s.url(p.query()), "text/plain", strings.NewReader(c.body))
			require.NoError(t, err)
			var b bytes.Buffer
			_, err = b.ReadFrom(r.Body) // the whole answer, not only its head
			require.NoError(t, err)
			require.NoError(t, r.Body.Close())
			answered <- r.StatusCode
			require.Equal(t, answer{200, "1"}, <-poll)
		}
	}
}

// A connection that is over takes no place of those that one address may have, although late
// requests of its client are still known for a while.
func TestAPoliteCloseFreesItsPlaceAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{MaxConnsPerAddr: 1, MaxConns: 1, Linger: time.Hour})
	for name, end := range map[string]func(p *poller){
		"the client closes, with a poll open": func(p *poller) {
			poll := p.getLater()
			status, _ := p.post("1")
			require.Equal(t, 200, status)
			require.Equal(t, answer{200, "6"}, <-poll)
		},
		"the client closes, without a poll": func(p *poller) {
			status, _ := p.post("1")
			require.Equal(t, 200, status)
		},
		"the client closes and leaves its messages": func(p *poller) {
			p.conn().Push(NewText().Append("hello"))
			status, _ := p.post("4a\x1e1")
			require.Equal(t, 200, status)
		},
		"the server closes": func(p *poller) {
			poll := p.getLater()
			p.conn().Shut("why")
			require.Equal(t, answer{200, "1"}, <-poll)
		},
		"the server closes after a message": func(p *poller) {
			poll := p.getLater()
			p.conn().Push(NewText().Append("hello"))
			require.Equal(t, answer{200, "4hello"}, <-poll)
			p.conn().Shut("why")
			status, body := p.get()
			require.Equal(t, answer{200, "1"}, answer{status, body})
		},
	} {
		p := s.poller(t) // 429 when the one before holds its place
		status, _ := s.do(t, http.MethodGet, "EIO=4&transport=polling", nil)
		require.Equal(t, 503, status, "%s: one at a time", name)
		end(p)
		status, _ = p.post("4late")
		require.Equal(t, 200, status, "%s: a late request is known", name)
	}
	for _, c := range s.Conns() {
		c.finishNow()
	}
	require.Zero(t, s.Count())
	require.Zero(t, s.places)
	require.Empty(t, s.placesByAddr)
}

// The client of a connection that the server has closed may send a poll and a POST before it learns
// of that. A browser shows an answer of 400 as an error of the page.
func TestLateRequestsOfAConnectionThatTheServerClosed(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Linger: time.Hour})
	for name, finish := range map[string]func(*Conn){"while it is known": func(*Conn) {}, "when it is forgotten": (*Conn).finishNow} {
		p := s.poller(t)
		poll, conn := p.getLater(), p.conn()
		conn.Shut("why")
		require.Equal(t, answer{200, "1"}, <-poll, name)
		finish(conn)
		for range 2 {
			status, body := p.get()
			require.Equal(t, answer{200, "1"}, answer{status, body}, name)
			status, body = p.post("1")
			require.Equal(t, answer{200, "ok"}, answer{status, body}, name)
		}
	}
	p := s.poller(t)
	status, _ := p.post("1") // closed by its client, which knows
	require.Equal(t, 200, status)
	status, _ = p.get()
	require.Equal(t, 200, status, "the poll that the client had open")
	status, _ = p.get()
	require.Equal(t, 400, status)
}

// Dismissed sids are forgotten after a time, and at most twice maxDismissed of them are kept.
func TestDismissedSidsAreBounded(t *testing.T) {
	t.Parallel()
	var d dismissedSids
	now := time.Now()
	for i := range 3 * maxDismissed {
		d.add(strconv.Itoa(i), now)
	}
	require.Len(t, d.recent, maxDismissed)
	now = now.Add(dismissedTime)
	d.add("x", now)
	require.True(t, d.has("0", now))
	require.True(t, d.has("x", now))
	now = now.Add(dismissedTime)
	require.False(t, d.has("0", now))
	require.True(t, d.has("x", now))
	require.False(t, d.has("x", now.Add(2*dismissedTime)))
}
