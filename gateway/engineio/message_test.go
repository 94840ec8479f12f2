package engineio

import (
	"io"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

func (s *site) gorilla(t testing.TB) (*websocket.Conn, *Conn) {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.url("EIO=4&transport=websocket"), "http"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	_, open, err := ws.ReadMessage()
	require.NoError(t, err)
	c := s.findConn(parseOpening(t, string(open)).Sid)
	require.NotNil(t, c)
	return ws, c
}

func TestMessagesOfEverySizeAreReadByAnother(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{OutboundQueue: 4 << 20})
	ws, c := s.gorilla(t)
	for _, size := range []int{0, 1, 123, 124, 125, 126, 127, 1000, 65533, 65534, 65535, 65536, 65537, 900_000} {
		data := strings.Repeat("é", size/2) + strings.Repeat("x", size%2)
		text, binary := NewText().Append(data), NewBinary([]byte(data))
		require.Equal(t, size+1, text.Len())
		require.Equal(t, size, binary.Len())
		for _, m := range []*Message{text, binary, text.Seal()} { // twice: a message may be sent again
			require.True(t, c.Push(m))
		}
		text.Free()
		binary.Free()
		for i, want := range []string{"4" + data, data, "4" + data} {
			kind, got, err := ws.ReadMessage()
			require.NoError(t, err)
			require.Equal(t, []int{websocket.TextMessage, websocket.BinaryMessage, websocket.TextMessage}[i], kind)
			require.True(t, want == string(got), "%d bytes came as %d", len(want), len(got))
		}
	}
}

func TestABufferIsFilledByAnEncoder(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	ws, c := s.gorilla(t)
	m := NewText()
	m.SetBuffer(append(m.Buffer(), `2["event",1]`...))
	require.True(t, c.Push(m))
	m.Free()
	_, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, `42["event",1]`, string(got))
}

func TestPushAllIsNotTornApart(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{OutboundQueue: 16 << 20})
	ws, c := s.gorilla(t)
	const senders, times = 4, 200
	for range senders {
		go func() {
			for range times {
				text := NewText().Append("with two")
				all := []*Message{NewBinary([]byte("one")), NewBinary([]byte("two"))}
				c.PushAll(text, all)
				c.Push(NewText().Append("alone"))
			}
		}()
	}
	for range senders * times * 2 {
		kind, got, err := ws.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, websocket.TextMessage, kind)
		if string(got) == "4alone" {
			continue
		}
		require.Equal(t, "4with two", string(got))
		for _, want := range []string{"one", "two"} {
			kind, got, err = ws.ReadMessage()
			require.NoError(t, err)
			require.Equal(t, websocket.BinaryMessage, kind)
			require.Equal(t, want, string(got))
		}
	}

	p := s.poller(t)
	require.True(t, p.conn().PushAll(NewText().Append("a"), []*Message{NewBinary([]byte{1, 2, 3, 4})}))
	_, body := p.get()
	require.Equal(t, "4a\x1ebAQIDBA==", body)
	require.False(t, p.conn().PushAll(NewText().Append("a").Volatile(), []*Message{NewBinary(nil)}), "nobody polls")
}

// drain reads what comes, and tells of each size bytes.
func (w *socket) drain(size int) <-chan struct{} {
	came := make(chan struct{}, 1)
	go func() {
		b := make([]byte, size)
		for {
			if _, err := io.ReadFull(w.Conn, b); err != nil {
				return
			}
			came <- struct{}{}
		}
	}()
	return came
}

// Not parallel: it counts allocations.
func TestADeliveryAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector makes pools forget")
	}
	s := serve(t, Config{})
	m := NewText().Append(strings.Repeat("x", 300)).Seal()
	const clients = 10
	var came []<-chan struct{}
	var conns []*Conn
	for range clients {
		w := s.socket(t)
		conns = append(conns, w.conn())
		came = append(came, w.drain(m.Len()+4))
	}
	broadcast := func() {
		for _, c := range conns {
			c.Push(m)
		}
		for _, c := range came { // all have it before the next is sent
			<-c
		}
	}
	for range 100 {
		broadcast()
	}
	require.Zero(t, testing.AllocsPerRun(1000, broadcast))
}

// Not parallel: it counts allocations. The message in, and its answer out, on the goroutine
// that reads.
func TestAnEchoAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector makes pools forget")
	}
	s := serve(t, Config{}, onMessage(func(c *Conn, _ bool, data []byte) error {
		m := NewText()
		m.SetBuffer(append(m.Buffer(), data...))
		c.Queue(m)
		m.Free()
		return nil
	}))
	w := s.socket(t)
	came := w.drain(103)
	frame := frameOf(flagFin|opText, "4"+strings.Repeat("x", 100))
	echo := func() {
		w.raw(frame)
		<-came
	}
	for range 100 {
		echo()
	}
	require.Zero(t, testing.AllocsPerRun(1000, echo))
}
