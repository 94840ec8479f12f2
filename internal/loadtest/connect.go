package loadtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A refusal is a negative answer of the server: an error code of the contract, or an HTTP status.
type refusal string

func (r refusal) Error() string { return "refused: " + string(r) }

// A handshake is the websocket handshake of a run. Every connection sends the same bytes.
type handshake struct {
	request []byte
	accept  string
}

// newHandshake builds the request of RFC 6455 section 4.1 and the key that the server must accept.
func newHandshake(e endpoint, extra http.Header) handshake {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // Read never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", e.host, key)
	_ = extra.Write(&b) // writing to a buffer never fails
	b.WriteString("\r\n")
	return handshake{b.Bytes(), base64.StdEncoding.EncodeToString(sum[:])}
}

// errNotUpgraded means that the server did not answer the handshake with a valid upgrade to
// websocket.
var errNotUpgraded = errors.New("the answer is no websocket handshake")

// checkResponse reads the head of the server's answer. It returns a refusal for another HTTP status
// than 101.
func (g handshake) checkResponse(head []byte) error {
	answer, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(head), len(head)), nil)
	if err != nil {
		return errNotUpgraded
	}
	_ = answer.Body.Close()
	switch {
	case answer.StatusCode != http.StatusSwitchingProtocols:
		return refusal("HTTP " + strconv.Itoa(answer.StatusCode))
	case answer.Header.Get("Sec-WebSocket-Accept") != g.accept || !strings.EqualFold(answer.Header.Get("Upgrade"), "websocket"):
		return errNotUpgraded
	}
	return nil
}

// maxHead is the largest head, in bytes, of the answer to a handshake.
const maxHead = 16 << 10

// connectAndJoin opens the connection and joins the namespace, on the caller's goroutine. When it
// returns nil, the server has answered CONNECT. A second call opens a new connection of the same
// player.
func (c *client) connectAndJoin(ctx context.Context) (err error) {
	r := c.run
	dialer := net.Dialer{Timeout: r.cfg.Timeout, KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", c.chooseAddress())
	if err != nil {
		return err
	}
	if r.endpoint.isTLS {
		host, _, _ := net.SplitHostPort(r.endpoint.dialAddr)
		conn = tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	c.isRecovered.Store(false)
	c.awaitsSession = r.keepsState()
	c.isJoined, c.lostConnection, c.closeAnnounced, c.endErr, c.partialFrame, c.partialMessage, c.readTimeout = false, false, false, nil, nil, nil, r.cfg.Timeout
	c.isLeaving.Store(false)
	sc := getScratch()
	defer sc.release()
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(r.cfg.Timeout))
	if _, err = conn.Write(r.handshake.request); err != nil {
		return err
	}
	have, head := 0, -1
	for head < 0 {
		if have >= maxHead {
			return errNotUpgraded
		}
		n, err := conn.Read(sc.in[have:])
		if err != nil {
			return err
		}
		have += n
		head = bytes.Index(sc.in[:have], []byte("\r\n\r\n"))
	}
	if err = r.handshake.checkResponse(sc.in[:head+4]); err != nil {
		return err
	}
	c.handleBytes(sc, sc.in[head+4:have], r.now())
	for !c.isJoined && c.endErr == nil {
		n, err := conn.Read(sc.in)
		if err != nil {
			return err
		}
		c.handleBytes(sc, sc.in[:n], r.now())
	}
	if c.endErr != nil {
		return c.endErr
	}
	_ = conn.SetDeadline(time.Time{})
	_ = conn.SetReadDeadline(time.Now().Add(c.readTimeout))
	c.isConnected.Store(true)
	return nil
}

// chooseAddress returns the address of the server to which the client connects now.
func (c *client) chooseAddress() string {
	r := c.run
	if c.returnAttempts == 0 || len(r.returnAddrs) == 0 {
		return r.dialAddrs[int(c.index)%len(r.dialAddrs)]
	}
	return r.returnAddrs[(int(c.index)+c.returnAttempts)%len(r.returnAddrs)]
}

// appendAuth appends the payload of CONNECT. A client that keeps its state presents it as
// socket.io-client does.
func (c *client) appendAuth(dst []byte) []byte {
	dst = append(dst, '{')
	if len(c.pid) > 0 {
		dst = append(append(dst, `"pid":"`...), c.pid...)
		if len(c.offset) > 0 {
			dst = append(append(dst, `","offset":"`...), c.offset...)
		}
		dst = append(dst, `",`...)
	}
	dst = append(dst, `"sessionId":`...)
	return append(strconv.AppendQuote(dst, c.sessionID), '}')
}

// errorCode returns the name under which the table lists an error.
func errorCode(err error) string {
	var r refusal
	switch {
	case errors.As(err, &r):
		return string(r)
	case isTimeoutError(err), errors.Is(err, errNoAnswer), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, errNotUpgraded), errors.Is(err, errBadFrame), errors.Is(err, errTooLarge):
		return "protocol"
	case errors.Is(err, errClosed):
		return "closed"
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text[:min(len(text), 60)]
}

func isTimeoutError(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
