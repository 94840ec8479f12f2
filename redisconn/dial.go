package redisconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// newDialer connects to a server, or to a socket when network is "unix".
//
// A refusal comes back as a connection that only tells the refusal. go-redis counts failed
// dials, and after PoolSize of them answers from memory and looks again only once a second:
// good for a server that swallows packets, but it would keep us away for a second from one
// that merely restarted. Refusals are quick, so they need no such rest.
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

// refusedConn is a connection on which everything fails in the same way.
type refusedConn struct{ err error }

func (r *refusedConn) Read([]byte) (int, error)         { return 0, r.err }
func (r *refusedConn) Write([]byte) (int, error)        { return 0, r.err }
func (r *refusedConn) Close() error                     { return nil }
func (r *refusedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (r *refusedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (r *refusedConn) SetDeadline(time.Time) error      { return nil }
func (r *refusedConn) SetReadDeadline(time.Time) error  { return nil }
func (r *refusedConn) SetWriteDeadline(time.Time) error { return nil }
