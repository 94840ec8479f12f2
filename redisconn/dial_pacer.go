package redisconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// The pause between two dials of a server that is away. Each is drawn from the upper half, or near
// the end from the upper quarter, of its range, so that many gateways do not dial in step. The
// longest pause is shorter than a second, because a gateway promises to be ready within a second
// after Redis is back.
const (
	firstDialPause = 50 * time.Millisecond
	mostDialPause  = 900 * time.Millisecond
	leastLastPause = 700 * time.Millisecond
)

// A dialPacer bounds how often the servers of one client are dialled while they do not answer: the
// first failure is followed by one dial more, which shows whether the server has gone, and then by
// pauses that double. Meanwhile every other dial of the address fails at once with the last error.
type dialPacer struct {
	mu    sync.Mutex
	addrs map[string]*dialPace // by address, those alone that do not answer; guarded by mu
}

// A dialPace is what is known of an address that does not answer.
type dialPace struct {
	failures  int
	failedAt  time.Time // when the last dial that counted failed
	next      time.Time // when it may be dialled again
	isDialled bool      // one dial is under way
	err       error     // of the last dial
}

// maxPaced bounds how many addresses a pacer remembers. Sentinels and Clusters name them.
const maxPaced = 256

func newDialPacer() *dialPacer { return &dialPacer{addrs: make(map[string]*dialPace)} }

// begin returns an attempt to dial addr, or why it must not be dialled yet.
func (p *dialPacer) begin(addr string) (*dialAttempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pace := p.addrs[addr]; pace != nil {
		if pace.isDialled || time.Now().Before(pace.next) {
			return nil, pace.err
		}
		pace.isDialled = true
	}
	return &dialAttempt{pacer: p, addr: addr, begun: time.Now()}, nil
}

// A dialAttempt is one dial and what becomes of it. Only the first call of fail and succeed counts.
type dialAttempt struct {
	pacer  *dialPacer
	addr   string
	begun  time.Time
	isOver atomic.Bool
}

// succeed notes that the server has sent something.
func (a *dialAttempt) succeed() {
	if a.isOver.Swap(true) {
		return
	}
	a.pacer.mu.Lock()
	defer a.pacer.mu.Unlock()
	delete(a.pacer.addrs, a.addr)
}

// fail notes that the server could not be reached, or closed the connection and had sent nothing.
func (a *dialAttempt) fail(err error) {
	if a.isOver.Swap(true) {
		return
	}
	p := a.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	pace := p.addrs[a.addr]
	switch {
	case pace == nil && len(p.addrs) >= maxPaced:
		return
	case pace == nil:
		pace = &dialPace{}
		p.addrs[a.addr] = pace
	case a.begun.Before(pace.failedAt): // it was dialled together with one that has failed already
		return
	}
	pace.failures++
	pace.failedAt, pace.next = now, now.Add(dialPause(pace.failures))
	pace.isDialled = false
	pace.err = fmt.Errorf("redis: %w", err) // go-redis takes one wrapping off
}

// abandon notes that the caller left before anything was known of the server.
func (a *dialAttempt) abandon() {
	if a.isOver.Swap(true) {
		return
	}
	a.pacer.mu.Lock()
	defer a.pacer.mu.Unlock()
	if pace := a.pacer.addrs[a.addr]; pace != nil {
		pace.isDialled = false
	}
}

// dialPause returns how long to wait after so many failures in a row.
func dialPause(failures int) time.Duration {
	if failures == 1 {
		return 0
	}
	pause := firstDialPause << min(failures-2, 10)
	if pause >= leastLastPause {
		return leastLastPause + rand.N(mostDialPause-leastLastPause) //nolint:gosec // spreads the load, hides nothing
	}
	return pause/2 + rand.N(pause/2) //nolint:gosec // spreads the load, hides nothing
}

// silentFor is how long a server that took a connection must have said nothing to be called away
// when the connection is closed. A slow server answers sooner.
const silentFor = 350 * time.Millisecond

// A pacedConn tells the pacer whether its server answers.
type pacedConn struct {
	net.Conn
	attempt *dialAttempt
	since   time.Time
	ended   error // what the first failing Read returned; go-redis reads again
}

// newPacedConn wraps a connection whose server has not sent anything yet.
func newPacedConn(conn net.Conn, attempt *dialAttempt) net.Conn {
	return withSocketOf(&pacedConn{Conn: conn, attempt: attempt, since: time.Now()}, conn)
}

// Read notes an answer, or that the server ended the connection and had sent nothing.
func (c *pacedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case c.ended != nil:
		return 0, c.ended
	case c.attempt.isOver.Load():
	case n > 0 && b[0] == tlsAlert && !isTLS(c.Conn):
		c.ended = redisx.ErrMayWantTLS
		c.attempt.fail(c.ended)
		return 0, c.ended
	case n > 0:
		c.attempt.succeed()
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		if !isTLS(c.Conn) {
			err = fmt.Errorf("%w: %w", redisx.ErrMayWantTLS, err)
			c.ended = err
		}
		c.attempt.fail(err)
	}
	return n, err
}

// tlsAlert is the first byte of what a server that wants TLS answers to a client without it. No
// answer of Redis begins so.
const tlsAlert = 0x15

func isTLS(conn net.Conn) bool {
	_, ok := conn.(*tls.Conn)
	return ok
}

// Close ends the attempt too: a server that took the connection and never answered is away.
func (c *pacedConn) Close() error {
	if time.Since(c.since) >= silentFor {
		c.attempt.fail(os.ErrDeadlineExceeded)
	}
	c.attempt.abandon()
	return c.Conn.Close()
}

// withSocketOf returns wrapper, and lets go-redis look at the socket of the connection below it, so
// that it notices when an idle connection was closed by its server. A connection of TLS has no
// socket that could be looked at.
func withSocketOf(wrapper, below net.Conn) net.Conn {
	socket, ok := below.(rawSocket)
	if !ok {
		return wrapper
	}
	return &socketConn{wrapper, socket}
}

type rawSocket interface{ syscall.Conn }

// A socketConn is a connection whose socket can be looked at.
type socketConn struct {
	net.Conn
	rawSocket
}
