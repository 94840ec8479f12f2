package engineio

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Engine.IO packet types: the first byte of a text packet.
const (
	packetOpen    = '0'
	packetClose   = '1'
	packetPing    = '2'
	packetPong    = '3'
	packetMessage = '4'
	packetUpgrade = '5'
	packetNoop    = '6'

	packetBinary = 'b' // polling only: base64 follows
	separator    = '\x1e'
)

// A protocolError is a refusal of a request as the protocol has it: {"code", "message"} with an
// HTTP status.
type protocolError struct {
	code    int
	message string
	status  int
}

var (
	errUnknownTransport = protocolError{0, "Transport unknown", http.StatusBadRequest}
	errUnknownSid       = protocolError{1, "Session ID unknown", http.StatusBadRequest}
	errBadMethod        = protocolError{2, "Bad handshake method", http.StatusBadRequest}
	errBadRequest       = protocolError{3, "Bad request", http.StatusBadRequest}
	errForbidden        = protocolError{4, "Forbidden", http.StatusForbidden}
	errBadVersion       = protocolError{5, "Unsupported protocol version", http.StatusBadRequest}
)

func (e protocolError) writeResponse(w http.ResponseWriter) {
	b := strconv.AppendInt([]byte(`{"code":`), int64(e.code), 10)
	b, _ = jsontext.AppendQuote(append(b, `,"message":`...), e.message)
	b = append(b, '}')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(e.status)
	_, _ = w.Write(b)
}

// A Refusal refuses a handshake before a sid exists. Browsers come back by themselves.
type Refusal struct {
	Status     int           // 503, or 429 for a limit of the caller's own
	Message    string        // for people
	RetryAfter time.Duration // becomes Retry-After, in whole seconds
}

func (e *Refusal) writeResponse(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.FormatInt(max(1, int64((e.RetryAfter+time.Second-1)/time.Second)), 10))
	protocolError{errForbidden.code, e.Message, e.Status}.writeResponse(w)
}

// The violations of clients. The handler gets them before the connection is closed, so that it can
// tell the client: see Handler.Malformed.
var (
	ErrTooLarge  = errors.New("engineio: message too large")
	ErrMalformed = errors.New("engineio: malformed packet")
	// ErrTooLargeYet is an ErrTooLarge: the message comes before Conn.Confirm, when less may come.
	ErrTooLargeYet = fmt.Errorf("%w before CONNECT", ErrTooLarge)
	ErrTooMany     = errors.New("engineio: too many packets in one payload")
)

// The reasons for which a connection ends, in the words that Socket.IO uses.
const (
	ReasonTransportClose = "transport close"
	ReasonTransportError = "transport error"
	ReasonParseError     = "parse error"
	ReasonPingTimeout    = "ping timeout"
	ReasonForcedClose    = "forced close"
	ReasonSlowConsumer   = "slow consumer"
	ReasonNoConnect      = "connect timeout"
	ReasonShutdown       = "server shutting down"
)
