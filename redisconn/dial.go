package redisconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// newDialer returns a function that connects to a server, or to a socket when network is "unix".
//
// A refused connection is returned as a refusedConn, not as an error. go-redis counts failed dials;
// after PoolSize of them it fails at once and dials only once a second. That is good for a server
// that does not answer, but it would keep us away for a second from one that has just restarted.
// Refusals come quickly, so they need no such pause.
func newDialer(network string, config *tls.Config, timeout time.Duration) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	dial := d.DialContext
	if config != nil {
		dial = (&tls.Dialer{NetDialer: d, Config: config}).DialContext
	}
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil && redisx.ConnectionRefused(err) {
			return &refusedConn{fmt.Errorf("redis: %w", err)}, nil // go-redis takes one wrapping off
		}
		return c, err
	}
}

// A refusedConn is a connection on which every call fails with the refusal.
type refusedConn struct{ err error }

func (r *refusedConn) Read([]byte) (int, error)         { return 0, r.err }
func (r *refusedConn) Write([]byte) (int, error)        { return 0, r.err }
func (r *refusedConn) Close() error                     { return nil }
func (r *refusedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (r *refusedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (r *refusedConn) SetDeadline(time.Time) error      { return nil }
func (r *refusedConn) SetReadDeadline(time.Time) error  { return nil }
func (r *refusedConn) SetWriteDeadline(time.Time) error { return nil }
