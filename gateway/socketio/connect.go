package socketio

import (
	"context"
	"errors"

	"github.com/zishang520/socket.io-go-parser/v2/parser"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// This file is how sockets come and go: what we judge, and what the library is let do.

// maxConnects bounds how often one connection may ask to be let in: each time costs a look
// into the store, and the limits of connecting are spent by handshakes.
const maxConnects = 64

// connect judges a CONNECT, and lets the library connect who may come in.
func (l *link) connect(p *packet) {
	n := l.srv.nsps[p.nsp]
	if n == nil {
		l.refuse(p.nsp, &Refusal{Message: "Invalid namespace"})
		return
	}
	s := &Socket{nsp: n, link: l, auth: p.data}
	l.mu.Lock()
	again, ended := l.find(p.nsp) != nil, l.ended
	l.mu.Unlock()
	l.connects++
	switch {
	case again:
		l.broken(malformed("connected twice"))
		return
	case l.connects > maxConnects:
		l.broken(malformed("connected too often"))
		return
	case ended:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.srv.cfg.AdmitTimeout)
	err := n.receiver.Admit(ctx, s, p.data)
	cancel()
	var no *Refusal
	switch {
	case errors.As(err, &no):
		l.refuse(p.nsp, no)
		return
	case err != nil:
		l.conn.Shut(engineio.ReasonForcedClose)
		return
	}
	settled := l.move(s)
	l.conn.Hold(true) // the library must finish what it begins, even if the client leaves
	if !l.client {
		l.client = true
		l.srv.engine.Emit("connection", l.conn)
	}
	l.conn.Emit("data", &parser.Packet{Type: parser.CONNECT, Nsp: p.nsp})
	<-settled
	l.conn.Hold(false)
	l.mu.Lock()
	connected := l.find(p.nsp) == s
	l.mu.Unlock()
	if !connected { // another middleware refused it
		n.receiver.Disconnected(s, "server namespace disconnect")
		return
	}
	l.conn.Confirm()
	l.conn.Forget()
	s.auth = nil
	n.receiver.Connected(s)
}

func (l *link) refuse(nsp string, no *Refusal) {
	a, err := Encode(struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitzero"`
	}{no.Message, no.Data})
	if err != nil || len(a.Attachments) > 0 {
		a.JSON = []byte(`{"message":"refused"}`)
	}
	m := engineio.NewText()
	m.SetBuffer(append(appendHeader(m.Buffer(), typeConnectError, 0, nsp, 0, false), a.JSON...))
	l.conn.Push(m)
	m.Free()
}

// move says that the library is about to connect or disconnect the socket; the channel is
// closed when it has.
func (l *link) move(s *Socket) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moving, l.settled = s, make(chan struct{})
	return l.settled
}

// moved ends the wait for the library. mu is held.
func (l *link) moved() {
	if l.settled != nil {
		close(l.settled)
		l.moving, l.settled = nil, nil
	}
}

// meet is called by the library's middleware, on the goroutine of connect.
func (l *link) meet(lib *socket.Socket) {
	l.mu.Lock()
	s := l.moving
	l.mu.Unlock()
	if s == nil {
		return
	}
	lib.StrictEventEmitter.EventEmitter = &shortList{}
	h := lib.Handshake()
	h.Headers, h.Query = nil, nil
	s.lib, s.id = lib, lib.Id()
	_ = lib.On("disconnect", func(args ...any) {
		reason, _ := args[0].(string)
		l.gone(s, reason)
	})
}

// socket returns our socket of the library's, or nil.
func (l *link) socket(lib *socket.Socket) *Socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sockets {
		if s.lib == lib {
			return s
		}
	}
	return nil
}

// settle is called when the library has connected the socket that was met.
func (l *link) settle() {
	l.mu.Lock()
	s := l.moving
	l.mu.Unlock()
	if s == nil {
		return
	}
	s.nsp.rooms.arrive(s.id, l.conn) // not under mu: a broadcast that ends a connection has their locks the other way round
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moving == s {
		l.sockets = append(l.sockets, s)
		l.moved()
	}
}

// Wrote is told what the library writes: a CONNECT_ERROR means that another middleware
// refused the socket.
func (l *link) Wrote(text []byte) {
	if len(text) > 0 && text[0] == typeConnectError {
		l.mu.Lock()
		l.moved()
		l.mu.Unlock()
	}
}

// disconnect is the client's DISCONNECT from a namespace.
func (l *link) disconnect(s *Socket) {
	l.mu.Lock()
	if l.find(s.nsp.name) != s {
		l.mu.Unlock()
		return
	}
	l.moving, l.settled = s, make(chan struct{})
	settled := l.settled
	l.mu.Unlock()
	l.conn.Emit("data", &parser.Packet{Type: parser.DISCONNECT, Nsp: s.nsp.name})
	<-settled
}

// gone is called when the library has disconnected a socket, for whatever reason, on
// whatever goroutine. The receiver is told in its turn.
func (l *link) gone(s *Socket, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range l.sockets {
		if x == s {
			l.sockets = append(l.sockets[:i:i], l.sockets[i+1:]...)
			l.push(&item{gone: s, reason: reason})
			break
		}
	}
	if len(l.sockets) == 0 {
		l.conn.Expect()
	}
	if l.moving == s {
		l.moved()
	}
}
