package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// A dialFunc has the form of redis.Options.Dialer.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// A dialer connects to servers, or to a socket when network is "unix".
//
// A server that cannot be reached is returned as a refusedConn, not as an error. go-redis counts
// failed dials; after PoolSize of them it fails at once and dials only once a second, which would
// keep us away for a second from a server that is back. Our own pacer bounds the dials, those of
// all connections to one address together.
type dialer struct {
	network  string
	config   func() (*tls.Config, error) // nil without TLS
	net      net.Dialer
	pacer    *dialPacer
	resolver *resolver
}

// newDialer returns a dialer. config is called at each dial with TLS; nil is none. lookup resolves
// names; nil is the system's resolver.
func newDialer(network string, config func() (*tls.Config, error), timeout time.Duration, lookup lookupFunc) *dialer {
	return &dialer{
		network: network, config: config, pacer: newDialPacer(), resolver: newResolver(lookup),
		net: net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
		}},
	}
}

// dial connects to addr, unless the pacer says that it is too early.
func (d *dialer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	attempt, err := d.pacer.begin(addr)
	if err != nil {
		return &refusedConn{err}, nil //nolint:nilerr // the connection says it, so that go-redis does not dial again at once
	}
	conn, err := d.connect(ctx, addr)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			attempt.abandon()
		}
		attempt.fail(err)
		return &refusedConn{fmt.Errorf("redis: %w", err)}, nil // go-redis takes one wrapping off
	}
	return newPacedConn(conn, attempt), nil
}

// connect dials and, for the rediss schemes, does the handshake of TLS.
func (d *dialer) connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.net.Timeout)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if d.network == "unix" || err != nil || net.ParseIP(host) != nil {
		return d.connectTo(ctx, addr, host)
	}
	addresses, err := d.resolver.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, ip := range addresses {
		var conn net.Conn
		part, cancelPart := partOfDeadline(ctx, len(addresses)-i)
		conn, err = d.connectTo(part, net.JoinHostPort(ip, port), host)
		cancelPart()
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// partOfDeadline leaves to each of the addresses that are still to be tried its part of the time.
func partOfDeadline(ctx context.Context, addresses int) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline()
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(addresses))
}

func (d *dialer) connectTo(ctx context.Context, addr, serverName string) (net.Conn, error) {
	conn, err := d.net.DialContext(ctx, d.network, addr)
	if err != nil || d.config == nil {
		return conn, err
	}
	config, loadErr := d.config()
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = serverName
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // it was not used
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), loadErr)
	}
	return secure, nil
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
