package redisconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
)

// A connRegistry knows every connection of a client to its server, those of pools and of
// subscriptions, and holds back new ones while it is closed.
type connRegistry struct {
	mu         sync.Mutex
	generation int                     // how often all connections were closed; guarded by mu
	conns      map[*registeredConn]int // with the generation of each; guarded by mu
	opened     chan struct{}           // closed when dials may go on; nil while they may; guarded by mu
	refusal    error                   // why dials fail at once instead of waiting; nil while they wait; guarded by mu
}

func newConnRegistry() *connRegistry { return &connRegistry{conns: make(map[*registeredConn]int)} }

// closeAll closes all connections and holds back new ones until reopen. It does nothing unless
// generation is the current one, because the connections of an earlier one are closed already.
func (r *connRegistry) closeAll(generation int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if generation != r.generation {
		return false
	}
	r.generation++
	if r.opened == nil {
		r.opened = make(chan struct{})
	}
	for c := range r.conns {
		c.isClosedByUs.Store(true)
		_ = c.Conn.Close() // its caller gets the error of its next call
	}
	clear(r.conns)
	return true
}

// reopen lets dials go on.
func (r *connRegistry) reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened != nil {
		close(r.opened)
	}
	r.opened, r.refusal = nil, nil
}

// refuse makes dials fail at once instead of waiting, until reopen.
func (r *connRegistry) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened != nil {
		r.refusal = err
	}
}

func (r *connRegistry) currentGeneration() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generation
}

// dialWhenOpen dials once the registry is open, and registers the connection.
func (r *connRegistry) dialWhenOpen(ctx context.Context, network, addr string, dial dialFunc) (net.Conn, error) {
	generation, err := r.waitUntilOpen(ctx)
	if err != nil {
		return &refusedConn{fmt.Errorf("redis: %w", err)}, nil // go-redis takes one wrapping off
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &registeredConn{Conn: conn, registry: r}
	r.mu.Lock()
	defer r.mu.Unlock()
	if generation != r.generation {
		_ = conn.Close() // nobody has it
		return &refusedConn{fmt.Errorf("redis: %w", redisx.ErrServerMoved)}, nil
	}
	r.conns[c] = generation
	return withSocketOf(c, conn), nil
}

// waitUntilOpen returns the generation in which a dial begins.
func (r *connRegistry) waitUntilOpen(ctx context.Context) (generation int, err error) {
	r.mu.Lock()
	opened, generation, refusal := r.opened, r.generation, r.refusal
	r.mu.Unlock()
	switch {
	case opened == nil:
		return generation, nil
	case refusal != nil:
		return 0, refusal
	}
	select {
	case <-opened:
		return r.currentGeneration(), nil
	case <-ctx.Done():
		return 0, redisx.ErrServerMoved
	}
}

// A registeredConn is one connection in a registry.
type registeredConn struct {
	net.Conn
	registry     *connRegistry
	isClosedByUs atomic.Bool
}

// errClosedByUs is what a caller sees of a connection that closeAll closed: it ended as if the
// server had ended it, so go-redis sends the command once more where it may.
var errClosedByUs = fmt.Errorf("%w: %w", redisx.ErrServerMoved, io.EOF)

// Read reads, and says why the connection is closed.
func (c *registeredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.explain(err)
}

// Write writes, and says why the connection is closed.
func (c *registeredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.explain(err)
}

// SetDeadline hides that the connection is closed: the call that follows says why.
func (c *registeredConn) SetDeadline(t time.Time) error { return c.hide(c.Conn.SetDeadline(t)) }

// SetReadDeadline is like SetDeadline.
func (c *registeredConn) SetReadDeadline(t time.Time) error { return c.hide(c.Conn.SetReadDeadline(t)) }

// SetWriteDeadline is like SetDeadline.
func (c *registeredConn) SetWriteDeadline(t time.Time) error {
	return c.hide(c.Conn.SetWriteDeadline(t))
}

func (c *registeredConn) explain(err error) error {
	if err != nil && c.isClosedByUs.Load() {
		return errClosedByUs
	}
	return err
}

func (c *registeredConn) hide(err error) error {
	if c.isClosedByUs.Load() && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Close closes the connection and forgets it.
func (c *registeredConn) Close() error {
	c.registry.mu.Lock()
	delete(c.registry.conns, c)
	c.registry.mu.Unlock()
	return c.hide(c.Conn.Close())
}
