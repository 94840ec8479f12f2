package socketio

import (
	"errors"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// The codes of connections that end before a CONNECT was admitted or refused by a Receiver.
const (
	codeNamespaceUnknown = "NAMESPACE_UNKNOWN" // a CONNECT to a namespace that does not exist
	codeConnectTimeout   = "CONNECT_TIMEOUT"   // no CONNECT came in time
	codeParseError       = "PARSE_ERROR"       // a packet that is none, or that may not come before CONNECT
	codeTooLarge         = "PAYLOAD_TOO_LARGE" // a packet beyond the bounds
	codeSlowConsumer     = "SLOW_CONSUMER"     // the client did not read
	codeAbandoned        = "ABANDONED"         // the client left by itself, or was not heard any more
	codeInternal         = "INTERNAL"          // our own fault: the log has the cause
)

// reportRefused reports a client that was turned away, or left, before a Receiver judged its
// CONNECT. It is called once for each connection, on the goroutine that serves.
func (l *link) reportRefused(code, reason string) {
	if l.isJudged {
		return
	}
	l.isJudged = true
	l.srv.cfg.OnRefused(engineio.Refused{Addr: l.conn.Addr(), Transport: l.conn.TransportName(), Code: code, Reason: reason})
}

// describeEarlyEnd returns the code and the words for a connection that ended before a CONNECT was
// judged. violation is what the client broke the protocol with, or nil.
func describeEarlyEnd(reason string, violation error) (code, words string) {
	switch {
	case errors.Is(violation, engineio.ErrTooLarge), errors.Is(violation, engineio.ErrTooMany):
		return codeTooLarge, violation.Error()
	case violation != nil:
		return codeParseError, violation.Error()
	}
	switch reason {
	case engineio.ReasonNoConnect:
		return codeConnectTimeout, "no CONNECT came within the connect timeout"
	case engineio.ReasonShutdown:
		return engineio.CodeUnavailable, reason
	case engineio.ReasonSlowConsumer:
		return codeSlowConsumer, reason
	case engineio.ReasonForcedClose:
		return codeInternal, reason
	}
	return codeAbandoned, "the client left before CONNECT was answered: " + reason
}
