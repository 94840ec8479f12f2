package socketio

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/zishang520/socket.io-go-parser/v2/parser"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// This file connects and disconnects sockets: what we decide ourselves, and what the library does.

// What one connection may do in a minute, for all namespaces together.
const (
	// maxConnects bounds CONNECTs. Each costs a look into the session store, and the limits for
	// connecting count handshakes only.
	maxConnects = 64
	// maxStrays bounds packets to namespaces that the client is not connected to. No limit counts
	// them, and a client may have sent some before it heard that it was disconnected.
	maxStrays = 1000
)

// maxNamespaceName bounds the name of a namespace that a client asks for, in bytes.
const maxNamespaceName = 256

// minuteCounts counts what a connection does in a minute. The next one begins with what is counted
// after it.
type minuteCounts struct {
	began            uint32 // Unix time in seconds
	connects, strays uint16
}

func (c *minuteCounts) beginMinute() {
	if now := uint32(time.Now().Unix()); now-c.began >= 60 {
		*c = minuteCounts{began: now}
	}
}

// countConnect counts a CONNECT, and reports whether it is one too many.
func (c *minuteCounts) countConnect() bool {
	c.beginMinute()
	c.connects++
	return c.connects > maxConnects
}

// countStray counts a packet to a namespace that is not connected, and reports whether it is one
// too many.
func (c *minuteCounts) countStray() bool {
	c.beginMinute()
	c.strays++
	return c.strays > maxStrays
}

// handleConnect has the receiver judge a CONNECT, and the library connect the socket that it
// admits.
func (l *link) handleConnect(p *packet) {
	switch {
	case l.thisMinute.countConnect():
		l.closeMalformed(malformed("connected too often"))
		return
	case len(p.nsp) > maxNamespaceName:
		l.closeMalformed(malformed("the name of a namespace is too long"))
		return
	}
	n := l.srv.nsps[p.nsp]
	if n == nil {
		l.reportRefused(codeNamespaceUnknown, "the namespace "+strconv.Quote(p.nsp)+" does not exist")
		l.refuseConnect(p.nsp, &Refusal{Message: "Invalid namespace"})
		return
	}
	s := &Socket{nsp: n, link: l, auth: p.data}
	l.mu.Lock()
	isConnected, isEnded := l.findSocket(p.nsp) != nil, l.isEnded
	l.mu.Unlock()
	l.connectAttempts++
	switch {
	case isConnected:
		l.closeMalformed(malformed("connected twice"))
		return
	case isEnded:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.srv.cfg.AdmitTimeout)
	err := n.receiver.Admit(ctx, s, p.data)
	if err == nil && s.connecting == nil {
		s.Recover(ctx, Recovery{})
	}
	cancel()
	defer s.endConnecting()
	l.isJudged = true
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		l.refuseConnect(p.nsp, refusal)
		return
	case err != nil:
		l.conn.Shut(engineio.ReasonForcedClose)
		return
	}
	done := l.beginTransition(s)
	l.conn.Hold(true) // the library must finish connecting, even if the client leaves
	if !l.isKnownToLibrary {
		l.isKnownToLibrary = true
		l.srv.engine.Emit("connection", l.conn)
	}
	defer l.conn.Uncork() // Wrote corks
	l.conn.Emit("data", &parser.Packet{Type: parser.CONNECT, Nsp: p.nsp, Data: s.prepareLibrary()})
	<-done
	defer l.releaseSubscriptions()
	l.conn.Hold(false)
	l.mu.Lock()
	isAdmitted := l.findSocket(p.nsp) == s
	l.mu.Unlock()
	if !isAdmitted { // another middleware has refused it
		n.receiver.Disconnected(s, "server namespace disconnect")
		return
	}
	l.conn.Confirm()
	l.conn.Forget()
	s.auth = nil
	n.receiver.Connected(s)
	if s.IsRecovered() {
		s.Resume()
	} else {
		s.createRecord()
	}
}

// refuseConnect answers a CONNECT with CONNECT_ERROR.
func (l *link) refuseConnect(nsp string, refusal *Refusal) {
	a, err := Encode(struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitzero"`
	}{refusal.Message, refusal.Data})
	if err != nil || len(a.Attachments) > 0 {
		a.JSON = []byte(`{"message":"refused"}`)
	}
	m := engineio.NewText()
	m.SetBuffer(append(appendHeader(m.Buffer(), typeConnectError, 0, nsp, 0, false), a.JSON...))
	l.conn.Push(m)
	m.Free()
}

// beginTransition notes that the library is about to connect or disconnect a socket. The channel
// that it returns is closed when the library has done so.
func (l *link) beginTransition(s *Socket) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inTransition, l.transitionDone = s, make(chan struct{})
	return l.transitionDone
}

// endTransition notes that the library is done. mu is held.
func (l *link) endTransition() {
	if l.transitionDone != nil {
		close(l.transitionDone)
		l.inTransition, l.transitionDone = nil, nil
	}
}

// bindLibrarySocket is called by the library's middleware with its socket for the one that is being
// connected, on the goroutine of handleConnect.
func (l *link) bindLibrarySocket(lib *socket.Socket) {
	l.mu.Lock()
	s := l.inTransition
	l.mu.Unlock()
	if s == nil {
		return
	}
	lib.StrictEventEmitter.EventEmitter = &listenerList{}
	h := lib.Handshake()
	h.Headers, h.Query, h.Auth = nil, nil, nil // the auth has the pid
	s.lib, s.id = lib, lib.Id()
	if c := s.nsp.cluster; c != nil {
		l.releaseAhead = c.subscribeAhead(append(s.expectedRooms, socket.Room(s.id)))
	}
	_ = lib.On("disconnect", func(args ...any) {
		reason, _ := args[0].(string)
		l.handleLibraryDisconnect(s, reason)
	})
}

// socketOf returns our socket for one of the library, or nil.
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

// confirmConnected is called when the library has connected the socket.
func (l *link) confirmConnected() {
	l.mu.Lock()
	s := l.inTransition
	l.mu.Unlock()
	if s == nil {
		return
	}
	if !s.IsRecovered() { // else Resume does, when what was missed is sent
		s.nsp.rooms.attachConn(s.id, l.conn, s)
	} // not under mu: a broadcast that ends a connection locks the rooms first
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inTransition == s {
		l.sockets = append(l.sockets, s)
		l.endTransition()
	}
}

// releaseSubscriptions ends what bindLibrarySocket subscribed to ahead: by now the socket's rooms
// want their channels themselves.
func (l *link) releaseSubscriptions() {
	if l.releaseAhead != nil {
		l.releaseAhead()
		l.releaseAhead = nil
	}
}

// Wrote is called with what the library writes. A CONNECT_ERROR means that another middleware has
// refused the socket. A CONNECT is held back until the receiver has greeted the client and had the
// socket join its rooms: a client that has heard it misses nothing of them.
func (l *link) Wrote(text []byte) {
	if len(text) == 0 {
		return
	}
	switch text[0] {
	case typeConnect:
		l.conn.Cork()
	case typeConnectError:
		l.mu.Lock()
		l.endTransition()
		l.mu.Unlock()
	}
}

// handleDisconnect has the library disconnect a socket whose client sent DISCONNECT.
func (l *link) handleDisconnect(s *Socket) {
	l.mu.Lock()
	if l.findSocket(s.nsp.name) != s {
		l.mu.Unlock()
		return
	}
	l.inTransition, l.transitionDone = s, make(chan struct{})
	done := l.transitionDone
	l.mu.Unlock()
	l.conn.Emit("data", &parser.Packet{Type: parser.DISCONNECT, Nsp: s.nsp.name})
	<-done
}

// handleLibraryDisconnect is called when the library has disconnected a socket, for any reason and
// on any goroutine. The receiver is told after the events that came before.
func (l *link) handleLibraryDisconnect(s *Socket, reason string) {
	s.endQuestions()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range l.sockets {
		if x == s {
			l.sockets = append(l.sockets[:i:i], l.sockets[i+1:]...)
			it := &item{disconnected: s, reason: reason}
			if l.inTransition == s { // its worker serves DISCONNECT; a CONNECT may wait behind it
				l.queue.pushFirst(it)
			} else {
				l.pushItem(it)
			}
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
