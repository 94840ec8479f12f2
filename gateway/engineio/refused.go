package engineio

import (
	"net/http"
	"strings"
)

// A Refused is a client that was turned away before it was connected.
type Refused struct {
	Addr      string // the client's IP address
	Transport string // polling, websocket, or the unknown one that the client asked for
	Code      string // stable, one of a fixed set: for metrics
	Reason    string // for people
	Status    int    // of the HTTP answer; 0 when the connection was open already
}

// The codes of clients that are refused with an HTTP status.
const (
	CodeTransportUnknown = "TRANSPORT_UNKNOWN"   // neither polling nor websocket
	CodeOriginRefused    = "ORIGIN_REFUSED"      // Config.AllowOrigin
	CodeBadRequest       = "BAD_REQUEST"         // such as a websocket without an upgrade, and an upgrade that failed
	CodeSidUnknown       = "SID_UNKNOWN"         // the connection has ended, or is on another node
	CodeBadMethod        = "BAD_METHOD"          // a handshake that is no GET
	CodeBadVersion       = "VERSION_UNSUPPORTED" // not Engine.IO 4, such as a Socket.IO client before version 3
	CodeUnavailable      = "UNAVAILABLE"         // 503
	CodeRateLimited      = "RATE_LIMITED"        // 429
)

// maxTransport is how many bytes of an unknown transport's name are reported.
const maxTransport = 32

// refuseRequest answers a request that is turned away, and reports it.
func (s *Server) refuseRequest(w http.ResponseWriter, r *http.Request, no protocolError, code, reason string) {
	no.writeResponse(w)
	s.reportRefused(r, s.cfg.ClientAddr(r), no.status, code, reason)
}

// reportRefused reports a request that was turned away.
func (s *Server) reportRefused(r *http.Request, addr string, status int, code, reason string) {
	if s.cfg.OnRefused == nil {
		return
	}
	transport := r.URL.Query().Get("transport")
	if len(transport) > maxTransport {
		transport = strings.ToValidUTF8(transport[:maxTransport], "")
	}
	s.cfg.OnRefused(Refused{Addr: addr, Transport: transport, Code: code, Reason: reason, Status: status})
}

// code returns the code that a refusal is reported with.
func (e *Refusal) code() string {
	if e.Status == http.StatusTooManyRequests {
		return CodeRateLimited
	}
	return CodeUnavailable
}
