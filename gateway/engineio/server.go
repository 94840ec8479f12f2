package engineio

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/zishang520/engine.io/v2/engine"
	"golang.org/x/time/rate"

	"github.com/aeturnis/realtime/internal/clientaddr"
)

// Config says how a server behaves. The zero value works: it serves every client, with the defaults
// that the comments name.
type Config struct {
	PingInterval   time.Duration // between a pong and the next ping; 25 s
	PingTimeout    time.Duration // for the pong to arrive; 20 s
	UpgradeTimeout time.Duration // for an upgrade to be completed; 10 s
	ConnectTimeout time.Duration // for Conn.Confirm to be called; 10 s, and half of it for the rest of a message that has begun
	BodyTimeout    time.Duration // for the body of a POST to arrive; 10 s
	Linger         time.Duration // for what was queued before a close to leave; 2 s

	MaxPayload    int // bytes of one message, and of one POST; 1,000,000
	EarlyPayload  int // the same before Conn.Confirm; 64 KiB, and never more than MaxPayload
	MaxPackets    int // packets in one POST; 2,000
	OutboundQueue int // bytes that may wait for one client; 1 MiB

	MaxConns            int     // connections in all; 0 is no bound
	MaxConnsPerAddr     int     // connections of one clientaddr.Network; 0 is no bound
	HandshakesPerSecond float64 // in all, with a burst of one second's worth; 0 is no bound

	// Compression offers permessage-deflate. It costs memory and time for each connection
	// that takes it.
	Compression bool
	// Cookie names a cookie that carries the sid, for balancers that need one. "" sets none.
	Cookie string

	// Admit may refuse a handshake before a sid exists. Nil admits every handshake.
	Admit func(*http.Request) *Refusal
	// AllowOrigin reports whether the origin of a request may connect. Nil allows every origin.
	AllowOrigin func(*http.Request) bool
	// OnRefused is told of every client that is turned away with an HTTP status, once. It must not
	// wait. Nil tells nobody.
	OnRefused func(Refused)
	// OnRoundTrip is told how long each ping took, see Conn.RoundTrip. It must not wait. Nil tells
	// nobody.
	OnRoundTrip func(time.Duration)
	// ClientAddr returns the client's IP address. Nil takes it from the TCP connection.
	ClientAddr func(*http.Request) string
	// Header returns the headers of a handshake that Conn.Header keeps. Nil keeps all of them.
	Header func(*http.Request) http.Header
	// Handler makes the handler of a new connection. Where it is nil, or returns nil, messages
	// go to the "data" listeners of the connection.
	Handler func(*Conn, *http.Request) Handler
}

func (c Config) withDefaults() Config {
	setDefault := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	setDefault(&c.PingInterval, 25*time.Second)
	setDefault(&c.PingTimeout, 20*time.Second)
	setDefault(&c.UpgradeTimeout, 10*time.Second)
	setDefault(&c.ConnectTimeout, 10*time.Second)
	setDefault(&c.BodyTimeout, 10*time.Second)
	setDefault(&c.Linger, 2*time.Second)
	if c.MaxPayload <= 0 {
		c.MaxPayload = 1_000_000
	}
	if c.EarlyPayload <= 0 {
		c.EarlyPayload = 64 << 10
	}
	c.EarlyPayload = min(c.EarlyPayload, c.MaxPayload)
	if c.MaxPackets <= 0 {
		c.MaxPackets = 2_000
	}
	if c.OutboundQueue <= 0 {
		c.OutboundQueue = 1 << 20
	}
	if c.ClientAddr == nil {
		c.ClientAddr = clientaddr.Peer
	}
	if c.Header == nil {
		c.Header = func(r *http.Request) http.Header { return r.Header }
	}
	if c.AllowOrigin == nil {
		c.AllowOrigin = func(*http.Request) bool { return true }
	}
	return c
}

// A Server serves Engine.IO 4. It is an http.Handler for the path that it is mounted on, and an
// engine.BaseServer for the library.
type Server struct {
	engine.BaseServer // the emitter and the options; everything else is ours

	cfg             Config
	upgrader        websocket.Upgrader
	handshakeRate   *rate.Limiter
	flushers        []*flusher
	done            chan struct{}
	stopOnce        sync.Once
	flushersRunning sync.WaitGroup // the flushers
	droppedVolatile atomic.Int64   // volatile messages, for each connection that was behind

	mu           sync.Mutex
	conns        map[string]*Conn // by sid; guarded by mu
	placesByAddr map[string]int   // of places, those by clientaddr.Network; guarded by mu
	places       int              // connections that count for the bounds: not those that are over but for late requests; guarded by mu
	count        int              // connections, with those that are being opened; guarded by mu
	isRefusing   bool             // guarded by mu
	dismissed    dismissedSids    // guarded by mu
}

// New makes a server. The caller must Stop it, which ends its goroutines.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		BaseServer:   engine.MakeBaseServer(),
		cfg:          cfg,
		conns:        map[string]*Conn{},
		placesByAddr: map[string]int{},
		done:         make(chan struct{}),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: cfg.UpgradeTimeout, ReadBufferSize: 0, WriteBufferSize: 512,
			EnableCompression: cfg.Compression,
			CheckOrigin:       func(*http.Request) bool { return true }, // AllowOrigin is asked before, and refuses as the protocol does
		},
	}
	s.Prototype(s)
	if cfg.HandshakesPerSecond > 0 {
		s.handshakeRate = rate.NewLimiter(rate.Limit(cfg.HandshakesPerSecond), max(1, int(cfg.HandshakesPerSecond)))
	}
	for range runtime.GOMAXPROCS(0) {
		f := &flusher{wake: make(chan struct{}, 1)}
		s.flushers = append(s.flushers, f)
		s.flushersRunning.Go(func() { f.flushUntil(s.done) })
	}
	return s
}

// Count returns the number of connections.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// DroppedVolatile returns how many volatile messages were dropped since the start, each counted for
// each connection that was behind.
func (s *Server) DroppedVolatile() int64 { return s.droppedVolatile.Load() }

// Conns returns a snapshot of the connections.
func (s *Server) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Conn, 0, len(s.conns))
	for _, c := range s.conns {
		all = append(all, c)
	}
	return all
}

// Refuse refuses every further handshake. Connections stay open.
func (s *Server) Refuse() {
	s.mu.Lock()
	s.isRefusing = true
	s.mu.Unlock()
}

// Stop refuses handshakes, closes every connection after it has been sent what is queued, and
// returns when all have ended, at the latest one second after the linger time.
func (s *Server) Stop() {
	s.Refuse()
	for _, c := range s.Conns() {
		c.Shut(ReasonShutdown)
	}
	for deadline := time.Now().Add(s.cfg.Linger + time.Second); s.Count() > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
		for _, c := range s.Conns() {
			c.finishIfSent()
		}
	}
	for _, c := range s.Conns() {
		c.finishNow()
	}
	s.stopOnce.Do(func() { close(s.done) })
	s.flushersRunning.Wait()
}

// ServeHTTP serves handshakes, polls, posts and upgrades.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	transport, sid := q.Get("transport"), q.Get("sid")
	upgrade := websocket.IsWebSocketUpgrade(r)
	switch {
	case transport != "polling" && transport != "websocket":
		s.refuseRequest(w, r, errUnknownTransport, CodeTransportUnknown, "the transport is neither polling nor websocket")
	case !s.cfg.AllowOrigin(r):
		s.refuseRequest(w, r, errForbidden, CodeOriginRefused, "the origin may not connect")
	case transport == "websocket" && !upgrade:
		s.refuseRequest(w, r, errBadRequest, CodeBadRequest, "the request for a websocket is no upgrade: a proxy may have dropped its header Upgrade")
	case transport == "polling" && upgrade:
		s.refuseRequest(w, r, errBadRequest, CodeBadRequest, "the request for polling is an upgrade to a websocket")
	case q.Has("sid"):
		c := s.findConn(sid)
		switch {
		case c == nil && !upgrade && (r.Method == http.MethodGet || r.Method == http.MethodPost) && s.isDismissed(sid):
			s.serveDismissed(w, r)
		case c == nil:
			s.refuseBody(w, r)
			s.refuseRequest(w, r, errUnknownSid, CodeSidUnknown, "no connection here has this sid: it has ended, or is on another node")
		case upgrade:
			c.serveUpgrade(w, r)
		case r.Method == http.MethodGet:
			c.servePoll(w, r)
		case r.Method == http.MethodPost:
			c.servePost(w, r)
		default:
			errBadRequest.writeResponse(w)
		}
	case r.Method != http.MethodGet:
		s.refuseBody(w, r)
		s.refuseRequest(w, r, errBadMethod, CodeBadMethod, "a handshake is a GET")
	case q.Get("EIO") != "4":
		s.refuseRequest(w, r, errBadVersion, CodeBadVersion, "only EIO=4 is spoken: Socket.IO clients before version 3 speak another")
	default:
		s.serveHandshake(w, r, upgrade)
	}
}

// refuseBody closes the TCP connection soon when the request has a body that will not be read.
func (s *Server) refuseBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
	}
}

func (s *Server) findConn(sid string) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[sid]
}

func newSessionID() string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// admitHandshake counts a new connection, or returns why it is refused.
func (s *Server) admitHandshake(r *http.Request, c *Conn) *Refusal {
	if s.cfg.Admit != nil {
		if no := s.cfg.Admit(r); no != nil {
			return no
		}
	}
	network := clientaddr.Network(c.addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isRefusing:
		return &Refusal{http.StatusServiceUnavailable, "Shutting down", 2 * time.Second}
	case s.cfg.MaxConns > 0 && s.places >= s.cfg.MaxConns:
		return &Refusal{http.StatusServiceUnavailable, "Too many connections", 5 * time.Second}
	case s.cfg.MaxConnsPerAddr > 0 && s.placesByAddr[network] >= s.cfg.MaxConnsPerAddr:
		return &Refusal{http.StatusTooManyRequests, "Too many connections from this address", 5 * time.Second}
	case s.handshakeRate != nil && !s.handshakeRate.Allow():
		return &Refusal{http.StatusServiceUnavailable, "Too many handshakes", time.Second}
	}
	s.count++
	s.places++
	s.placesByAddr[network]++
	c.hasPlace = true
	return nil
}

// registerConn makes a connection known by its sid. It reports false when the server was stopped
// meanwhile.
func (s *Server) registerConn(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c.id] = c
	return !s.isRefusing
}

// unregisterConn removes a connection that is not counted any more.
func (s *Server) unregisterConn(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c.id)
	s.mu.Unlock()
}

// removeConn removes a connection and no longer counts it. It is called once for each admitted one.
func (s *Server) removeConn(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
	if c.isDismissed.Load() {
		s.dismissed.add(c.id, time.Now())
	}
	s.count--
	s.freePlace(c)
}

// releasePlace stops counting a connection for the bounds. It may be called again.
func (s *Server) releasePlace(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freePlace(c)
}

// freePlace is releasePlace; mu is held.
func (s *Server) freePlace(c *Conn) {
	if !c.hasPlace {
		return
	}
	c.hasPlace = false
	s.places--
	network := clientaddr.Network(c.addr)
	if s.placesByAddr[network]--; s.placesByAddr[network] <= 0 {
		delete(s.placesByAddr, network)
	}
}

func (s *Server) serveHandshake(w http.ResponseWriter, r *http.Request, ws bool) {
	c := &Conn{srv: s, id: newSessionID(), addr: s.cfg.ClientAddr(r), opened: time.Now()}
	c.shard = int(c.id[0]) % len(s.flushers)
	if no := s.admitHandshake(r, c); no != nil {
		no.writeResponse(w)
		s.reportRefused(r, c.addr, no.Status, no.code(), no.Message)
		return
	}
	if name := s.cfg.Cookie; name != "" {
		http.SetCookie(w, &http.Cookie{Name: name, Value: c.id, Path: r.URL.Path, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	c.request.Store(&request{header: s.cfg.Header(r), uri: r.RequestURI})
	if !ws {
		c.sendOpenPacket(r, nil)
		c.servePoll(w, r)
		return
	}
	wire, head, err := s.hijackWebsocket(w, r)
	if err != nil {
		c.finishNow()
		s.reportRefused(r, c.addr, http.StatusBadRequest, CodeBadRequest, err.Error())
		return
	}
	c.wire, c.hasWriter = wire, true // nothing is written before OPEN
	go func() {
		c.sendOpenPacket(r, head)
		go c.readWebsocket(newReader(wire)) // on a new, small stack: most connections are idle
	}()
}

// OutboundQueue returns how many bytes may wait for one client.
func (s *Server) OutboundQueue() int { return s.cfg.OutboundQueue }
