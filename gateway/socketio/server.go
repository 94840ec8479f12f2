package socketio

import (
	"context"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/zishang520/socket.io/v2/socket"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
)

// A Receiver handles what happens in one namespace. For each socket its methods are called one at a
// time, in the order of the wire. They may wait: meanwhile at most Config.Inbound events of that
// connection are queued, and then its client is slowed down.
type Receiver interface {
	// Admit judges a CONNECT. auth is its JSON object, or empty. A *Refusal is sent to the client. Any
	// other error closes the transport without an answer, so that the client reconnects by itself.
	Admit(ctx context.Context, s *Socket, auth []byte) error
	// Connected is called when the answer to CONNECT is queued.
	Connected(s *Socket)
	// Instant reports whether Event will not wait for anything, so that it may be called on the
	// goroutine that reads from the connection.
	Instant(name []byte) bool
	// Event handles one event. e and its slices are only valid during the call.
	Event(s *Socket, e *Event)
	// Disconnected is called once, after the last event.
	Disconnected(s *Socket, reason string)
}

// A Refusal is sent to the client as CONNECT_ERROR: {"message", "data"}.
type Refusal struct {
	Message string
	Data    any // encoded as JSON; nil is left out
}

func (r *Refusal) Error() string { return r.Message }

// An Event is one event of a client.
type Event struct {
	Name        []byte   // unquoted
	Args        []byte   // the arguments, comma separated, without brackets
	Count       int      // how many arguments Args has
	Attachments [][]byte // the binary values that Args names with placeholders
	ID          uint64   // of the acknowledgement that the client waits for, if HasID
	HasID       bool
}

// Config configures a server. The zero value works.
type Config struct {
	// Engine is passed on to the Engine.IO server. Its Handler is replaced.
	Engine engineio.Config
	// Namespaces are those that exist, by name. A CONNECT to another one is refused.
	Namespaces map[string]Receiver
	// LocalNamespaces are further ones, which this server shares with no other one of Cluster: what is
	// cast there stays here, and no connection is recovered.
	LocalNamespaces map[string]Receiver

	Inbound      int           // events of one connection that may be queued; 256
	InboundBytes int           // bytes of those events; 1 MiB
	Attachments  int           // binary values in one packet; 10
	Depth        int           // how deep JSON may nest; 32
	MaxRooms     int           // rooms that one socket may be in; 0 is no bound
	AdmitTimeout time.Duration // how long the context of Receiver.Admit lasts; 5 s

	// OnJoinRefused, if not nil, is called when the library or another node cannot put a socket into a
	// room because of MaxRooms: they are not told. Socket.Join reports it itself. It must not wait.
	OnJoinRefused func(socketID, room string)

	// Cluster makes this server one of several that share a Redis. Nil makes it the only one.
	Cluster *ClusterConfig

	// OnRefused is told once of every client that is turned away before it was connected to a
	// namespace, or that leaves before, except for those that a Receiver's Admit refuses. It is also
	// the OnRefused of Engine. It must not wait. Nil tells nobody.
	OnRefused func(engineio.Refused)

	// Log gets what no Receiver can report, such as its panic. Nil logs nothing.
	Log *zap.Logger
}

func (c Config) withDefaults() Config {
	setDefault := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	setDefault(&c.Inbound, 256)
	setDefault(&c.InboundBytes, 1<<20)
	setDefault(&c.Attachments, 10)
	setDefault(&c.Depth, 32)
	if c.AdmitTimeout <= 0 {
		c.AdmitTimeout = 5 * time.Second
	}
	if c.OnRefused == nil {
		c.OnRefused = func(engineio.Refused) {}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// A Server is the library's server on our engine.
type Server struct {
	// IO is the library's server. Its namespaces, rooms and broadcasts may be used as its
	// documentation says.
	IO *socket.Server

	cfg     Config
	limits  limits
	engine  *engineio.Server
	workers *workers
	cluster *cluster     // nil without Config.Cluster
	live    atomic.Int64 // links whose end was not served yet

	openQuestions atomic.Int64 // of all sockets

	nsps map[string]*Namespace
}

// LogStats returns the counts of the log; they are zero where casts are not logged.
func (s *Server) LogStats() LogStats {
	if s.cluster == nil {
		return LogStats{}
	}
	return s.cluster.collectLogStats()
}

// A Namespace is one namespace of a server.
type Namespace struct {
	name     string
	receiver Receiver
	rooms    *rooms
	cluster  *clusterNamespace // nil without Config.Cluster
	lib      socket.Namespace
}

// New makes a server. Close ends its goroutines.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, limits: limits{cfg.Attachments, cfg.Depth}, workers: newWorkers(), nsps: map[string]*Namespace{}}
	opts := socket.DefaultServerOptions()
	opts.SetParser(libraryParser{})
	if cfg.Cluster != nil {
		s.cluster = newCluster(withPatience(*cfg.Cluster, cfg.Engine), cfg.Log)
		if s.cluster.castLog != nil {
			recovery := &socket.ConnectionStateRecovery{}
			recovery.SetSkipMiddlewares(false)
			opts.SetConnectionStateRecovery(recovery)
		}
	}
	opts.SetAdapter(adapterBuilder{cfg.MaxRooms, cfg.OnJoinRefused, s.cluster, cfg.LocalNamespaces})
	opts.SetServeClient(false)
	opts.SetConnectTimeout(time.Hour) // the engine's own timeout comes first, and holds no goroutine
	s.IO = socket.NewServer(nil, opts)
	cfg.Engine.Handler = func(c *engineio.Conn, _ *http.Request) engineio.Handler {
		s.live.Add(1)
		return &link{srv: s, conn: c}
	}
	cfg.Engine.OnRefused = cfg.OnRefused
	s.engine = engineio.New(cfg.Engine)
	s.IO.Bind(s.engine)
	receivers := maps.Clone(cfg.LocalNamespaces)
	if receivers == nil {
		receivers = map[string]Receiver{}
	}
	maps.Copy(receivers, cfg.Namespaces)
	for name, receiver := range receivers {
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

// withPatience sets LogConfig.Patience.
func withPatience(c ClusterConfig, e engineio.Config) ClusterConfig {
	if c.Log == nil || c.Log.Patience > 0 {
		return c
	}
	castLog := *c.Log
	interval, timeout := e.PingInterval, e.PingTimeout
	if interval <= 0 {
		interval = 25 * time.Second
	}
	if timeout <= 0 {
		timeout = 20 * time.Second
	}
	castLog.Patience = 2 * (interval + timeout)
	if castLog.KeepFor <= 0 {
		castLog.KeepFor = 2 * time.Minute
	}
	c.Log = &castLog
	return c
}

// bindMiddleware is the first middleware of every namespace. It binds the library's socket to ours,
// which was admitted before the library was told.
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

// Engine returns the Engine.IO server.
func (s *Server) Engine() *engineio.Server { return s.engine }

// Of returns a namespace that Config has, or nil.
func (s *Server) Of(name string) *Namespace { return s.nsps[name] }

// Close ends every connection. It returns when all receivers were told, and waits no longer than
// AdmitTimeout for those that are busy.
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

// ClusterStats counts the messages between nodes. Without Config.Cluster there are none.
func (s *Server) ClusterStats() ClusterStats {
	if s.cluster == nil {
		return ClusterStats{Nodes: 1}
	}
	return s.cluster.collectStats()
}

// Nodes returns how many nodes that live serve the namespace, this one included. While Redis is
// away it stays as it was, because it cannot be found out.
func (n *Namespace) Nodes() int {
	if n.cluster == nil {
		return 1
	}
	return int(n.cluster.trustedNodeCount.Load())
}

// Name returns the namespace's name.
func (n *Namespace) Name() string { return n.name }

// Library returns the library's namespace.
func (n *Namespace) Library() socket.Namespace { return n.lib }

// SocketOf returns the connection's socket in a namespace, or nil.
func SocketOf(c *engineio.Conn, n *Namespace) *Socket {
	l, ok := c.Handler().(*link)
	if !ok {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.findSocket(n.name)
}
