package engineio

import (
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/zishang520/engine.io/v2/engine"
	"golang.org/x/time/rate"
)

// Config says how a server behaves. The zero value works: it serves anybody, with the
// defaults named here.
type Config struct {
	PingInterval   time.Duration // between a pong and the next ping; 25 s
	PingTimeout    time.Duration // for the pong to arrive; 20 s
	UpgradeTimeout time.Duration // for an upgrade to be completed; 10 s
	ConnectTimeout time.Duration // for Conn.Confirm to be called; 45 s
	BodyTimeout    time.Duration // for the body of a POST to arrive; 10 s
	Linger         time.Duration // for what was sent before a close to leave; 2 s

	MaxPayload    int // bytes of one message, and of one POST; 1,000,000
	MaxPackets    int // packets in one POST; 2,000
	OutboundQueue int // bytes that may wait for one client; 1 MiB

	MaxConns            int     // connections in all; 0 is no bound
	MaxConnsPerAddr     int     // connections of one client address; 0 is no bound
	HandshakesPerSecond float64 // in all, with a burst of one second's worth; 0 is no bound

	// Compression offers permessage-deflate. It costs memory and time for each connection
	// that takes it.
	Compression bool
	// Cookie names a cookie that carries the sid, for balancers that need one. "" sets none.
	Cookie string

	// Admit may turn a handshake away, before a sid exists.
	Admit func(*http.Request) *Refusal
	// AllowOrigin judges cross-origin websockets. Nil allows every origin.
	AllowOrigin func(*http.Request) bool
	// ClientAddr tells the client's IP address. Nil takes it from the connection.
	ClientAddr func(*http.Request) string
	// Header picks what Conn.Header keeps of a handshake. Nil keeps the request's headers.
	Header func(*http.Request) http.Header
	// Handler makes the handler of a new connection. Nil leaves the messages to the
	// connection's "data" listeners.
	Handler func(*Conn, *http.Request) Handler
}

func (c Config) withDefaults() Config {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&c.PingInterval, 25*time.Second)
	or(&c.PingTimeout, 20*time.Second)
	or(&c.UpgradeTimeout, 10*time.Second)
	or(&c.ConnectTimeout, 45*time.Second)
	or(&c.BodyTimeout, 10*time.Second)
	or(&c.Linger, 2*time.Second)
	if c.MaxPayload <= 0 {
		c.MaxPayload = 1_000_000
	}
	if c.MaxPackets <= 0 {
		c.MaxPackets = 2_000
	}
	if c.OutboundQueue <= 0 {
		c.OutboundQueue = 1 << 20
	}
	if c.ClientAddr == nil {
		c.ClientAddr = PeerAddr
	}
	if c.Header == nil {
		c.Header = func(r *http.Request) http.Header { return r.Header }
	}
	if c.AllowOrigin == nil {
		c.AllowOrigin = func(*http.Request) bool { return true }
	}
	return c
}

// PeerAddr is the IP address at the other end of the TCP connection.
func PeerAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// A Server serves Engine.IO 4. It is an http.Handler for the one path that it is mounted
// on, and the library's engine.BaseServer.
type Server struct {
	engine.BaseServer // the emitter and the options; everything else is ours

	cfg      Config
	upgrader websocket.Upgrader
	rate     *rate.Limiter
	flushers []*flusher
	done     chan struct{}
	stop     sync.Once
	running  sync.WaitGroup // the flushers

	mu     sync.Mutex
	conns  map[string]*Conn // by sid; guarded by mu
	addrs  map[string]int   // connections by client address; guarded by mu
	count  int              // connections, with those that are being opened; guarded by mu
	closed bool             // guarded by mu
}

// New makes a server. Close it to end its goroutines.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{
		BaseServer: engine.MakeBaseServer(),
		cfg:        cfg,
		conns:      map[string]*Conn{},
		addrs:      map[string]int{},
		done:       make(chan struct{}),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: cfg.UpgradeTimeout, ReadBufferSize: 0, WriteBufferSize: 512,
			EnableCompression: cfg.Compression,
			CheckOrigin:       func(*http.Request) bool { return true }, // judged before, with the protocol's own error
		},
	}
	s.Prototype(s)
	if cfg.HandshakesPerSecond > 0 {
		s.rate = rate.NewLimiter(rate.Limit(cfg.HandshakesPerSecond), max(1, int(cfg.HandshakesPerSecond)))
	}
	for range runtime.GOMAXPROCS(0) {
		f := &flusher{wake: make(chan struct{}, 1)}
		s.flushers = append(s.flushers, f)
		s.running.Go(func() { f.run(s.done) })
	}
	return s
}

// Count is the number of connections.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Conns is a snapshot of the connections.
func (s *Server) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Conn, 0, len(s.conns))
	for _, c := range s.conns {
		all = append(all, c)
	}
	return all
}

// Refuse turns every further handshake away; what is connected stays.
func (s *Server) Refuse() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// Stop refuses handshakes, closes every connection with what waits for it, and returns when
// all are gone, at the latest after the linger time.
func (s *Server) Stop() {
	s.Refuse()
	for _, c := range s.Conns() {
		c.Shut(ReasonShutdown)
	}
	for deadline := time.Now().Add(s.cfg.Linger + time.Second); s.Count() > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
		for _, c := range s.Conns() {
			c.finishSaid()
		}
	}
	for _, c := range s.Conns() {
		c.finish()
	}
	s.stop.Do(func() { close(s.done) })
	s.running.Wait()
}

// ServeHTTP serves handshakes, polls, posts and upgrades.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	transport, sid := q.Get("transport"), q.Get("sid")
	upgrade := websocket.IsWebSocketUpgrade(r)
	switch {
	case transport != "polling" && transport != "websocket":
		errUnknownTransport.write(w)
	case !s.cfg.AllowOrigin(r):
		errForbidden.write(w)
	case transport == "websocket" && !upgrade, transport == "polling" && upgrade:
		errBadRequest.write(w)
	case q.Has("sid"):
		c := s.find(sid)
		switch {
		case c == nil:
			s.refuseBody(w, r)
			errUnknownSid.write(w)
		case upgrade:
			c.upgrade(w, r)
		case r.Method == http.MethodGet:
			c.servePoll(w, r)
		case r.Method == http.MethodPost:
			c.servePost(w, r)
		default:
			errBadRequest.write(w)
		}
	case r.Method != http.MethodGet:
		s.refuseBody(w, r)
		errBadMethod.write(w)
	case q.Get("EIO") != "4":
		errBadVersion.write(w)
	default:
		s.handshake(w, r, upgrade)
	}
}

// refuseBody keeps a body that nobody will read from holding a connection open.
func (s *Server) refuseBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
	}
}

func (s *Server) find(sid string) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[sid]
}

func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// admit counts the connection in, or says why not.
func (s *Server) admit(r *http.Request, c *Conn) *Refusal {
	if s.cfg.Admit != nil {
		if no := s.cfg.Admit(r); no != nil {
			return no
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return &Refusal{http.StatusServiceUnavailable, "Shutting down", 2 * time.Second}
	case s.cfg.MaxConns > 0 && s.count >= s.cfg.MaxConns:
		return &Refusal{http.StatusServiceUnavailable, "Too many connections", 5 * time.Second}
	case s.cfg.MaxConnsPerAddr > 0 && s.addrs[c.addr] >= s.cfg.MaxConnsPerAddr:
		return &Refusal{http.StatusTooManyRequests, "Too many connections from this address", 5 * time.Second}
	case s.rate != nil && !s.rate.Allow():
		return &Refusal{http.StatusServiceUnavailable, "Too many handshakes", time.Second}
	}
	s.count++
	s.addrs[c.addr]++
	return nil
}

// add makes a connection known. It reports false when the server was stopped meanwhile.
func (s *Server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c.id] = c
	return !s.closed
}

// forget makes a connection unknown.
func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c.id)
	s.mu.Unlock()
}

// remove forgets a connection; it is called once for each that was admitted.
func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
	s.count--
	if s.addrs[c.addr]--; s.addrs[c.addr] <= 0 {
		delete(s.addrs, c.addr)
	}
}

func (s *Server) handshake(w http.ResponseWriter, r *http.Request, ws bool) {
	c := &Conn{srv: s, id: newID(), addr: s.cfg.ClientAddr(r), opened: time.Now()}
	c.shard = int(c.id[0]) % len(s.flushers)
	if no := s.admit(r, c); no != nil {
		no.write(w)
		return
	}
	if name := s.cfg.Cookie; name != "" {
		http.SetCookie(w, &http.Cookie{Name: name, Value: c.id, Path: r.URL.Path, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	c.request.Store(&request{header: s.cfg.Header(r), uri: r.RequestURI, secure: r.TLS != nil})
	if !ws {
		c.open(r, nil)
		c.servePoll(w, r)
		return
	}
	wire, head, err := s.hijack(w, r)
	if err != nil {
		c.finish()
		return
	}
	c.wire, c.writing = wire, true // until it is open
	go func() {
		c.open(r, head)
		go c.read(newReader(wire)) // on a stack that has not grown: most connections are idle
	}()
}
