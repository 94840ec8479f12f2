package engineio

import (
	"bytes"
	"compress/flate"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// deflated is what permessage-deflate makes of a message, RFC 7692 section 7.2.1.
func deflated(t *testing.T, message string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	require.NoError(t, err)
	_, err = w.Write([]byte(message))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

func TestHostileCompressedFrames(t *testing.T) {
	t.Parallel()
	const compressed = 0x40
	s := serve(t, Config{Compression: true, MaxPayload: 10_000})
	chats := s.neighbour(t)
	for _, c := range []struct {
		name   string
		bytes  []byte
		status int
		err    error // what Malformed is told; nil when it is not
		reason string
	}{
		{"an unmasked frame", []byte{flagFin | opText, 2, '4', 'a'}, 1002, ErrMalformed, ReasonParseError},
		{"reserved bit 2", frameOf(flagFin|0x20|opText, "4a"), 1002, ErrMalformed, ReasonParseError},
		{"opcode 3", frameOf(flagFin|3, "4a"), 1002, ErrMalformed, ReasonParseError},
		{"a continuation of nothing", frameOf(flagFin|opContinuation, "4a"), 1002, ErrMalformed, ReasonParseError},
		{"a fragmented ping", frameOf(opPing, ""), 1002, ErrMalformed, ReasonParseError},
		{"compressed garbage", frameOf(flagFin|compressed|opText, "\xff\xff\xff\xff"), 1002, ErrMalformed, ReasonParseError},
		{"compressed text that is not UTF-8", frameOf(flagFin|compressed|opText, deflated(t, "4\xff")), 1007, ErrMalformed, ReasonParseError},
		{"a compressed packet that is none", frameOf(flagFin|compressed|opText, deflated(t, "abc")), 1000, ErrMalformed, ReasonParseError},
		{"a compressed packet too large", frameOf(flagFin|compressed|opText, deflated(t, "4"+strings.Repeat("x", 10_000))), 1009, ErrTooLarge, ReasonParseError},
		{"too large as it is", frameOf(flagFin|opText, "4"+strings.Repeat("x", 10_000)), 1009, ErrTooLarge, ReasonParseError},
		{"4 GB announced", append(head(flagFin|compressed|opText, 4<<30), 1, 2, 3, 4), 1009, ErrTooLarge, ReasonParseError},
		{"a close reason that is not UTF-8", frameOf(flagFin|opClose, "\x03\xe8\xff"), 1007, ErrMalformed, ReasonParseError},
		{"a close status that is none", frameOf(flagFin|opClose, "\x03\xec"), 1002, ErrMalformed, ReasonParseError},
		{"a close of its own", frameOf(flagFin|opClose, "\x0f\xa0"), 4000, nil, ReasonTransportClose},
	} {
		for _, offer := range []string{"permessage-deflate; client_max_window_bits", "x-unknown, permessage-deflate"} {
			t.Run(c.name+", "+offer, func(t *testing.T) {
				w := s.dial(t, "EIO=4&transport=websocket", "Sec-WebSocket-Extensions: "+offer)
				w.sid = parseOpening(t, w.text()).Sid
				h := w.recorder()
				w.raw(frameOf(flagFin|compressed|opText, deflated(t, "4hello")))
				require.Equal(t, "4hello", w.text())
				w.raw(c.bytes)
				require.Equal(t, c.status, w.status())
				require.Equal(t, c.reason, h.ends(t))
				if c.err != nil {
					require.ErrorIs(t, <-h.malformed, c.err)
				}
				require.Empty(t, h.malformed)
				chats()
			})
		}
	}
}
