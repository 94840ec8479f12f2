package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// dialFrom dials from another address of this machine.
func dialFrom(t *testing.T, addr string) net.Dialer {
	t.Helper()
	local, err := net.ResolveTCPAddr("tcp", addr+":0")
	require.NoError(t, err)
	return net.Dialer{LocalAddr: local, Timeout: patience}
}

// askOver sends a request over a connection of its own, and returns the answer without its body;
// the connection stays open.
func askOver(t *testing.T, d net.Dialer, host, request string) (*http.Response, net.Conn) {
	t.Helper()
	c, err := d.Dial("tcp", host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, request+" HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	_ = r.Body.Close()
	return r, c
}

func TestAnAddressHas100PlainHTTPConnections(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--limit", "connect=off", "--trusted-proxies", "127.0.0.9", "--http-idle-timeout", "5m")
	host := strings.TrimPrefix(g.public, "http://")
	crowd := dialFrom(t, "127.0.0.2")
	open := func(d net.Dialer, n int) (conns []net.Conn) {
		for range n {
			r, c := askOver(t, d, host, "GET /health/live")
			require.Equal(t, 200, r.StatusCode)
			require.False(t, r.Close, "it stays open")
			conns = append(conns, c)
		}
		return conns
	}
	all := open(crowd, 100)

	r, _ := askOver(t, crowd, host, "GET /socket.io/"+pollQuery)
	require.Equal(t, http.StatusTooManyRequests, r.StatusCode)
	require.Equal(t, "5", r.Header.Get("Retry-After"))
	require.True(t, r.Close)
	r, _ = askOver(t, crowd, host, "GET /api/users/ann")
	require.Equal(t, http.StatusTooManyRequests, r.StatusCode)
	r, _ = askOver(t, crowd, host, "GET /health/live")
	require.Equal(t, 200, r.StatusCode)
	require.True(t, r.Close)

	silent, err := crowd.Dial("tcp", host)
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, silent.SetDeadline(began.Add(patience)))
	_, err = silent.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Less(t, time.Since(began), 5*time.Second, "it had a second for its request")

	dialer := websocket.Dialer{HandshakeTimeout: patience, NetDial: crowd.Dial}
	ws, _, err := dialer.Dial(socketURL(g.public), nil)
	require.NoError(t, err, "websockets have bounds of their own")
	defer ws.Close()
	time.AfterFunc(1500*time.Millisecond, func() { _ = ws.WriteMessage(websocket.TextMessage, []byte("40{}")) })
	for answered := ""; !strings.HasPrefix(answered, "44"); { // it lives on after the second
		_, message, err := ws.ReadMessage()
		require.NoError(t, err)
		answered = string(message)
	}

	open(dialFrom(t, "127.0.0.3"), 1)
	open(dialFrom(t, "127.0.0.9"), 110) // a trusted proxy has as many as it needs

	require.NoError(t, all[0].Close())
	require.Eventually(t, func() bool {
		r, c := askOver(t, crowd, host, "GET /health/live")
		defer c.Close()
		return !r.Close
	}, patience, 20*time.Millisecond, "a place is free again")
}

// Ids that are no session's are looked up 60 times a minute for an address. A neighbour who is
// connected is still served.
func TestFailedBearersSpendAPolicyByAddress(t *testing.T) {
	t.Parallel()
	g := serve(t, "--redis", redistest.URL(t), "--dev", "--trusted-proxies", "127.0.0.1", "--limit-timeout", "10s")
	ann, bob := g.guest("ann"), g.guest("bob")
	g.connect(ann)
	const message = `{"channel":"global","text":"hi"}`
	post := func(path, addr string, credential ...string) answer {
		body := message
		if path == "/auth/renew" { // it takes none
			body = ""
		}
		return do(t, "POST", g.public+path, body, append([]string{"X-Forwarded-For", addr}, credential...)...)
	}
	paths := []string{"/chat/message", "/combat/action", "/auth/renew"}
	for i := range 60 {
		credential := bearer("forged")
		if i%2 == 0 {
			credential = []string{"Cookie", "sid=forged"}
		}
		require.Equal(t, 401, post(paths[i%3], "203.0.113.7", credential...).status)
	}
	for range 3 {
		a := post("/chat/message", "203.0.113.7", bearer("forged")...)
		require.Equal(t, 429, a.status)
		require.Equal(t, "RATE_LIMITED", a.problem(t))
		require.Equal(t, "bearers", a.json(t)["policy"])
		require.NotEmpty(t, a.header.Get("Retry-After"))
	}
	logout := do(t, "POST", g.public+"/auth/logout", "", append(bearer("forged"), "X-Forwarded-For", "203.0.113.7")...)
	require.Equal(t, 429, logout.status)
	require.Equal(t, 429, post("/chat/message", "203.0.113.7", bearer(bob)...).status, "nobody looks whether it lives")
	require.NotContains(t, []int{401, 429}, post("/chat/message", "203.0.113.7", bearer(ann)...).status, "she is connected here")
	require.NotContains(t, []int{401, 429}, post("/chat/message", "203.0.113.8", bearer(bob)...).status)
	require.Equal(t, 401, post("/chat/message", "203.0.113.7").status, "nothing was presented")
}
