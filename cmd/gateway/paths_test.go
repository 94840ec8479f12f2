package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

const pollQuery = "?EIO=4&transport=polling"

func TestSocketsAreServedAtThePathWithAndWithoutItsSlash(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t))
	for path, want := range map[string]int{
		"/socket.io": 200, "/socket.io/": 200, "/socket.io/more": 200, "/socket.iox": 404, "/game/socket.io/": 404,
		"/socket.io/socket.io.js": 200, "/socket.io/socket.io.min.js": 200, "/socket.io/socket.io.esm.min.js": 200,
		"/socket.io/socket.io.msgpack.min.js": 404, // its parser is not spoken here
	} {
		require.Equal(t, want, do(t, "GET", g.public+path+pollQuery, "").status, path)
	}
	a := do(t, "GET", g.public+"/socket.io/socket.io.min.js", "")
	require.Contains(t, string(a.body), "Socket.IO v4.")
	require.Equal(t, "text/javascript; charset=utf-8", a.header.Get("Content-Type"))

	for _, path := range []string{"/game/socket.io/", "/game/socket.io"} {
		g := serve(t, "--redis", redistest.URL(t), "--path", path, "--page", "--serve-client=false")
		for path, want := range map[string]int{
			"/game/socket.io": 200, "/game/socket.io/": 200, "/socket.io/": 404, "/game/": 404, "/game/socket.io/socket.io.js": 404,
		} {
			require.Equal(t, want, do(t, "GET", g.public+path+pollQuery, "").status, path)
		}
		require.Contains(t, string(do(t, "GET", g.public+"/", "").body), `data-path="/game/socket.io/"`)
	}
	for _, bad := range []string{"/", "", "socket.io", "/a//b/", "/../x/", "/auth/", "/api", "/vendor/", "/x?y/", "/%2f/"} {
		_, text, code := command(t, "serve", "--path", bad)
		require.Equal(t, 2, code, bad)
		require.Contains(t, text, "--path", bad)
	}
}

// An HTTP connection outlives the time for which a balancer keeps it.
func TestHTTPConnectionsAreKeptForTheIdleTimeout(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--http-idle-timeout", "300ms")
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.public, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	begun := time.Now() // the server's time begins later, when it has answered
	_, err = conn.Write([]byte("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"))
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err = r.Peek(1)
	require.EqualError(t, err, "EOF")
	require.GreaterOrEqual(t, time.Since(begun), 300*time.Millisecond)
}
