package loadtest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// Another websocket implementation understands our handshake and our frames, with every size of
// header.
func TestFramesAgainstGorilla(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, b, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, b) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	e, err := parseTarget(server.URL)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", e.address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	g := newHandshake(e, http.Header{"User-Agent": {"test"}})
	_, err = conn.Write(g.request)
	require.NoError(t, err)
	head := make([]byte, 0, 1024)
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one...) {
		_, err := io.ReadFull(conn, one)
		require.NoError(t, err)
	}
	require.NoError(t, g.checkResponse(head))
	for _, size := range []int{0, 1, 7, 125, 126, 127, 65535, 65536, 200_000} {
		text := strings.Repeat("x", size)
		_, err := conn.Write(appendFrame(nil, opText, []byte(text)))
		require.NoError(t, err)
		var have []byte
		for buf := make([]byte, 1000); ; {
			f, n, err := cutFirstFrame(have)
			require.NoError(t, err)
			if n > 0 {
				require.Len(t, have, n)
				require.True(t, f.isFinal)
				require.Equal(t, text, string(f.payload))
				break
			}
			n, err = conn.Read(buf)
			require.NoError(t, err)
			have = append(have, buf[:n]...)
		}
	}
}

func TestHandshakeIsChecked(t *testing.T) {
	t.Parallel()
	g := newHandshake(endpoint{host: "h"}, nil)
	for name, c := range map[string]struct{ head, says string }{
		"a wrong accept": {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n", "no websocket"},
		"overload":       {"HTTP/1.1 503 X\r\nRetry-After: 2\r\n\r\n", "refused: HTTP 503"},
		"too quick":      {"HTTP/1.1 429 X\r\n\r\n", "refused: HTTP 429"},
		"a page":         {"HTTP/1.1 200 OK\r\n\r\n", "refused: HTTP 200"},
		"not HTTP":       {"SSH-2.0\r\n\r\n", "no websocket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, g.checkResponse([]byte(c.head)), c.says)
		})
	}
}

func TestHostileFrames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes []byte
		err   error
	}{
		"masked by a server": {[]byte{0x81, 0x80, 0, 0, 0, 0}, errBadFrame},
		"compressed":         {[]byte{0xc1, 0}, errBadFrame},
		"2 MiB":              {[]byte{0x81, 127, 0, 0, 0, 0, 0, 0x20, 0, 0}, errTooLarge},
		"all there is":       {[]byte{0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, errTooLarge},
		"half a head":        {[]byte{0x81, 126, 1}, nil},
		"half a body":        {[]byte{0x81, 2, 'x'}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, n, err := cutFirstFrame(c.bytes)
			require.Zero(t, n)
			require.Equal(t, c.err, err)
		})
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct {
		outcome
		code string
	}{
		`[{"ok":true}]`:                                       {outcomeOK, ""},
		`[{"ok":true,"data":{"x":1}}]`:                        {outcomeOK, ""},
		`[{"data":{"x":1},"ok":true}]`:                        {outcomeOK, ""},
		`[{"ok":false,"error":{"code":"LOCKED"}}]`:            {outcomeRefused, "LOCKED"},
		`[{"error":{"message":"m","code":"X"},"ok": false }]`: {outcomeRefused, "X"},
		`[{"ok":false}]`:                                      {outcomeWrong, ""},
		`[{"ok":trve}]`:                                       {outcomeWrong, ""},
		`[{"ok":"true"}]`:                                     {outcomeWrong, ""},
		`[{"ok":true}`:                                        {outcomeWrong, ""},
		`[{"ok":truely}]`:                                     {outcomeWrong, ""},
		`[]`:                                                  {outcomeWrong, ""},
		`[null]`:                                              {outcomeWrong, ""},
		``:                                                    {outcomeWrong, ""},
	} {
		o, code := parseAnswer([]byte(args))
		require.Equal(t, want.outcome, o, args)
		require.Equal(t, want.code, code, args)
	}
}

func TestEveryByteOfATextCounts(t *testing.T) {
	t.Parallel()
	want := chatStamp{sender: 49_999, seq: 999_999_999, id: 999_999_999, due: 999_999_999}
	for _, size := range []int{minTextBytes, 96, maxTextBytes} {
		text := appendChatText(nil, want, size)
		require.Len(t, text, size)
		got, ok := parseChatText(text)
		require.True(t, ok)
		require.Equal(t, want, got)
		for i := range text {
			for _, flip := range []byte{1, 0x20} {
				text[i] ^= flip
				_, ok := parseChatText(text)
				require.False(t, ok, "byte %d of %q", i, text)
				text[i] ^= flip
			}
		}
		_, ok = parseChatText(text[:size-1])
		require.False(t, ok)
	}
}

func TestJudgingCostsNoMemory(t *testing.T) {
	r := &run{cfg: Config{Clients: 2, TextBytes: 96, Inflight: 1 << 12}.withDefaults(), createdAt: time.Now()}
	r.tallies = []*tally{newTally()}
	for i, user := range []string{"lt-a", "lt-b"} {
		r.clients = append(r.clients, &client{run: r, tally: r.tallies[0], index: uint32(i), room: -1, speakerIndex: -1, user: user})
	}
	r.workload = newChat(r)
	from, to := r.clients[0], r.clients[1]
	from.reserveSlots(1 << 12)
	sc := getScratch()
	frames := make([][]byte, 0, 2000)
	for range cap(frames) {
		id := from.nextID.Load()
		text, steps, note := r.workload.appendEvent(from, id, nil)
		from.beginEvent(0, steps, note)
		payload := strings.TrimSuffix(strings.Replace(string(text), `{"channel"`, `{"id":"x","from":{"userId":"lt-a"},"channel"`, 1), "]")
		f := appendFrame(nil, opText, append(append([]byte("42"), payload...), ']'))
		// The server's frames are not masked.
		b := append([]byte{0x81, 126, f[2], f[3]}, "42"+payload+"]"...)
		frames = append(frames, b)
	}
	i := 0
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		to.handleBytes(sc, frames[i], 1)
		i++
	}))
	require.EqualValues(t, i, r.tallies[0].delivered)
	require.Zero(t, r.tallies[0].wrong)
}
