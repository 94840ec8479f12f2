package server

import (
	"bufio"
	"net"
	"net/http"
	"strings"

	"go.uber.org/zap"
)

// serveSockets serves Config.Path, which bounds its requests by itself. It logs the handshakes that
// are refused before a sid exists, because they never become connections, which others log.
func (n *node) serveSockets(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.RawQuery, "sid=") {
		n.gateway.ServeHTTP(w, r)
		return
	}
	h := &statusRecorder{ResponseWriter: w}
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
	n.log.Info("connection refused", zap.String("addr", n.logins.clientAddr(r)), zap.String("code", code), zap.Int("status", h.status))
}

// statusRecorder remembers the status of an answer; 0 is 200, or a websocket.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status and passes it on.
func (h *statusRecorder) WriteHeader(status int) {
	h.status = status
	h.ResponseWriter.WriteHeader(status)
}

// Hijack gives up the connection for the upgrade to a websocket.
func (h *statusRecorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

// Unwrap returns the writer below, for http.ResponseController.
func (h *statusRecorder) Unwrap() http.ResponseWriter { return h.ResponseWriter }
