package server

import (
	"bufio"
	"net"
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// sockets serves /socket.io/, which bounds its requests by itself, and logs the handshakes
// that are refused before a sid exists: nobody below knows them as connections.
func (n *node) sockets(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.RawQuery, "sid=") {
		n.gateway.ServeHTTP(w, r)
		return
	}
	h := &handshake{ResponseWriter: w}
	n.gateway.ServeHTTP(h, r)
	if h.status < 400 {
		return
	}
	code := "INVALID"
	switch h.status {
	case http.StatusServiceUnavailable:
		code = "UNAVAILABLE"
	case http.StatusTooManyRequests:
		code = "RATE_LIMITED"
	}
	n.log.Info("connection refused", zap.String("addr", n.addr(r)), zap.String("code", code), zap.Int("status", h.status))
}

// handshake remembers the status of an answer; 0 is 200, or a websocket.
type handshake struct {
	http.ResponseWriter
	status int
}

func (h *handshake) WriteHeader(status int) {
	h.status = status
	h.ResponseWriter.WriteHeader(status)
}

// Hijack is for the upgrade to a websocket.
func (h *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (h *handshake) Unwrap() http.ResponseWriter { return h.ResponseWriter }
