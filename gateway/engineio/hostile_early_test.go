package engineio

import (
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startFrame returns the first bytes of a masked text frame that announces size bytes, and as many
// bytes of its payload.
func startFrame(size, bytes int) []byte {
	return append(head(flagFin|opText, uint64(size)), make([]byte, 4+bytes)...)
}

// farewell returns the status and the text of the close frame.
func (w *socket) farewell() (code int, text string) {
	w.t.Helper()
	for {
		op, payload, err := w.next()
		require.NoError(w.t, err, "there was no close frame")
		if op == opClose {
			return int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
	}
}

// Before CONNECT a websocket may hold 64 KiB, and a bit for the buffer around it. Before this bound
// a client could leave 1.2 MB here.
func TestAWebsocketPinsLittleBeforeCONNECT(t *testing.T) {
	const sockets = 40
	s := serve(t, Config{ConnectTimeout: time.Minute, Handler: func(*Conn, *http.Request) Handler { return newRecorder() }})
	before := settled()
	var open []*socket // a socket that is collected is closed
	for range sockets {
		w := s.socket(t)
		open = append(open, w)
		first := startFrame(40<<10, 40<<10) // the first of several fragments, whole
		first[0] &^= flagFin
		w.raw(first)
		next := startFrame(24<<10-1, 24<<10-2) // and all but a byte of the next
		next[0] = opContinuation
		w.raw(next)
	}
	require.Eventually(t, func() bool {
		pinned := (settled() - before) / sockets
		return pinned > 60<<10 && pinned < 100<<10
	}, patience, 20*time.Millisecond, "64 KiB for each websocket")
	require.Len(t, open, sockets)
}

// A message in 60,000 fragments, of a byte or of nothing, takes as much memory as its bytes.
func TestFragmentsCostTheirBytes(t *testing.T) {
	const sockets, pairs = 20, 30_000
	s := serve(t, Config{ConnectTimeout: time.Minute, Handler: func(*Conn, *http.Request) Handler { return newRecorder() }})
	tiny := []byte(strings.Repeat(string(frameOf(opContinuation, "x"))+string(frameOf(opContinuation, "")), pairs))
	before := settled()
	var open []*socket // a socket that is collected is closed
	for range sockets {
		w := s.socket(t)
		open = append(open, w)
		w.raw(join(frameOf(opText, "4"), tiny, frameOf(flagFin|opPing, "")))
		for op := byte(0); op != opPong; { // all of them have been read
			var err error
			op, _, err = w.next()
			require.NoError(t, err)
		}
	}
	var pinned int64
	defer func() { t.Logf("%d bytes for each websocket", pinned) }()
	require.Eventually(t, func() bool {
		pinned = (settled() - before) / sockets
		return pinned < 3*pairs
	}, patience, 20*time.Millisecond, "an object for each fragment would take megabytes")
	require.Len(t, open, sockets)
}

func TestALargeMessageBeforeCONNECTIsRefused(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	for name, start := range map[string][]byte{
		"one frame, whose header alone comes": startFrame(limit+1, 0),
		"of a megabyte":                       startFrame(1_000_000, 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h := silent(t, Config{}, nil)
			w := s.socket(t)
			w.raw(start)
			code, text := w.farewell()
			require.Equal(t, closeLarge, code)
			require.Equal(t, "too large before CONNECT", text)
			require.Equal(t, ReasonParseError, h.ends(t))
			require.ErrorIs(t, <-h.malformed, ErrTooLargeYet)
		})
	}
	t.Run("fragments", func(t *testing.T) {
		t.Parallel()
		s, _ := silent(t, Config{}, nil)
		w := s.socket(t)
		first := startFrame(limit, limit)
		first[0] &^= flagFin
		w.raw(first)
		next := startFrame(200, 0)
		next[0] = opContinuation
		w.raw(next)
		code, _ := w.farewell()
		require.Equal(t, closeLarge, code)
	})
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		s, h := silent(t, Config{}, nil)
		p := s.poller(t)
		status, _ := s.do(t, http.MethodPost, p.query(), strings.NewReader("4"+strings.Repeat("a", limit)))
		require.Equal(t, http.StatusRequestEntityTooLarge, status)
		require.ErrorIs(t, <-h.malformed, ErrTooLargeYet)
	})
	t.Run("the websocket of an upgrade", func(t *testing.T) {
		t.Parallel()
		s := serve(t, Config{}) // confirmed, but a probe needs no more
		p := s.poller(t)
		w := s.dial(t, "EIO=4&transport=websocket&sid="+p.sid)
		w.raw(startFrame(limit+1, 0))
		_, _, err := w.next()
		require.Error(t, err)
		require.Empty(t, p.recorder().closed, "polling goes on")
	})
	t.Run("exactly as large as allowed", func(t *testing.T) {
		t.Parallel()
		h := newRecorder()
		s := serve(t, Config{Handler: func(*Conn, *http.Request) Handler { return h }})
		w := s.socket(t)
		message := "4" + strings.Repeat("a", limit-1)
		w.send(message)
		require.Equal(t, message, w.text())
	})
	t.Run("after CONNECT", func(t *testing.T) {
		t.Parallel()
		s := serve(t, Config{})
		w := s.socket(t)
		message := "4" + strings.Repeat("a", 3*limit)
		w.send(message)
		require.Equal(t, message, w.text())
	})
}

// A client that says nothing has the whole connect timeout; one whose message has begun has half.
func TestAMessageThatHasBegunMustEndSoon(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	endsAfter := func(t *testing.T, took, after time.Duration) {
		t.Helper()
		require.Greater(t, took, after-timeout/10)
		if after < timeout {
			require.Less(t, took, timeout, "it does not have the whole time")
		}
	}
	for name, c := range map[string]struct {
		bytes []byte
		after time.Duration
	}{
		"nothing":                          {nil, timeout},
		"whole messages":                   {append([]byte{flagFin | opText, flagMask | 2, 0, 0, 0, 0}, "4a"...), timeout},
		"a part of a frame":                {startFrame(1000, 10), timeout / 2},
		"a part of a header":               {startFrame(1000, 0)[:1], timeout / 2},
		"the first fragment":               {[]byte{opText, flagMask | 1, 0, 0, 0, 0, '4'}, timeout / 2},
		"a message and a part of the next": {append(startFrame(2, 2), startFrame(1000, 0)...), timeout / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newRecorder()
			h.message = func(*Conn, bool, []byte) error { return nil }
			s := serve(t, Config{ConnectTimeout: timeout, Handler: func(*Conn, *http.Request) Handler { return h }})
			if name == "a message and a part of the next" {
				c.bytes[2+8+4], c.bytes[2+8+5] = '4', 'a'
			}
			began := time.Now()
			w := s.socket(t)
			w.raw(c.bytes)
			require.Equal(t, ReasonNoConnect, h.ends(t))
			endsAfter(t, time.Since(began), c.after)
		})
	}
	t.Run("the body of a POST", func(t *testing.T) {
		t.Parallel()
		s, _ := silent(t, Config{ConnectTimeout: timeout}, nil)
		p := s.poller(t)
		began := time.Now()
		body, end := io.Pipe() // whose body does not come
		defer end.Close()
		status, _ := s.do(t, http.MethodPost, p.query(), body)
		require.Equal(t, http.StatusRequestTimeout, status)
		endsAfter(t, time.Since(began), timeout/2)
	})
}

func TestTheDefaultsBeforeCONNECT(t *testing.T) {
	t.Parallel()
	cfg := Config{}.withDefaults()
	require.Equal(t, 10*time.Second, cfg.ConnectTimeout)
	require.Equal(t, 64<<10, cfg.EarlyPayload)
	require.Equal(t, 1000, Config{MaxPayload: 1000}.withDefaults().EarlyPayload)
}
