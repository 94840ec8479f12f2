package socketio

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/zishang520/socket.io/v2/socket"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// A Receiver is what happens in one namespace. Its methods are called one at a time for
// each socket, in the order of the wire, and may wait: meanwhile at most Config.Inbound
// events of that connection are kept, then its sender is slowed.
type Receiver interface {
	// Admit judges a CONNECT. auth is its JSON object, or empty. A *Refusal is told to the
	// client; any other error closes the transport without an answer, so that the client
	// comes back by itself.
	Admit(ctx context.Context, s *Socket, auth []byte) error
	// Connected is called when the client knows that it is connected.
	Connected(s *Socket)
	// Instant tells whether Event will not wait for anything, so that it may be called on
	// the goroutine that reads.
	Instant(name []byte) bool
	// Event is one event. e and its slices are only valid during the call.
	Event(s *Socket, e *Event)
	// Disconnected is called once, after the last event.
	Disconnected(s *Socket, reason string)
}

// A Refusal is a CONNECT_ERROR: {"message", "data"}.
type Refusal struct {
	Message string
	Data    any // what JSON can carry, or nil
}

func (r *Refusal) Error() string { return r.Message }

// An Event is one event of a client.
type Event struct {
	Name        []byte   // unquoted
	Args        []byte   // the arguments, comma separated, without brackets
	Count       int      // how many there are
	Attachments [][]byte // the binary values that Args names with placeholders
	ID          uint64   // of the acknowledgement that the client waits for
	HasID       bool
}

// Config of a server; the zero value works.
type Config struct {
	// Engine is passed on; its Handler is ours.
	Engine engineio.Config
	// Namespaces that exist, with who receives their events. Others are refused.
	Namespaces map[string]Receiver

	Inbound      int           // events of one connection that may wait; 256
	InboundBytes int           // and their bytes; 1 MiB
	Attachments  int           // binary values in one packet; 10
	Depth        int           // of JSON; 32
	MaxRooms     int           // that one socket may be in; 0 is no bound
	AdmitTimeout time.Duration // for a CONNECT to be judged; 5 s

	// Cluster makes this server one of several; nil leaves it alone.
	Cluster *ClusterConfig

	// Log gets what no Receiver can: a panic of one. Nil logs nothing.
	Log *zap.Logger
}

func (c Config) withDefaults() Config {
	or := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	or(&c.Inbound, 256)
	or(&c.InboundBytes, 1<<20)
	or(&c.Attachments, 10)
	or(&c.Depth, 32)
	if c.AdmitTimeout <= 0 {
		c.AdmitTimeout = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// A Server is the library's server on our engine.
type Server struct {
	// IO is the library's server: its namespaces, rooms and broadcasts may be used as its
	// documentation says.
	IO *socket.Server

	cfg     Config
	limits  limits
	engine  *engineio.Server
	workers *workers
	cluster *cluster     // nil when it is alone
	live    atomic.Int64 // links that have not been told of their end
	nsps    map[string]*Namespace
}

// A Namespace is one namespace of a server.
type Namespace struct {
	name     string
	receiver Receiver
	rooms    *rooms
	cluster  *clusterNamespace // nil when the server is alone
	lib      socket.Namespace
}

// New makes a server. Close it to end its goroutines.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, limits: limits{cfg.Attachments, cfg.Depth}, workers: newWorkers(), nsps: map[string]*Namespace{}}
	opts := socket.DefaultServerOptions()
	opts.SetParser(libraryParser{})
	if cfg.Cluster != nil {
		s.cluster = newCluster(*cfg.Cluster, cfg.Log)
	}
	opts.SetAdapter(adapterBuilder{cfg.MaxRooms, s.cluster})
	opts.SetServeClient(false)
	opts.SetConnectTimeout(time.Hour) // ours comes first, and holds no goroutine
	s.IO = socket.NewServer(nil, opts)
	cfg.Engine.Handler = func(c *engineio.Conn, _ *http.Request) engineio.Handler {
		s.live.Add(1)
		return &link{srv: s, conn: c}
	}
	s.engine = engineio.New(cfg.Engine)
	s.IO.Bind(s.engine)
	for name, receiver := range cfg.Namespaces {
		n := &Namespace{name: name, receiver: receiver, lib: s.IO.Of(name, nil)}
		switch a := n.lib.Adapter().(type) {
		case *rooms:
			n.rooms = a
		case *clusterNamespace:
			n.rooms, n.cluster = a.rooms, a
		}
		n.lib.Use(bindMiddleware)
		_ = n.lib.On("connection", onLibraryConnection)
		s.nsps[name] = n
	}
	if s.cluster != nil {
		s.cluster.start()
	}
	return s
}

// bindMiddleware is the first middleware of every namespace: it makes the library's socket and ours
// know each other. Who may come in was judged before the library was asked.
func bindMiddleware(lib *socket.Socket, next func(*socket.ExtendedError)) {
	if l := linkOf(lib); l != nil {
		l.bindLibrarySocket(lib)
		next(nil)
		return
	}
	next(socket.NewExtendedError("unknown connection", nil))
}

// onLibraryConnection is the "connection" listener of every namespace.
func onLibraryConnection(args ...any) {
	if lib, ok := args[0].(*socket.Socket); ok {
		if l := linkOf(lib); l != nil {
			l.confirmConnected()
		}
	}
}

func linkOf(lib *socket.Socket) *link {
	c, ok := lib.Conn().(*engineio.Conn)
	if !ok {
		return nil
	}
	l, _ := c.Handler().(*link)
	return l
}

// ServeHTTP serves the Socket.IO path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.engine.ServeHTTP(w, r) }

// Engine is the Engine.IO server.
func (s *Server) Engine() *engineio.Server { return s.engine }

// Of is a namespace that Config named.
func (s *Server) Of(name string) *Namespace { return s.nsps[name] }

// Close ends every connection and returns when all are gone and their receivers have
// been told; it waits no longer than AdmitTimeout for receivers that are busy.
func (s *Server) Close() {
	s.engine.Stop()
	for deadline := time.Now().Add(s.cfg.AdmitTimeout); s.live.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	s.workers.close()
	if s.cluster != nil {
		s.cluster.close()
	}
}

// ClusterStats tells what went over the cluster's bus; zero for a server that is alone.
func (s *Server) ClusterStats() ClusterStats {
	if s.cluster == nil {
		return ClusterStats{Nodes: 1}
	}
	return s.cluster.collectStats()
}

// Nodes is how many nodes live that serve the namespace, this one included. While Redis is
// away it stays what it was: nobody can know better.
func (n *Namespace) Nodes() int {
	if n.cluster == nil {
		return 1
	}
	return int(n.cluster.trustedNodeCount.Load())
}

// Name is the namespace's name.
func (n *Namespace) Name() string { return n.name }

// Library is the library's namespace.
func (n *Namespace) Library() socket.Namespace { return n.lib }

// SocketOf is the connection's socket in a namespace, or nil.
func SocketOf(c *engineio.Conn, n *Namespace) *Socket {
	l, ok := c.Handler().(*link)
	if !ok {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.findSocket(n.name)
}
