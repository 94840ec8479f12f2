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

// refusals are the answers of a server that cannot serve now, by their first word.
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

// ReasonNoAnswer is why a server that takes too long can not be used.
const ReasonNoAnswer = "no answer in time"

// ErrBreakerOpen is what a command gets instead of being sent, while a breaker rests.
var ErrBreakerOpen = errors.New("the breaker is open")

// readOnly are those refusals under which reads still work.
var readOnly = map[string]bool{"READONLY": true, "NOREPLICAS": true, "MISCONF": true, "OOM": true}

// IsReadOnly tells that the server refuses writes, and reads work.
func IsReadOnly(err error) bool { return readOnly[RefusalWord(err)] }

// Unavailable tells whether err means that Redis cannot be used now: it is unreachable,
// does not answer in time, or refuses everybody. False for a missing key, a wrong type, a
// script's own error, and for a caller that went away (context.Canceled).
func Unavailable(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) && UnavailableReason(err) != ""
}

// RetryAfter is when a player may ask again.
const RetryAfter = time.Second

// FaultFor is what a player is told when err came of asking Redis for a feature: UNAVAILABLE
// when Redis cannot be used now, else err as it is: a fault, a deadline of the caller, or
// an error that is ours.
func FaultFor(ctx context.Context, feature string, err error) error {
	var f *fault.Fault
	if err == nil || ctx.Err() != nil || errors.As(err, &f) || !Unavailable(err) {
		return err
	}
	return fault.Unavailable(feature, RetryAfter, err)
}

// WrapFault is FaultFor for a step of a feature: err is wrapped with both, and nil stays nil.
func WrapFault(ctx context.Context, feature, doing string, err error) error {
	if err == nil {
		return nil
	}
	return FaultFor(ctx, feature, fmt.Errorf("%s: %s: %w", feature, doing, err))
}

// UnavailableReason says in a few words why Redis cannot be used; "" when err does not mean that.
// It holds nothing that came from a URL. What goes wrong while a connection is greeted
// reaches us without its *net.OpError: go-redis takes the outermost wrapping off.
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
			// A command was refused when it was queued. go-redis keeps only this, so
			// a malformed command counts too; ours are not.
			return "Redis refused a transaction"
		}
		return ""
	}
	var network *net.OpError // not net.Error: a file's error is one of those too
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "all connections are busy"
	case errors.Is(err, ErrBreakerOpen):
		return ErrBreakerOpen.Error()
	case errors.Is(err, redis.ErrClosed):
		return "the client is closed"
	case errors.As(err, &dns):
		return "the host is not found"
	case errors.As(err, &cert):
		return "its certificate is not trusted"
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

// ConnectionRefused tells whether nobody listens there. A missing file is meant only where it is a
// socket: the same error of a file is none of ours.
func ConnectionRefused(err error) bool {
	var call *os.SyscallError
	return errors.Is(err, syscall.ECONNREFUSED) ||
		errors.As(err, &call) && call.Syscall == "connect" && call.Err == syscall.ENOENT
}

// RefusalWord is the first word of a server's answer when it is one of refusals. A script's
// error carries it in front (Redis 7) or behind a dash (Redis 6), a transaction's behind
// "because of: ".
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
