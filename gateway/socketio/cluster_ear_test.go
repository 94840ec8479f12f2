package socketio

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// A feed is what an ear reads in tests.
type feed struct {
	net.Conn
	from io.Reader
}

func (f feed) Read(b []byte) (int, error) { return f.from.Read(b) }

// listenTo has an ear read all of r: what is left for go-redis, and what was heard.
func listenTo(t testing.TB, r io.Reader, max int) (left string, heard []string) {
	t.Helper()
	e := &ear{
		Conn: feed{from: r}, max: max, told: func() {},
		take: func(channel, payload []byte) { heard = append(heard, string(channel)+"="+string(payload)) },
	}
	b, err := io.ReadAll(e)
	require.NoError(t, err)
	return string(b), heard
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func published(kind, channel, payload string) string {
	return kind + "3\r\n" + bulk("message") + bulk(channel) + bulk(payload)
}

// What is no message reaches go-redis untouched, messages do not, however the stream is cut.
func TestEar(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		in, left string
		heard    []string
	}{
		"message":          {published(">", "a", "1"), "", []string{"a=1"}},
		"the old protocol": {published("*", "a", "1"), "", []string{"a=1"}},
		"several":          {published(">", "a", "1") + published(">", "b#", "") + published(">", "a", "\r\n$"), "", []string{"a=1", "b#=", "a=\r\n$"}},
		"longer than a read": {
			published(">", "a", long) + published(">", "a", "2"), "", []string{"a=" + long, "a=2"},
		},
		"too long": {published(">", "a", long+"y") + published(">", "a", "2"), "", []string{"a=", "a=2"}},
		"answers between": {
			"+OK\r\n" + published(">", "a", "1") + ">3\r\n" + bulk("subscribe") + bulk("b") + ":2\r\n" + published(">", "b", "2") + "+PONG\r\n",
			"+OK\r\n>3\r\n" + bulk("subscribe") + bulk("b") + ":2\r\n+PONG\r\n",
			[]string{"a=1", "b=2"},
		},
		"all kinds of answers": {
			"%2\r\n" + bulk("server") + bulk("redis") + bulk("modules") + "*0\r\n" + "-ERR no\r\n" + "$-1\r\n" + "*-1\r\n" + "_\r\n" + "#t\r\n" + ",1.5\r\n" + "~1\r\n:1\r\n" + "=7\r\ntxt:abc\r\n" + published(">", "a", "1"),
			"%2\r\n" + bulk("server") + bulk("redis") + bulk("modules") + "*0\r\n" + "-ERR no\r\n" + "$-1\r\n" + "*-1\r\n" + "_\r\n" + "#t\r\n" + ",1.5\r\n" + "~1\r\n:1\r\n" + "=7\r\ntxt:abc\r\n",
			[]string{"a=1"},
		},
		"other pushes": {
			">2\r\n" + bulk("invalidate") + "*1\r\n" + bulk("k") + ">4\r\n" + bulk("pmessage") + bulk("a*") + bulk("a") + bulk("1"),
			">2\r\n" + bulk("invalidate") + "*1\r\n" + bulk("k") + ">4\r\n" + bulk("pmessage") + bulk("a*") + bulk("a") + bulk("1"), nil,
		},
		"what is not understood, and all behind it": {
			published(">", "a", "1") + "?what\r\n" + published(">", "a", "2"), "?what\r\n" + published(">", "a", "2"), []string{"a=1"},
		},
		"no channel":       {">3\r\n" + bulk("message") + ":1\r\n" + bulk("x"), ">3\r\n" + bulk("message") + ":1\r\n" + bulk("x"), nil},
		"no payload":       {">3\r\n" + bulk("message") + bulk("a") + "$-1\r\n", ">3\r\n" + bulk("message") + bulk("a") + "$-1\r\n", nil},
		"an absurd length": {">3\r\n" + bulk("message") + bulk("a") + "$99999999999999\r\nx", ">3\r\n" + bulk("message") + bulk("a") + "$99999999999999\r\nx", nil},
		"lists in lists":   {strings.Repeat("*1\r\n", 20) + ":1\r\n", strings.Repeat("*1\r\n", 20) + ":1\r\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for cut := range len(c.in) {
				left, heard := listenTo(t, io.MultiReader(strings.NewReader(c.in[:cut]), strings.NewReader(c.in[cut:])), len(long))
				require.Equal(t, c.left, left, cut)
				require.Equal(t, c.heard, heard, cut)
			}
			left, heard := listenTo(t, iotest.OneByteReader(strings.NewReader(c.in)), len(long))
			require.Equal(t, c.left, left)
			require.Equal(t, c.heard, heard)
		})
	}
}

// A stream that breaks off leaves nothing half heard.
func TestEarBreaksOff(t *testing.T) {
	t.Parallel()
	whole := published(">", "a", "1")
	for cut := range len(whole) {
		left, heard := listenTo(t, strings.NewReader(whole[:cut]), 10)
		require.Empty(t, left)
		require.Empty(t, heard)
	}
}

// An ear holds no more than the longest message allowed, and gives back what that took.
func TestEarBuffer(t *testing.T) {
	t.Parallel()
	const limit = 512 << 10
	in := published(">", "a", strings.Repeat("x", limit)) + published(">", "a", strings.Repeat("y", 8*limit)) + strings.Repeat(published(">", "a", "1"), 10_000)
	most, heard := 0, 0
	e := &ear{Conn: feed{from: iotest.HalfReader(strings.NewReader(in))}, max: limit}
	e.told, e.take = func() { most = max(most, cap(e.buf)) }, func([]byte, []byte) { heard++ }
	_, err := io.ReadAll(e)
	require.NoError(t, err)
	require.Equal(t, 10_002, heard)
	require.Less(t, most, limit+earBuffer)
	require.LessOrEqual(t, cap(e.buf), 2*earBuffer)
}

func FuzzEar(f *testing.F) {
	f.Add([]byte("+OK\r\n"+published(">", "a", "1")), uint8(3))
	f.Add([]byte(">3\r\n"+bulk("subscribe")+bulk("b")+":2\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		left, heard := listenTo(t, strings.NewReader(string(in)), 100)
		at := min(int(cut), len(in))
		left2, heard2 := listenTo(t, io.MultiReader(strings.NewReader(string(in[:at])), strings.NewReader(string(in[at:]))), 100)
		require.Equal(t, left, left2)
		require.Equal(t, heard, heard2)
	})
}
