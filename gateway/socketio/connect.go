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

// handleConnect judges a CONNECT, and lets the library connect who may come in.
func (l *link) handleConnect(p *packet) {
	n := l.srv.nsps[p.nsp]
	if n == nil {
		l.refuseConnect(p.nsp, &Refusal{Message: "Invalid namespace"})
		return
	}
	s := &Socket{nsp: n, link: l, auth: p.data}
	l.mu.Lock()
	again, ended := l.findSocket(p.nsp) != nil, l.isEnded
	l.mu.Unlock()
	l.connectAttempts++
	switch {
	case again:
		l.closeMalformed(malformed("connected twice"))
		return
	case l.connectAttempts > maxConnects:
		l.closeMalformed(malformed("connected too often"))
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
		l.refuseConnect(p.nsp, no)
		return
	case err != nil:
		l.conn.Shut(engineio.ReasonForcedClose)
		return
	}
	settled := l.beginTransition(s)
	l.conn.Hold(true) // the library must finish what it begins, even if the client leaves
	if !l.isKnownToLibrary {
		l.isKnownToLibrary = true
		l.srv.engine.Emit("connection", l.conn)
	}
	l.conn.Emit("data", &parser.Packet{Type: parser.CONNECT, Nsp: p.nsp})
	<-settled
	l.conn.Hold(false)
	l.mu.Lock()
	connected := l.findSocket(p.nsp) == s
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

func (l *link) refuseConnect(nsp string, no *Refusal) {
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

// beginTransition says that the library is about to connect or disconnect the socket; the channel is
// closed when it has.
func (l *link) beginTransition(s *Socket) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inTransition, l.transitionDone = s, make(chan struct{})
	return l.transitionDone
}

// endTransition ends the wait for the library. mu is held.
func (l *link) endTransition() {
	if l.transitionDone != nil {
		close(l.transitionDone)
		l.inTransition, l.transitionDone = nil, nil
	}
}

// bindLibrarySocket is called by the library's middleware, on the goroutine of connect.
func (l *link) bindLibrarySocket(lib *socket.Socket) {
	l.mu.Lock()
	s := l.inTransition
	l.mu.Unlock()
	if s == nil {
		return
	}
	lib.StrictEventEmitter.EventEmitter = &listenerList{}
	h := lib.Handshake()
	h.Headers, h.Query = nil, nil
	s.lib, s.id = lib, lib.Id()
	_ = lib.On("disconnect", func(args ...any) {
		reason, _ := args[0].(string)
		l.handleLibraryDisconnect(s, reason)
	})
}

// socketOf returns our socket of the library's, or nil.
func (l *link) socketOf(lib *socket.Socket) *Socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sockets {
		if s.lib == lib {
			return s
		}
	}
	return nil
}

// confirmConnected is called when the library has connected the socket that was met.
func (l *link) confirmConnected() {
	l.mu.Lock()
	s := l.inTransition
	l.mu.Unlock()
	if s == nil {
		return
	}
	s.nsp.rooms.attachConn(s.id, l.conn) // not under mu: a broadcast that ends a connection has their locks the other way round
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inTransition == s {
		l.sockets = append(l.sockets, s)
		l.endTransition()
	}
}

// Wrote is told what the library writes: a CONNECT_ERROR means that another middleware
// refused the socket.
func (l *link) Wrote(text []byte) {
	if len(text) > 0 && text[0] == typeConnectError {
		l.mu.Lock()
		l.endTransition()
		l.mu.Unlock()
	}
}

// handleDisconnect is the client's DISCONNECT from a namespace.
func (l *link) handleDisconnect(s *Socket) {
	l.mu.Lock()
	if l.findSocket(s.nsp.name) != s {
		l.mu.Unlock()
		return
	}
	l.inTransition, l.transitionDone = s, make(chan struct{})
	settled := l.transitionDone
	l.mu.Unlock()
	l.conn.Emit("data", &parser.Packet{Type: parser.DISCONNECT, Nsp: s.nsp.name})
	<-settled
}

// handleLibraryDisconnect is called when the library has disconnected a socket, for whatever reason, on
// whatever goroutine. The receiver is told in its turn.
func (l *link) handleLibraryDisconnect(s *Socket, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range l.sockets {
		if x == s {
			l.sockets = append(l.sockets[:i:i], l.sockets[i+1:]...)
			l.pushItem(&item{disconnected: s, reason: reason})
			break
		}
	}
	if len(l.sockets) == 0 {
		l.conn.Expect()
	}
	if l.inTransition == s {
		l.endTransition()
	}
}
