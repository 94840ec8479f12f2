// Package wiretest is a raw Socket.IO client for tests. It knows only Engine.IO, and sends whatever
// the test asks for, including packets that no correct client sends.
//
// Over both transports, packets are written as in a polling body: a text packet as it is
// ("42[\"a\"]"), a binary packet as b and base64 ("bAQID").
package wiretest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// Patience is the longest time that a client waits for a packet.
const Patience = 20 * time.Second

// ErrSilent means that no packet arrived within Patience.
var ErrSilent = errors.New("wiretest: nothing came in time")

// A Client is one Engine.IO connection. It answers pings, and does not show them to the test.
type Client struct {
	Sid string
	t   testing.TB

	send    func(packets []string) error
	receive func() ([]string, error) // returns the next packets
	abort   func()

	mu      sync.Mutex
	packets []string      // guarded by mu
	err     error         // why no more packets arrive; guarded by mu
	wake    chan struct{} // capacity 1
}

// Header holds the headers of a handshake.
type Header = http.Header

// Open opens a connection to a server's Socket.IO path over "websocket" or "polling".
func Open(t testing.TB, url, transport string, h ...Header) *Client {
	t.Helper()
	c, err := Try(t, url, transport, h...)
	require.NoError(t, err)
	return c
}

// Try is like Open, but returns the error when the handshake is refused. It may be called from any
// goroutine.
func Try(t testing.TB, url, transport string, h ...Header) (*Client, error) {
	c, err := Silent(t, url, transport, h...)
	if err == nil {
		c.Listen()
	}
	return c, err
}

// Silent is like Try, but the client reads nothing after the OPEN packet until Listen is called.
func Silent(t testing.TB, url, transport string, h ...Header) (*Client, error) {
	c := &Client{t: t, wake: make(chan struct{}, 1)}
	query := "?EIO=4&transport=" + transport
	header := Header{}
	if len(h) > 0 {
		header = h[0]
	}
	var err error
	if transport == "polling" {
		err = c.openPolling(url+query, header)
	} else {
		err = c.dialWebSocket("ws"+strings.TrimPrefix(url, "http")+query, header)
	}
	if err != nil {
		return nil, err
	}
	t.Cleanup(c.Abort)
	return c, nil
}

func (c *Client) parseOpenPacket(packet string) error {
	var o struct{ Sid string }
	if !strings.HasPrefix(packet, "0") {
		return fmt.Errorf("no OPEN: %q", packet)
	}
	err := json.Unmarshal([]byte(packet[1:]), &o)
	c.Sid = o.Sid
	return err
}

func (c *Client) dialWebSocket(url string, h Header) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	ws, r, err := (&websocket.Dialer{}).DialContext(ctx, url, h)
	if err != nil {
		if r != nil {
			return fmt.Errorf("%w: %s", err, r.Status)
		}
		return err
	}
	c.abort = func() { _ = ws.NetConn().Close() }
	c.receive = func() ([]string, error) {
		kind, b, err := ws.ReadMessage()
		if err != nil {
			return nil, err
		}
		if kind == websocket.BinaryMessage {
			return []string{"b" + base64.StdEncoding.EncodeToString(b)}, nil
		}
		return []string{string(b)}, nil
	}
	var one sync.Mutex
	c.send = func(packets []string) error {
		one.Lock()
		defer one.Unlock()
		for _, p := range packets {
			kind, b := websocket.TextMessage, []byte(p)
			if strings.HasPrefix(p, "b") {
				kind = websocket.BinaryMessage
				if b, err = base64.StdEncoding.DecodeString(p[1:]); err != nil {
					return err
				}
			}
			if err := ws.WriteMessage(kind, b); err != nil {
				return err
			}
		}
		return nil
	}
	open, err := c.receive()
	if err != nil {
		return err
	}
	return c.parseOpenPacket(open[0])
}

func (c *Client) openPolling(url string, h Header) error {
	ctx, abort := context.WithCancel(context.Background())
	transport := &http.Transport{}
	c.abort = func() {
		abort()
		transport.CloseIdleConnections()
	}
	do := func(method, body string) (string, error) {
		r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		r.Header = h.Clone()
		a, err := transport.RoundTrip(r)
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(a.Body)
		_ = a.Body.Close()
		if err == nil && a.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", a.Status, b)
		}
		return string(b), err
	}
	c.receive = func() ([]string, error) {
		body, err := do(http.MethodGet, "")
		if err != nil {
			return nil, err
		}
		return strings.Split(body, "\x1e"), nil
	}
	var one sync.Mutex
	c.send = func(packets []string) error {
		one.Lock()
		defer one.Unlock()
		_, err := do(http.MethodPost, strings.Join(packets, "\x1e"))
		return err
	}
	open, err := c.receive()
	if err != nil {
		c.abort()
		return err
	}
	err = c.parseOpenPacket(open[0])
	url += "&sid=" + c.Sid
	c.mu.Lock()
	c.packets = open[1:]
	c.mu.Unlock()
	return err
}

// Listen starts to read packets.
func (c *Client) Listen() {
	go func() {
		for {
			packets, err := c.receive()
			if err == nil && len(packets) > 0 && packets[len(packets)-1] == "1" {
				packets, err = packets[:len(packets)-1], io.EOF
			}
			c.mu.Lock()
			for _, p := range packets {
				switch p {
				case "2":
					go func() { _ = c.send([]string{"3"}) }()
				case "6", "":
				default:
					c.packets = append(c.packets, p)
				}
			}
			c.err = err
			c.mu.Unlock()
			select {
			case c.wake <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
}

// Send sends packets, over polling all of them in one POST. It does not report errors: the test
// notices them by what follows.
func (c *Client) Send(packets ...string) { _ = c.send(packets) }

// Post is like Send, but returns the error.
func (c *Client) Post(packets ...string) error { return c.send(packets) }

// Next waits for a packet. The error is ErrSilent, or the reason why the connection ended. Only one
// goroutine at a time may call it.
func (c *Client) Next() (string, error) {
	var late <-chan time.Time
	for {
		c.mu.Lock()
		if len(c.packets) > 0 {
			p := c.packets[0]
			c.packets = c.packets[1:]
			c.mu.Unlock()
			return p, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return "", err
		}
		if late == nil {
			timer := time.NewTimer(Patience)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-c.wake:
		case <-late:
			return "", ErrSilent
		}
	}
}

// Read is like Next, but fails the test when no packet comes.
func (c *Client) Read() string {
	c.t.Helper()
	p, err := c.Next()
	require.NoError(c.t, err)
	return p
}

// Expect reads one packet after the other and fails the test if one is not the expected one.
func (c *Client) Expect(packets ...string) {
	c.t.Helper()
	for _, want := range packets {
		require.Equal(c.t, want, c.Read())
	}
}

// Rest waits until the connection ends and returns the packets that came before. It fails the test
// when the connection does not end.
func (c *Client) Rest() []string {
	c.t.Helper()
	all, err := c.Drain()
	require.NoError(c.t, err)
	return all
}

// Drain is like Rest, but returns an error when the connection does not end.
func (c *Client) Drain() (all []string, err error) {
	for {
		p, err := c.Next()
		switch {
		case errors.Is(err, ErrSilent):
			return all, err
		case err != nil:
			return all, nil
		}
		all = append(all, p)
	}
}

// Connect sends CONNECT to a namespace ("" is the main one) and returns the id of the socket.
func (c *Client) Connect(nsp, auth string) string {
	c.t.Helper()
	if nsp != "" {
		nsp += ","
	}
	c.Send("40" + nsp + auth)
	p := c.Read()
	require.True(c.t, strings.HasPrefix(p, "40"+nsp+"{"), p)
	var o struct{ Sid string }
	require.NoError(c.t, json.Unmarshal([]byte(p[2+len(nsp):]), &o))
	require.NotEmpty(c.t, o.Sid)
	return o.Sid
}

// Abort closes the network connection without a goodbye.
func (c *Client) Abort() {
	if c.abort != nil {
		c.abort()
	}
}
