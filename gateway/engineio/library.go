package engineio

import (
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/zishang520/engine.io-go-parser/packet"
	eparser "github.com/zishang520/engine.io-go-parser/parser"
	"github.com/zishang520/engine.io/v2/engine"
	"github.com/zishang520/engine.io/v2/events"
	"github.com/zishang520/engine.io/v2/transports"
	"github.com/zishang520/engine.io/v2/types"
)

// This file has what the library requires of an Engine.IO server and its sockets, so that ours can
// be given to socket.Server.Bind. Events of players do not pass through anything here.

var (
	_ engine.BaseServer = (*Server)(nil)
	_ engine.Socket     = (*Conn)(nil)
)

// ClientsCount is Count under the name that the library uses.
func (s *Server) ClientsCount() uint64 { return uint64(s.Count()) }

// Close is Stop under the name that the library uses.
func (s *Server) Close() engine.BaseServer {
	s.Stop()
	return s
}

// Init does nothing: New has made the server.
func (s *Server) Init() {}

// Cleanup does nothing: Stop ends the server.
func (s *Server) Cleanup() {}

// emittingHandler is the handler of connections without one: it turns messages into "data" events.
type emittingHandler struct{}

func (emittingHandler) Message(c *Conn, binary bool, data []byte) error {
	if binary {
		c.Emit("data", types.NewBytesBuffer(append([]byte(nil), data...)))
	} else {
		c.Emit("data", types.NewStringBufferString(string(data)))
	}
	return nil
}
func (emittingHandler) Malformed(*Conn, error)        {}
func (emittingHandler) Overflow(*Conn)                {}
func (emittingHandler) Closed(c *Conn, reason string) { c.Emit("close", reason) }

// listeners is an event emitter with one slot for each event that the library listens to on a
// connection. It does not compare functions: removing a listener empties the slot.
type listeners struct {
	data, err, closing atomic.Pointer[events.Listener]
}

func (l *listeners) listenerSlot(name events.EventName) *atomic.Pointer[events.Listener] {
	switch name {
	case "data":
		return &l.data
	case "error":
		return &l.err
	case "close":
		return &l.closing
	}
	return nil
}

// On sets the listener of "data", "error" or "close"; others are never emitted here.
func (l *listeners) On(name events.EventName, fns ...events.Listener) error {
	if s := l.listenerSlot(name); s != nil && len(fns) > 0 {
		s.Store(&fns[len(fns)-1])
	}
	return nil
}

// Once is the same as On, because "close" is emitted once.
func (l *listeners) Once(name events.EventName, fns ...events.Listener) error {
	return l.On(name, fns...)
}

// AddListener is the same as On.
func (l *listeners) AddListener(name events.EventName, fns ...events.Listener) error {
	return l.On(name, fns...)
}

// Emit calls the listener.
func (l *listeners) Emit(name events.EventName, args ...any) {
	if s := l.listenerSlot(name); s != nil {
		if fn := s.Load(); fn != nil {
			(*fn)(args...)
		}
	}
}

// RemoveListener empties the slot.
func (l *listeners) RemoveListener(name events.EventName, _ events.Listener) bool {
	return l.RemoveAllListeners(name)
}

// RemoveAllListeners empties the slot.
func (l *listeners) RemoveAllListeners(name events.EventName) bool {
	s := l.listenerSlot(name)
	return s != nil && s.Swap(nil) != nil
}

// Listeners returns what is in the slot.
func (l *listeners) Listeners(name events.EventName) []events.Listener {
	if s := l.listenerSlot(name); s != nil {
		if fn := s.Load(); fn != nil {
			return []events.Listener{*fn}
		}
	}
	return nil
}

// ListenerCount returns 0 or 1.
func (l *listeners) ListenerCount(name events.EventName) int { return len(l.Listeners(name)) }

// EventNames returns the events that have a listener.
func (l *listeners) EventNames() (names []events.EventName) {
	for _, n := range []events.EventName{"data", "error", "close"} {
		if l.ListenerCount(n) > 0 {
			names = append(names, n)
		}
	}
	return names
}

// Len returns the number of events that have a listener.
func (l *listeners) Len() int { return len(l.EventNames()) }

// Clear empties all slots.
func (l *listeners) Clear() {
	for _, n := range l.EventNames() {
		l.RemoveAllListeners(n)
	}
}

// GetMaxListeners returns 0: the number is not limited.
func (l *listeners) GetMaxListeners() uint { return 0 }

// SetMaxListeners does nothing.
func (l *listeners) SetMaxListeners(uint) {}

// Protocol returns the version of Engine.IO.
func (c *Conn) Protocol() int { return 4 }

// Id is ID under the name that the library uses.
func (c *Conn) Id() string { return c.id } //nolint:revive // the library's spelling

// RemoteAddress is Addr under the name that the library uses.
func (c *Conn) RemoteAddress() string { return c.addr }

// ReadyState returns "open" or "closed".
func (c *Conn) ReadyState() string {
	if c.Open() || c.reportsOpen.Load() {
		return "open"
	}
	return "closed"
}

// A discardResponse discards what is written to it: the real response has ended when the library
// asks for it.
type discardResponse struct{ header http.Header }

func (d discardResponse) Header() http.Header       { return d.header }
func (discardResponse) Write(b []byte) (int, error) { return len(b), nil }
func (discardResponse) WriteHeader(int)             {}

var forgottenRequest = &request{header: http.Header{}, uri: "/"}

// libraryContext returns the request as the library knows one. The library asks several times for
// each connection.
func (q *request) libraryContext() *types.HttpContext {
	q.makeContext.Do(func() {
		u, err := url.ParseRequestURI(q.uri)
		if err != nil {
			u = &url.URL{Path: "/"}
		}
		r := &http.Request{Method: http.MethodGet, URL: u, RequestURI: q.uri, Header: q.header}
		q.context = types.NewHttpContext(discardResponse{http.Header{}}, r)
		q.context.Flush() // ends the goroutine that NewHttpContext starts
	})
	return q.context
}

// Request returns the handshake's request, or an empty one after Forget.
func (c *Conn) Request() *types.HttpContext {
	if q := c.request.Load(); q != nil {
		return q.libraryContext()
	}
	return forgottenRequest.libraryContext()
}

// Write sends what the library encoded.
func (c *Conn) Write(r io.Reader, o *packet.Options, done engine.SendCallback) engine.Socket {
	var m *Message
	switch d := r.(type) {
	case *types.StringBuffer:
		m = NewText()
		if o != nil && o.WsPreEncodedFrame != nil { // carries its packet type already
			m.SetBuffer(append(m.Buffer()[:headroom], o.WsPreEncodedFrame.Bytes()...))
		} else {
			m.SetBuffer(append(m.Buffer(), d.Bytes()...))
		}
	default:
		b, err := io.ReadAll(r)
		if err != nil {
			return c
		}
		m = NewBinary(b)
	}
	if h, ok := c.handler.(interface{ Wrote(text []byte) }); ok && !m.binary {
		h.Wrote(m.buf[headroom+1:])
	}
	c.Push(m)
	m.Free()
	if done != nil {
		done(c.Transport())
	}
	return c
}

// Send is the same as Write.
func (c *Conn) Send(r io.Reader, o *packet.Options, done engine.SendCallback) engine.Socket {
	return c.Write(r, o, done)
}

// Transport returns the connection as the library's Transport.
func (c *Conn) Transport() transports.Transport { return (*transport)(c) }

// Close ends the connection: at once if the library discards what waits, else politely.
func (c *Conn) Close(discard bool) { c.beginClose(ReasonForcedClose, !discard, normalClosure) }

// The library never calls the following methods on a connection that it did not make.

func (c *Conn) SetReadyState(string) {}
func (c *Conn) Upgraded() bool       { return c.TransportName() == "websocket" }
func (c *Conn) Upgrading() bool      { return false }
func (c *Conn) Construct(string, engine.BaseServer, transports.Transport, *types.HttpContext, int) {
}
func (c *Conn) MaybeUpgrade(transports.Transport) {}

// transport is a Conn as the library's Transport. The library calls only Writable and Name.
type transport Conn

func (t *transport) asConn() *Conn { return (*Conn)(t) }

func (t *transport) Writable() bool {
	c := t.asConn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isWritable()
}

func (t *transport) Name() string                                { return t.asConn().TransportName() }
func (t *transport) Sid() string                                 { return t.id }
func (t *transport) ReadyState() string                          { return t.asConn().ReadyState() }
func (t *transport) Close(...types.Callable)                     { t.asConn().Abort(ReasonForcedClose) }
func (t *transport) Protocol() int                               { return 4 }
func (t *transport) Parser() eparser.Parser                      { return eparser.Parserv4() }
func (t *transport) MaxHttpBufferSize() int64                    { return int64(t.srv.cfg.MaxPayload) }
func (t *transport) SupportsBinary() bool                        { return true }
func (t *transport) HandlesUpgrades() bool                       { return false }
func (t *transport) Discarded() bool                             { return false }
func (t *transport) HttpCompression() *types.HttpCompression     { return nil }
func (t *transport) PerMessageDeflate() *types.PerMessageDeflate { return nil }
func (t *transport) Prototype(transports.Transport)              {}
func (t *transport) Proto() transports.Transport                 { return t }
func (t *transport) SetSid(string)                               {}
func (t *transport) SetWritable(bool)                            {}
func (t *transport) SetSupportsBinary(bool)                      {}
func (t *transport) SetReadyState(string)                        {}
func (t *transport) SetHttpCompression(*types.HttpCompression)   {}
func (t *transport) SetPerMessageDeflate(*types.PerMessageDeflate) {
}
func (t *transport) SetMaxHttpBufferSize(int64)   {}
func (t *transport) Construct(*types.HttpContext) {}
func (t *transport) Discard()                     {}
func (t *transport) OnRequest(*types.HttpContext) {}
func (t *transport) OnError(string, error)        {}
func (t *transport) OnPacket(*packet.Packet)      {}
func (t *transport) OnData(types.BufferInterface) {}
func (t *transport) OnClose()                     {}
func (t *transport) Send([]*packet.Packet)        {}
func (t *transport) DoClose(types.Callable)       {}
