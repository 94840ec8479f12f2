package tlsserve

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// NewListener returns a listener of TLS over one of TCP. Its connections are *tls.Conn over a Conn.
func NewListener(l net.Listener, config *tls.Config) net.Listener {
	return &listener{Listener: l, config: config}
}

type listener struct {
	net.Listener
	config *tls.Config
}

// Accept returns the next connection. Its handshake has not been made.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // callers compare it
	}
	return tls.Server(&Conn{Conn: c}, l.config), nil
}

// Under returns the connection that a listener below TLS accepted, and c where there is no TLS.
func Under(c net.Conn) net.Conn {
	if below := Below(c); below != nil {
		return below.Conn
	}
	return c
}

// Below returns the Conn below a connection of a listener of this package, or nil.
func Below(c net.Conn) *Conn {
	secure, ok := c.(*tls.Conn)
	if !ok {
		return nil
	}
	below, _ := secure.NetConn().(*Conn)
	return below
}

// A Conn is a TCP connection below TLS. crypto/tls waits for a client in its Read, to which the
// caller must give a buffer. After StartPolling it does not wait: it returns ErrNoData, and
// WaitForData waits without a buffer.
type Conn struct {
	net.Conn
	isPolled atomic.Bool

	// of the reader, after StartPolling
	raw      syscall.RawConn
	buffer   []byte
	n        int
	err      error
	tryRead  func(fd uintptr) bool
	waitRead func(fd uintptr) bool
}

// ErrNoData is the error of a Read that would have to wait, after StartPolling. It calls itself
// temporary, so that crypto/tls can go on.
var ErrNoData net.Error = noData{}

type noData struct{}

func (noData) Error() string   { return "tlsserve: no data yet" }
func (noData) Timeout() bool   { return true }
func (noData) Temporary() bool { return true }

// StartPolling makes Read return ErrNoData instead of waiting. It reports false where the
// connection below is none with a descriptor; then Read waits. No Read may be under way.
func (c *Conn) StartPolling() bool {
	under, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := under.SyscallConn()
	if err != nil {
		return false
	}
	c.raw = raw
	c.tryRead = func(fd uintptr) bool {
		for {
			if c.n, c.err = syscall.Read(int(fd), c.buffer); c.err != syscall.EINTR {
				return true
			}
		}
	}
	var one [1]byte
	c.waitRead = func(fd uintptr) bool {
		for {
			_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
			if err != syscall.EINTR {
				return err != syscall.EAGAIN
			}
		}
	}
	c.isPolled.Store(true)
	return true
}

// Read reads from the connection.
func (c *Conn) Read(b []byte) (int, error) {
	if !c.isPolled.Load() {
		return c.Conn.Read(b) //nolint:wrapcheck // crypto/tls compares it
	}
	c.buffer = b
	err := c.raw.Read(c.tryRead)
	c.buffer = nil
	switch {
	case err != nil:
		return 0, err //nolint:wrapcheck // such as net.ErrClosed
	case c.err == syscall.EAGAIN:
		return 0, ErrNoData
	case c.err != nil:
		return 0, c.err
	case c.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return c.n, nil
}

// WaitForData waits until Read has something to return: data, the end, or an error.
func (c *Conn) WaitForData() error {
	return c.raw.Read(c.waitRead) //nolint:wrapcheck // such as net.ErrClosed
}

// CloseWrite closes the sending side of the TCP connection. It does not wait, as the alert of TLS
// would.
func (c *Conn) CloseWrite() error {
	if under, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return under.CloseWrite() //nolint:wrapcheck // it names the connection
	}
	return nil
}
