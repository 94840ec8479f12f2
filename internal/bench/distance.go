package main

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// A distance is a TCP proxy to a server that is some time away: what the server sends arrives so
// much later, in its order.
type distance struct {
	listener net.Listener
	target   string
	away     time.Duration

	mu    sync.Mutex
	conns map[net.Conn]bool // both ends of all connections; guarded by mu
	links sync.WaitGroup
}

// startDistance starts a proxy. The caller closes it.
func startDistance(target string, away time.Duration) (*distance, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("distance: %w", err)
	}
	d := &distance{listener: l, target: target, away: away, conns: map[net.Conn]bool{}}
	d.links.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			d.note(true, near, far)
			d.links.Go(func() { d.carry(far, near, 0) })
			d.links.Go(func() { d.carry(near, far, away) })
		}
	})
	return d, nil
}

func (d *distance) note(isOpen bool, ends ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range ends {
		if d.conns[c] = isOpen; !isOpen {
			delete(d.conns, c)
		}
	}
}

// A latePiece is bytes, and when they arrive.
type latePiece struct {
	bytes []byte
	at    time.Time
}

// carry copies from one end to the other, each piece late by so much, until one of them closes.
func (d *distance) carry(to, from net.Conn, late time.Duration) {
	pieces := make(chan latePiece, 1024)
	d.links.Go(func() {
		defer d.note(false, to, from)
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.at))
			if _, err := to.Write(p.bytes); err != nil {
				from.Close()
			}
		}
	})
	defer close(pieces)
	for buffer := make([]byte, 64<<10); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		pieces <- latePiece{append([]byte(nil), buffer[:n]...), time.Now().Add(late)}
	}
}

// close ends the proxy and all its connections, and waits for them.
func (d *distance) close() {
	_ = d.listener.Close()
	d.mu.Lock()
	for c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.links.Wait()
}
