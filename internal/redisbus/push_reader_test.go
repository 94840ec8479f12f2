package redisbus

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// A feed is a connection that reads from a Reader.
type feed struct {
	net.Conn
	from io.Reader
}

func (f feed) Read(b []byte) (int, error) { return f.from.Read(b) }

// readThrough has a pushReader read all of r, and returns what is left for go-redis and which
// messages were handled.
func readThrough(t testing.TB, r io.Reader, max int) (left string, handled []string) {
	t.Helper()
	p := &pushReader{
		Conn: feed{from: r}, maxPayload: max, onRead: func() {},
		onMessage: func(channel, payload []byte) { handled = append(handled, string(channel)+"="+string(payload)) },
		onPatternMessage: func(pattern, channel, payload []byte) {
			handled = append(handled, string(pattern)+":"+string(channel)+"="+string(payload))
		},
	}
	b, err := io.ReadAll(p)
	require.NoError(t, err)
	return string(b), handled
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func pushed(kind, channel, payload string) string {
	return kind + "3\r\n" + bulk("message") + bulk(channel) + bulk(payload)
}

func patternPushed(kind, pattern, channel, payload string) string {
	return kind + "4\r\n" + bulk("pmessage") + bulk(pattern) + bulk(channel) + bulk(payload)
}

// Replies reach go-redis untouched and messages never do, however the stream is cut.
func TestPushReader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		in, left string
		heard    []string
	}{
		"message":          {pushed(">", "a", "1"), "", []string{"a=1"}},
		"the old protocol": {pushed("*", "a", "1"), "", []string{"a=1"}},
		"several":          {pushed(">", "a", "1") + pushed(">", "b#", "") + pushed(">", "a", "\r\n$"), "", []string{"a=1", "b#=", "a=\r\n$"}},
		"longer than a read": {
			pushed(">", "a", long) + pushed(">", "a", "2"), "", []string{"a=" + long, "a=2"},
		},
		"too long": {pushed(">", "a", long+"y") + pushed(">", "a", "2"), "", []string{"a=", "a=2"}},
		"answers between": {
			"+OK\r\n" + pushed(">", "a", "1") + ">3\r\n" + bulk("subscribe") + bulk("b") + ":2\r\n" + pushed(">", "b", "2") + "+PONG\r\n",
			"+OK\r\n>3\r\n" + bulk("subscribe") + bulk("b") + ":2\r\n+PONG\r\n",
			[]string{"a=1", "b=2"},
		},
		"all kinds of answers": {
			"%2\r\n" + bulk("server") + bulk("redis") + bulk("modules") + "*0\r\n" + "-ERR no\r\n" + "$-1\r\n" + "*-1\r\n" + "_\r\n" + "#t\r\n" + ",1.5\r\n" + "~1\r\n:1\r\n" + "=7\r\ntxt:abc\r\n" + pushed(">", "a", "1"),
			"%2\r\n" + bulk("server") + bulk("redis") + bulk("modules") + "*0\r\n" + "-ERR no\r\n" + "$-1\r\n" + "*-1\r\n" + "_\r\n" + "#t\r\n" + ",1.5\r\n" + "~1\r\n:1\r\n" + "=7\r\ntxt:abc\r\n",
			[]string{"a=1"},
		},
		"other pushes": {
			">2\r\n" + bulk("invalidate") + "*1\r\n" + bulk("k") + ">3\r\n" + bulk("smessage") + bulk("a") + bulk("1"),
			">2\r\n" + bulk("invalidate") + "*1\r\n" + bulk("k") + ">3\r\n" + bulk("smessage") + bulk("a") + bulk("1"), nil,
		},
		"by a pattern": {
			pushed(">", "ab", "1") + patternPushed(">", "a*", "ab", "1") + patternPushed("*", "a*", "ac", long) + "+PONG\r\n",
			"+PONG\r\n",
			[]string{"ab=1", "a*:ab=1", "a*:ac=" + long},
		},
		"by a pattern, too long": {patternPushed(">", "a*", "ab", long+"y") + pushed(">", "a", "2"), "", []string{"a*:ab=", "a=2"}},
		"no pattern":             {">4\r\n" + bulk("pmessage") + ":1\r\n" + bulk("a") + bulk("x"), ">4\r\n" + bulk("pmessage") + ":1\r\n" + bulk("a") + bulk("x"), nil},
		"what is not understood, and all behind it": {
			pushed(">", "a", "1") + "?what\r\n" + pushed(">", "a", "2"), "?what\r\n" + pushed(">", "a", "2"), []string{"a=1"},
		},
		"no channel":       {">3\r\n" + bulk("message") + ":1\r\n" + bulk("x"), ">3\r\n" + bulk("message") + ":1\r\n" + bulk("x"), nil},
		"no payload":       {">3\r\n" + bulk("message") + bulk("a") + "$-1\r\n", ">3\r\n" + bulk("message") + bulk("a") + "$-1\r\n", nil},
		"an absurd length": {">3\r\n" + bulk("message") + bulk("a") + "$99999999999999\r\nx", ">3\r\n" + bulk("message") + bulk("a") + "$99999999999999\r\nx", nil},
		"lists in lists":   {strings.Repeat("*1\r\n", 20) + ":1\r\n", strings.Repeat("*1\r\n", 20) + ":1\r\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for cut := range len(c.in) {
				left, heard := readThrough(t, io.MultiReader(strings.NewReader(c.in[:cut]), strings.NewReader(c.in[cut:])), len(long))
				require.Equal(t, c.left, left, cut)
				require.Equal(t, c.heard, heard, cut)
			}
			left, heard := readThrough(t, iotest.OneByteReader(strings.NewReader(c.in)), len(long))
			require.Equal(t, c.left, left)
			require.Equal(t, c.heard, heard)
		})
	}
}

// A stream that ends within a message leaves nothing that is half handled.
func TestPushReaderOnABrokenStream(t *testing.T) {
	t.Parallel()
	whole := pushed(">", "a", "1")
	for cut := range len(whole) {
		left, heard := readThrough(t, strings.NewReader(whole[:cut]), 10)
		require.Empty(t, left)
		require.Empty(t, heard)
	}
}

// A pushReader holds no more than the longest message allowed, and gives back what that took.
func TestPushReaderBuffer(t *testing.T) {
	t.Parallel()
	const limit = 512 << 10
	in := pushed(">", "a", strings.Repeat("x", limit)) + pushed(">", "a", strings.Repeat("y", 8*limit)) + strings.Repeat(pushed(">", "a", "1"), 10_000)
	most, heard := 0, 0
	p := &pushReader{Conn: feed{from: iotest.HalfReader(strings.NewReader(in))}, maxPayload: limit}
	p.onRead, p.onMessage = func() { most = max(most, cap(p.buf)) }, func([]byte, []byte) { heard++ }
	_, err := io.ReadAll(p)
	require.NoError(t, err)
	require.Equal(t, 10_002, heard)
	require.Less(t, most, limit+pushReaderBuffer)
	require.LessOrEqual(t, cap(p.buf), 2*pushReaderBuffer)
}

func FuzzPushReader(f *testing.F) {
	f.Add([]byte("+OK\r\n"+pushed(">", "a", "1")), uint8(3))
	f.Add([]byte("+OK\r\n"+patternPushed(">", "a*", "ab", "1")), uint8(3))
	f.Add([]byte(">3\r\n"+bulk("subscribe")+bulk("b")+":2\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		left, heard := readThrough(t, strings.NewReader(string(in)), 100)
		at := min(int(cut), len(in))
		left2, heard2 := readThrough(t, io.MultiReader(strings.NewReader(string(in[:at])), strings.NewReader(string(in[at:]))), 100)
		require.Equal(t, left, left2)
		require.Equal(t, heard, heard2)
	})
}
