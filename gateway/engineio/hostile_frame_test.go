package engineio

import (
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// head makes the beginning of a masked frame that announces size bytes.
func head(first byte, size uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{first, flagMask | 127}, size)
}

func join(frames ...[]byte) (all []byte) {
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

func TestHostileFrames(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	big := strings.Repeat("x", 1e6)
	for _, c := range []struct {
		name   string
		bytes  []byte
		status int
		err    error // what Malformed is told
	}{
		{"an unmasked frame", []byte{flagFin | opText, 2, '4', 'a'}, 1002, ErrMalformed},
		{"reserved bit 1", frameOf(flagFin|0x40|opText, "4a"), 1002, ErrMalformed},
		{"reserved bit 2", frameOf(flagFin|0x20|opText, "4a"), 1002, ErrMalformed},
		{"reserved bit 3", frameOf(flagFin|0x10|opText, "4a"), 1002, ErrMalformed},
		{"a reserved bit on a ping", frameOf(flagFin|0x40|opPing, ""), 1002, ErrMalformed},
		{"opcode 3", frameOf(flagFin|3, "4a"), 1002, ErrMalformed},
		{"opcode 7", frameOf(flagFin|7, "4a"), 1002, ErrMalformed},
		{"opcode 11", frameOf(flagFin|11, ""), 1002, ErrMalformed},
		{"opcode 15", frameOf(flagFin|15, ""), 1002, ErrMalformed},
		{"a fragmented ping", frameOf(opPing, "a"), 1002, ErrMalformed},
		{"a fragmented close", frameOf(opClose, "\x03\xe8"), 1002, ErrMalformed},
		{"a ping of 126 bytes", frameOf(flagFin|opPing, strings.Repeat("p", 126)), 1002, ErrMalformed},
		{"a continuation of nothing", frameOf(flagFin|opContinuation, "4a"), 1002, ErrMalformed},
		{"a message inside a message", join(frameOf(opText, "4a"), frameOf(flagFin|opText, "4b")), 1002, ErrMalformed},
		{"one byte too much", frameOf(flagFin|opText, "4"+big), 1009, ErrTooLarge},
		{"one byte too much of binary", frameOf(flagFin|opBinary, "4"+big), 1009, ErrTooLarge},
		{"4 GB announced", head(flagFin|opText, 4<<30), 1009, ErrTooLarge},
		{"a negative size", head(flagFin|opText, 1<<63), 1009, ErrTooLarge},
		{"all bits of a size", head(flagFin|opBinary, 1<<64-1), 1009, ErrTooLarge},
		{"fragments too large together", join(frameOf(opText, big), frameOf(opContinuation, "x")), 1009, ErrTooLarge},
		{"text that is not UTF-8", frameOf(flagFin|opText, "4\xff\xfe"), 1007, ErrMalformed},
		{"half a rune at the end of fragments", join(frameOf(opText, "4\xe2\x82"), frameOf(flagFin|opContinuation, "")), 1007, ErrMalformed},
		{"nothing", frameOf(flagFin|opText, ""), 1000, ErrMalformed},
		{"a type that does not exist", frameOf(flagFin|opText, "7"), 1000, ErrMalformed},
		{"a type beyond ASCII", frameOf(flagFin|opText, "é"), 1000, ErrMalformed},
		{"an OPEN", frameOf(flagFin|opText, "0{}"), 1000, ErrMalformed},
		{"a PING", frameOf(flagFin|opText, "2"), 1000, ErrMalformed},
		{"an UPGRADE", frameOf(flagFin|opText, "5"), 1000, ErrMalformed},
		{"base64 that is none", frameOf(flagFin|opText, "b!!!!"), 1000, ErrMalformed},
		{"a close of one byte", frameOf(flagFin|opClose, "\x03"), 1002, ErrMalformed},
		{"a close with text that is not UTF-8", frameOf(flagFin|opClose, "\x03\xe8\xff"), 1007, ErrMalformed},
		{"a close with a status that may not be sent", frameOf(flagFin|opClose, "\x03\xed"), 1002, ErrMalformed},
		{"a close with status 0", frameOf(flagFin|opClose, "\x00\x00"), 1002, ErrMalformed},
		{"a close with a status beyond all", frameOf(flagFin|opClose, "\xff\xff"), 1002, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := s.socket(t)
			h := w.recorder()
			go func() { _, _ = w.Write(c.bytes) }() // the server may close before it has read all
			require.Equal(t, c.status, w.status())
			require.ErrorIs(t, <-h.malformed, c.err)
			require.Equal(t, ReasonParseError, h.ends(t))
			require.Equal(t, int32(1), h.closes.Load())
			chats()
		})
	}
}

func TestFramesThatAreAllowed(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{OutboundQueue: 4 << 20})
	whole := "4" + strings.Repeat("x", 1e6-1)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
		op    byte
	}{
		{"text of exactly the maximum", frameOf(flagFin|opText, whole), whole, opText},
		{"fragments of exactly the maximum", join(frameOf(opText, whole[:7]), frameOf(flagFin|opContinuation, whole[7:])), whole, opText},
		{"fragments that cut a rune", join(frameOf(opText, "4\xe2"), frameOf(opContinuation, "\x82"), frameOf(flagFin|opContinuation, "\xac")), "4€", opText},
		{"empty fragments", join(frameOf(opText, ""), frameOf(opContinuation, "4a"), frameOf(flagFin|opContinuation, "")), "4a", opText},
		{"a pong that nobody asked for", join(frameOf(flagFin|opPong, "x"), frameOf(flagFin|opText, "4a")), "4a", opText},
		{"empty binary", frameOf(flagFin|opBinary, ""), "", opBinary},
		{"base64, as clients without binary send it", frameOf(flagFin|opText, "bAQIDBA=="), "\x01\x02\x03\x04", opBinary},
		{"a size in more bytes than it needs", join(head(flagFin|opText, 2), []byte{0, 0, 0, 0, '4', 'a'}), "4a", opText},
		{"NOOP", join(frameOf(flagFin|opText, "6"), frameOf(flagFin|opText, "4a")), "4a", opText},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := s.socket(t)
			w.raw(c.bytes)
			op, got, err := w.next()
			require.NoError(t, err)
			require.Equal(t, c.op, op)
			require.True(t, c.want == string(got), "%d bytes", len(got))
		})
	}
}

func TestAClientsCloseIsAnswered(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	for name, status := range map[string]string{"1000": "\x03\xe8", "1001 with a reason": "\x03\xe9bye", "4999": "\x13\x87", "none": ""} {
		t.Run(name, func(t *testing.T) {
			w := s.socket(t)
			h := w.recorder()
			w.raw(frameOf(flagFin|opClose, status))
			op, got, err := w.next()
			require.NoError(t, err)
			require.Equal(t, byte(opClose), op)
			require.Equal(t, status[:min(2, len(status))], string(got))
			require.Equal(t, ReasonTransportClose, h.ends(t))
			require.Empty(t, h.malformed)
		})
	}
}

func TestAPingInsideAMessageIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	w := serve(t, Config{}).socket(t)
	w.raw(frameOf(opText, "4hel"))
	w.raw(frameOf(flagFin|opPing, "p"))
	op, got, err := w.next()
	require.NoError(t, err)
	require.Equal(t, byte(opPong), op)
	require.Equal(t, "p", string(got))
	w.raw(frameOf(flagFin|opContinuation, "lo"))
	require.Equal(t, "4hello", w.text())
}

func TestFramesOneByteAtATime(t *testing.T) {
	t.Parallel()
	w := serve(t, Config{}).socket(t)
	all := join(frameOf(flagFin|opText, "4hello"), frameOf(flagFin|opPing, "p"), frameOf(opText, "4"), frameOf(flagFin|opContinuation, strings.Repeat("y", 200)))
	for _, b := range all {
		w.raw([]byte{b})
		runtime.Gosched()
	}
	require.Equal(t, "4hello", w.text())
	op, _, err := w.next()
	require.NoError(t, err)
	require.Equal(t, byte(opPong), op)
	require.Equal(t, "4"+strings.Repeat("y", 200), w.text())
}

// Not parallel: it counts what is allocated.
func TestALargeFrameInCrumbsCostsWhatItHolds(t *testing.T) {
	const size, crumbs = 900_000, 1000
	s := serve(t, Config{OutboundQueue: 4 << 20})
	w := s.socket(t)
	frame := frameOf(flagFin|opText, "4"+strings.Repeat("x", size))
	w.raw(frame[:size/2])
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, b := range frame[size/2 : size/2+crumbs] {
		w.raw([]byte{b})
		time.Sleep(10 * time.Microsecond) // so that most crumbs are read alone
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
	w.raw(frame[size/2+crumbs:])
	require.Len(t, w.text(), size+1)
}

// Not parallel: it measures memory.
func TestWhatIsOnlyAnnouncedIsNotAllocated(t *testing.T) {
	const clients = 300
	s := serve(t, Config{})
	chats := s.neighbour(t)
	all := make([]*socket, clients)
	for i := range all {
		all[i] = s.socket(t)
	}
	before := settled()
	for i, w := range all {
		if i%2 == 0 {
			w.raw(append(head(flagFin|opBinary, 1e6), 1, 2, 3, 4, 5, 6))
		} else { // in fragments
			w.raw(join(frameOf(opText, "4a"), append(head(opContinuation, 900_000), 1, 2, 3, 4, 5, 6)))
		}
	}
	chats()
	require.Less(t, settled()-before, int64(clients*16<<10)) // announced were a hundred times as much
	for _, w := range all[:10] {
		w.raw(make([]byte, 100)) // they still read
	}
	chats()
}

// Not parallel: it measures memory.
func TestAFragmentBombIsDefused(t *testing.T) {
	s := serve(t, Config{})
	chats := s.neighbour(t)
	before, stop := settled(), peak()
	w := s.socket(t)
	h := w.recorder()
	go func() {
		bomb := frameOf(opText, "4")
		for range 2000 {
			bomb = append(bomb, frameOf(opContinuation, "x")...)
		}
		_, err := w.Write(bomb)
		for err == nil {
			_, err = w.Write(bomb[7:])
		}
	}()
	require.Equal(t, 1009, w.status())
	require.Equal(t, ReasonParseError, h.ends(t))
	require.Less(t, stop()-before, int64(16<<20))
	chats()
}

// Not parallel: it measures memory.
func TestAPingFloodFromAClientThatNeverReads(t *testing.T) {
	s := serve(t, Config{OutboundQueue: 64 << 10})
	chats := s.neighbour(t)
	before, stop := settled(), peak()
	w := s.socket(t)
	c := w.conn()
	var flood []byte
	for range 500 {
		flood = append(flood, frameOf(flagFin|opPing, strings.Repeat("p", 125))...)
	}
	for range 400 { // 25 MB of pongs, had they all to be kept
		w.raw(flood)
	}
	c.mu.Lock()
	waiting := c.bytesInWriter
	if c.outbound != nil {
		waiting += len(*c.outbound)
	}
	c.mu.Unlock()
	require.Positive(t, waiting, "the kernel took it all")
	require.LessOrEqual(t, waiting, 64<<10)
	require.Less(t, stop()-before, int64(8<<20))
	chats()
	require.True(t, c.Open())
}

func TestAZipBombIsDefused(t *testing.T) {
	s := serve(t, Config{Compression: true})
	chats := s.neighbour(t)
	before, stop := settled(), peak()
	d := websocket.Dialer{EnableCompression: true}
	ws, _, err := d.Dial("ws"+strings.TrimPrefix(s.url("EIO=4&transport=websocket"), "http"), nil)
	require.NoError(t, err)
	defer ws.Close()
	_, open, err := ws.ReadMessage()
	require.NoError(t, err)
	h := s.recorder(t, parseOpening(t, string(open)).Sid)
	out, err := ws.NextWriter(websocket.TextMessage)
	require.NoError(t, err)
	zeros := strings.Repeat("4", 1<<20)
	for range 200 { // 200 MB, in 200 KB
		if _, err = io.WriteString(out, zeros); err != nil {
			break
		}
	}
	_ = out.Close()
	_, _, err = ws.ReadMessage()
	var closed *websocket.CloseError
	require.True(t, errors.As(err, &closed), "%v", err)
	require.Equal(t, websocket.CloseMessageTooBig, closed.Code)
	require.ErrorIs(t, <-h.malformed, ErrTooLarge)
	require.Equal(t, ReasonParseError, h.ends(t))
	require.Less(t, stop()-before, int64(24<<20))
	chats()
}
