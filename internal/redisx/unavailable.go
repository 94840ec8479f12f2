package redisx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
)

// refusals explains the replies of a server that cannot serve now, by their first word.
var refusals = map[string]string{
	"LOADING":     "Redis is loading its data",
	"READONLY":    "Redis is read-only",
	"MASTERDOWN":  "the replica has lost its master",
	"CLUSTERDOWN": "the Cluster is down",
	"TRYAGAIN":    "the Cluster is moving keys",
	"NOREPLICAS":  "too few replicas",
	"MISCONF":     "Redis cannot save to its disk and refuses writes",
	"OOM":         "Redis has no memory left",
	"BUSY":        "a script keeps Redis busy",
	"UNBLOCKED":   "Redis is changing its role",
	"NOAUTH":      "Redis wants a password",
	"WRONGPASS":   "Redis does not take our password",
}

// ReasonNoAnswer is the reason for a server that takes too long.
const ReasonNoAnswer = "no answer in time"

// ErrBreakerOpen is the error of a command that was not sent, because a breaker is open.
var ErrBreakerOpen = errors.New("the breaker is open")

// ErrMayWantTLS is in the error of a connection without TLS whose server said nothing, or spoke
// TLS.
var ErrMayWantTLS = errors.New("the server ended the connection without an answer, as one does that wants TLS (rediss://)")

var (
	// ErrServerMoved is the error of a connection that was closed, or not made, because another server
	// answers at the address of Redis than before.
	ErrServerMoved = errors.New("another server answers at the address of Redis")
	// ErrServersAlternate is the error of a connection that was not made because two servers answer
	// at the address of Redis in turn.
	ErrServersAlternate = errors.New("two servers answer at the address of Redis in turn")
)

// readOnly are the refusals under which reads still work.
var readOnly = map[string]bool{"READONLY": true, "NOREPLICAS": true, "MISCONF": true, "OOM": true}

// IsReadOnly tells whether err means that the server refuses writes while reads work.
func IsReadOnly(err error) bool { return readOnly[RefusalWord(err)] }

// Unavailable tells whether err means that Redis cannot be used now: it is unreachable, does not
// answer in time, or refuses every client. It is false for a missing key, a wrong type, a script's
// own error, and a caller that left (context.Canceled).
func Unavailable(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) && UnavailableReason(err) != ""
}

// RetryAfter is how long a player is told to wait while Redis is unavailable.
const RetryAfter = time.Second

// FaultFor turns an error which means that Redis cannot be used now into the fault UNAVAILABLE of a
// feature. It returns every other error as it is: a fault, the end of the caller's context, or a
// mistake of ours.
func FaultFor(ctx context.Context, feature string, err error) error {
	var f *fault.Fault
	if err == nil || ctx.Err() != nil || errors.As(err, &f) || !Unavailable(err) {
		return err
	}
	return fault.Unavailable(feature, RetryAfter, err)
}

// WrapFault is FaultFor for one step of a feature: it wraps err with the feature and with what it
// was doing. nil stays nil.
func WrapFault(ctx context.Context, feature, doing string, err error) error {
	if err == nil {
		return nil
	}
	return FaultFor(ctx, feature, fmt.Errorf("%s: %s: %w", feature, doing, err))
}

// UnavailableReason returns in a few words why Redis cannot be used, or "" if err does not mean
// that. It contains no part of a URL, and so no password. (go-redis removes the outermost wrapping
// from errors of the commands with which a connection begins, so these reach us without
// *net.OpError.)
func UnavailableReason(err error) string {
	if err == nil || errors.Is(err, redis.Nil) {
		return ""
	}
	if word := RefusalWord(err); word != "" {
		return refusals[word]
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		if strings.Contains(reply.Error(), "max number of clients reached") {
			return "Redis has too many clients"
		}
		if strings.HasPrefix(reply.Error(), "EXECABORT ") {
			// A command was refused when it was queued. go-redis keeps only this error, so it
			// would also stand for a malformed command; ours are not malformed.
			return "Redis refused a transaction"
		}
		return ""
	}
	var network *net.OpError // not net.Error, which errors of files are too
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	switch {
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "all connections are busy"
	case errors.Is(err, ErrBreakerOpen):
		return ErrBreakerOpen.Error()
	case errors.Is(err, ErrServersAlternate):
		return ErrServersAlternate.Error()
	case errors.Is(err, ErrServerMoved):
		return ErrServerMoved.Error()
	case errors.Is(err, redis.ErrClosed):
		return "the client is closed"
	case errors.As(err, &dns):
		return "the host is not found"
	case errors.As(err, &cert):
		return "its certificate is not trusted"
	case errors.As(err, &notTLS):
		return "the server does not speak TLS: without it, the scheme is redis://"
	case errors.Is(err, ErrMayWantTLS):
		return ErrMayWantTLS.Error()
	case ConnectionRefused(err):
		return "connection refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT), errors.As(err, &network) && network.Timeout():
		return ReasonNoAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection lost"
	case network != nil, errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "network error"
	case strings.Contains(err.Error(), "sentinels specified in configuration are unreachable"):
		return "no sentinel answers"
	case strings.Contains(err.Error(), "redis: cluster has no nodes"):
		return "no node of the Cluster answers"
	}
	return ""
}

// ConnectionRefused tells whether err means that no server listens at the address. A missing file
// counts if it is the unix socket of the address, and not if it is any other file.
func ConnectionRefused(err error) bool {
	var call *os.SyscallError
	return errors.Is(err, syscall.ECONNREFUSED) ||
		errors.As(err, &call) && call.Syscall == "connect" && call.Err == syscall.ENOENT
}

// RefusalWord returns the first word of a server's reply when it is a refusal (READONLY, LOADING,
// …), and else "". The error of a script has that word at the start (Redis 7) or behind a dash
// (Redis 6), the error of a transaction behind "because of: ".
func RefusalWord(err error) string {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return ""
	}
	text := reply.Error()
	if _, inner, ok := strings.Cut(text, "discarded because of: "); ok {
		text = inner
	} else if strings.HasPrefix(text, "ERR Error running script") {
		if _, inner, ok := strings.Cut(text, ": -"); ok {
			text = inner
		}
	}
	word, _, _ := strings.Cut(text, " ")
	if refusals[word] == "" {
		return ""
	}
	return word
}

// IsForbidden tells whether err is Redis's answer that our user lacks a right: to a command, a key
// or a channel, also inside a script.
func IsForbidden(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := reply.Error()
	return strings.HasPrefix(text, "NOPERM") || strings.Contains(text, ": -NOPERM") ||
		strings.Contains(text, "The user executing the script can't")
}
