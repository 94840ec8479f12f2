package engineio

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

const fuzzLimit = 1 << 10

// frameSeeds are streams that the tables of hostile input also know.
func frameSeeds(f *testing.F, also ...any) {
	for _, seed := range [][]byte{
		nil,
		frameOf(flagFin|opText, "4hello"),
		join(frameOf(opText, "4hel"), frameOf(flagFin|opPing, "p"), frameOf(flagFin|opContinuation, "lo"), frameOf(flagFin|opBinary, "\x00\xff")),
		frameOf(flagFin|opBinary, strings.Repeat("x", 125)),
		frameOf(flagFin|opBinary, strings.Repeat("x", 126)),
		frameOf(flagFin|opBinary, strings.Repeat("x", fuzzLimit)),
		frameOf(flagFin|opBinary, strings.Repeat("x", fuzzLimit+1)),
		join(frameOf(opText, strings.Repeat("x", fuzzLimit)), frameOf(flagFin|opContinuation, "x")),
		head(flagFin|opText, 1<<63),
		join(head(flagFin|opText, 2), []byte("\x00\x00\x00\x004a")),
		frameOf(flagFin|opClose, "\x03\xe8bye"),
		frameOf(flagFin|opClose, "\x03\xed"),
		frameOf(flagFin|opClose, "\x03"),
		frameOf(flagFin|opText, "4\xff"),
		{flagFin | opText, 2, '4', 'a'},
		frameOf(flagFin|0x40|opText, "4a"),
		frameOf(flagFin|11, ""),
		frameOf(opPing, ""),
		frameOf(flagFin|opContinuation, ""),
		join(frameOf(opText, "4a"), frameOf(flagFin|opText, "4b")),
	} {
		f.Add(append([]any{seed}, also...)...)
	}
}

// A read is what a stream of frames came to: its messages, and whether it was at an end
// that is no violation.
type read struct {
	messages []string // "t" or "b", then the message
	ok       bool
}

func message(isBinary bool, data []byte) string {
	if isBinary {
		return "b" + string(data)
	}
	return "t" + string(data)
}

// parse reads a stream with parseFrame, and checks what parseFrame promises.
// partial says that it ends in the middle of a frame.
func parse(t *testing.T, stream []byte) (got read, partial bool) {
	b := bytes.Clone(stream)
	b = b[:len(b):len(b)]
	var parts assembler
	for len(b) > 0 {
		before := bytes.Clone(b)
		f, n, need, err := parseFrame(b, fuzzLimit)
		require.LessOrEqual(t, n, len(b))
		require.Equal(t, before[n:], b[n:], "bytes behind the frame were changed")
		if err != nil {
			require.Zero(t, n)
			return got, false
		}
		if n == 0 {
			require.Greater(t, need, len(b), "more is needed, but not said")
			require.LessOrEqual(t, need, 14+fuzzLimit)
			partial = true
			break
		}
		require.LessOrEqual(t, len(f.payload)+6, n)
		b = b[n:]
		if f.op == opClose {
			got.ok = checkCloseFrame(f.payload) == nil
			return got, false
		}
		if f.op > opClose {
			require.LessOrEqual(t, len(f.payload), maxControl)
		}
		data, isBinary, complete, err := parts.addFrame(f, fuzzLimit)
		require.LessOrEqual(t, len(parts.part), fuzzLimit)
		if err != nil {
			return got, false
		}
		if complete {
			got.messages = append(got.messages, message(isBinary, data))
		}
	}
	got.ok = true
	return got, partial
}

// scripted is a network connection whose other side says what is in r, and takes everything.
type scripted struct {
	net.Conn
	r io.Reader
}

func (c *scripted) Read(b []byte) (int, error)     { return c.r.Read(b) }
func (*scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (*scripted) Close() error                     { return nil }
func (*scripted) SetDeadline(time.Time) error      { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }
func (*scripted) Header() http.Header              { return http.Header{} }
func (*scripted) WriteHeader(int)                  {}
func (c *scripted) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

// reference reads a stream with gorilla.
func reference(t *testing.T, stream []byte) (got read) {
	up := websocket.Upgrader{}
	r := &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"MDEyMzQ1Njc4OWFiY2RlZg=="},
	}}
	ws, err := up.Upgrade(&scripted{r: bytes.NewReader(stream)}, r, nil)
	require.NoError(t, err)
	ws.SetReadLimit(fuzzLimit)
	for {
		kind, data, err := ws.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			got.ok = true
			return got
		}
		if err != nil {
			return got
		}
		got.messages = append(got.messages, message(kind == websocket.BinaryMessage, data))
	}
}

// agree asserts that gorilla reads the same, up to text that is not UTF-8, which it takes.
func agree(t *testing.T, ours, theirs read, partial bool) {
	for i, m := range theirs.messages {
		if m[0] == 't' && !utf8.ValidString(m) {
			require.True(t, slices.Equal(theirs.messages[:i], ours.messages))
			require.False(t, ours.ok)
			return
		}
	}
	require.True(t, slices.Equal(theirs.messages, ours.messages), "gorilla: %q\nwe: %q", theirs.messages, ours.messages)
	if !theirs.ok && !partial { // of a part of a frame, it judges more than we
		require.False(t, ours.ok, "a violation was taken")
	}
}

func FuzzParseFrame(f *testing.F) {
	frameSeeds(f)
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 4*fuzzLimit {
			return
		}
		ours, partial := parse(t, stream)
		agree(t, ours, reference(t, stream), partial)
	})
}

// crumbs reads at most n bytes at a time.
type crumbs struct {
	r io.Reader
	n int
}

func (c *crumbs) Read(b []byte) (int, error) { return c.r.Read(b[:min(c.n, len(b))]) }

// A stream gives the same messages, however it is cut into reads.
func FuzzReadFrames(f *testing.F) {
	frameSeeds(f, uint16(1))
	f.Add(frameOf(flagFin|opBinary, strings.Repeat("x", fuzzLimit)), uint16(100))
	f.Fuzz(func(t *testing.T, stream []byte, n uint16) {
		if len(stream) > 4*fuzzLimit {
			return
		}
		want, _ := parse(t, stream)
		var got read
		c := &Conn{srv: &Server{cfg: Config{MaxPayload: fuzzLimit, EarlyPayload: fuzzLimit}}}
		r := newReader(&wire{nc: &scripted{r: &crumbs{bytes.NewReader(bytes.Clone(stream)), max(1, int(n))}}})
		r.wantsFreshStack = false
		err := c.readFrames(r, func(isBinary bool, data []byte) error {
			got.messages = append(got.messages, message(isBinary, data))
			return nil
		})
		got.ok = errors.Is(err, errPeerClosed) || errors.Is(err, io.EOF)
		require.Equal(t, want, got, "%v", err)
	})
}

// FuzzAssembler reads pairs of bytes: what a frame is, and how long.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{flagFin | opText, 3, opText, 2, flagFin | opPing, 0, flagFin | opContinuation, 9})
	f.Add([]byte{opBinary, 255, opContinuation, 255, opContinuation, 255, opContinuation, 255, flagFin | opContinuation, 255})
	f.Add([]byte{opText, 0, opText, 0})
	f.Add([]byte{flagFin | opContinuation, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		var a assembler
		var whole []byte // what has been put together, by a simple reference
		open := byte(0)
		for i := 0; i+1 < len(script); i += 2 {
			op, fin, payload := script[i]&maskOp, script[i]&flagFin != 0, bytes.Repeat([]byte{script[i+1]}, int(script[i+1]))
			got, isBinary, complete, err := a.addFrame(frame{op: op, fin: fin, payload: bytes.Clone(payload)}, fuzzLimit)
			require.LessOrEqual(t, cap(a.part), 4*fuzzLimit)
			switch {
			case op > opBinary:
				require.NoError(t, err)
				require.False(t, complete)
				continue
			case (op == opContinuation) != (open != 0):
				require.ErrorIs(t, err, ErrMalformed)
				return
			}
			if op != opContinuation {
				whole, open = nil, op
			}
			whole = append(whole, payload...)
			if len(whole) > fuzzLimit {
				require.ErrorIs(t, err, ErrTooLarge)
				return
			}
			if fin && open == opText && !utf8.Valid(whole) {
				require.ErrorIs(t, err, ErrMalformed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, fin, complete)
			if complete {
				require.Equal(t, open == opBinary, isBinary)
				require.True(t, bytes.Equal(whole, got))
				open = 0
			}
		}
	})
}

func FuzzSplitPayload(f *testing.F) {
	for _, seed := range []string{
		"", "4hello", "4a\x1e4b\x1e4c", "4hello\x1ebAQIDBA==", "4\x1eb", "\x1e", "4a\x1e", "4\xff", "b!", "bAQ", "bAQ==\n", "2\x1e3\x1e1", "\xc3\xa9",
		strings.Repeat("4\x1e", 19) + "4", strings.Repeat("4\x1e", 20) + "4",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const most = 20
		want, wantErr := []string(nil), error(nil)
		packets := strings.Split(string(body), "\x1e")
		if len(packets) > most {
			packets, wantErr = nil, ErrTooMany
		}
		for _, p := range packets {
			data, err := p, error(nil)
			switch {
			case p == "", p[0] != 'b' && !utf8.ValidString(p):
				err = ErrMalformed
			case p[0] == 'b':
				var b []byte
				b, err = base64.StdEncoding.DecodeString(p[1:])
				data = "b" + string(b)
			}
			if err != nil {
				wantErr = ErrMalformed
				break
			}
			want = append(want, data)
		}
		var got []string
		var again []byte
		err := splitPayload(bytes.Clone(body), most, func(kind byte, data []byte) error {
			got = append(got, string([]byte{kind})+string(data))
			return nil
		})
		require.ErrorIs(t, err, wantErr)
		require.Equal(t, want, got)
		if err != nil {
			return
		}
		for _, p := range got { // and what we write of it, we read again
			if p[0] == 'b' {
				again = appendPacket(again, true, []byte(p[1:]))
			} else {
				again = appendPacket(again, false, []byte(p))
			}
		}
		var twice []string
		require.NoError(t, splitPayload(again, most, func(kind byte, data []byte) error {
			twice = append(twice, string([]byte{kind})+string(data))
			return nil
		}))
		require.Equal(t, got, twice)
	})
}
