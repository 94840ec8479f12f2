// Package gateway is the life of an event: it admits a connection, receives what the client sends,
// serves it and replies; and it has the rooms and casts that features use. With the packages below
// it, it is the only one that knows Socket.IO.
//
// # Events
//
// An event passes these steps, in this order:
//
//  1. It is charged to its connection (EventWindow).
//  2. Its name is looked up in the table of routes.
//  3. It may carry one payload at most, and no binary value.
//  4. The session must be alive, and have one of the route's roles. Where roles matter, they are
//     read again when what is known of them is older than five seconds (rights.go).
//  5. The route's limits are spent: all of them, or none.
//  6. The handler is called, with a deadline, and a panic in it stays inside.
//  7. The answer is queued, and the session's lifetime begins anew.
//
// The first step that fails answers the event with a fault (package fault). A failure is counted
// and logged once, in serve.go. An event with an idempotency key is looked for before its roles and
// limits are judged (once.go). The events of one connection are served one after the other.
//
// # Connections
//
// A Gateway asks an Authenticator who a client is, a Tracker to follow the session while the
// connection lives, and a Limiter what a player may do. It tells a ConnectionObserver which players
// come and go. Every player is in the room "user:<id>", so that CastUser reaches all devices of a
// user on all nodes.
//
// # Features
//
// A feature is a table of routes and a table of casts (package event). It uses Join, Leave, Cast
// and the other methods about rooms through an interface of its own, and never imports this
// package.
package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/clientaddr"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/tracing"
)

// A Session is what an Authenticator found out about a client.
type Session struct {
	event.Player               // without Conn and Addr, which the gateway sets
	TTL          time.Duration // how long the session lasts from the last activity
	ExpiresAt    time.Time
	// Login names the login: it stays the same when the session gets a new id. "" stands for the id.
	Login string
	// UnlessReplaces, if not nil, refuses a connection that does not go on with another one that
	// lives, and so takes its place.
	UnlessReplaces error
	// Source is what the Authenticator hands to the Tracker. The gateway does not look into it.
	Source any
}

// An Authenticator says which player a client is.
type Authenticator interface {
	// Authenticate judges a CONNECT: auth is its JSON, or empty; header is what the
	// handshake carried. A *fault.Fault refuses the client for good. Any other error means
	// that the client can not be judged now: the transport is closed, and the client comes back.
	Authenticate(ctx context.Context, auth []byte, header http.Header) (Session, error)
	// AuthenticateAgain is Authenticate for a further namespace of a connection that was judged by
	// Authenticate: what that counted or took is not counted or taken again.
	AuthenticateAgain(ctx context.Context, auth []byte, header http.Header) (Session, error)
	// Identify judges an HTTP request in the same way.
	Identify(r *http.Request) (Session, error)
}

// A Tracker follows the sessions of this node's connections.
type Tracker interface {
	// Open begins to follow a session. The handle is closed when the connection ends.
	Open(s Session, on Listener) Handle
}

// A Listener is told what happens to the session of a connection. Its functions never wait.
type Listener struct {
	// Ended is called at most once, when the session is over.
	Ended func(code, reason string)
	// Expiring is called when the session will be over soon, unless the player does something.
	Expiring func(left time.Duration)
	// Renewed, if not nil, is called before Ended when the session goes on under a new id.
	Renewed func()
}

// A Handle is one connection's use of its session.
type Handle interface {
	// Touch says that the player was active. It never waits.
	Touch()
	// TTL returns how long the session still lasts without activity.
	TTL() time.Duration
	// Alive reports whether the session is still valid, as far as this node knows.
	Alive() bool
	// Close ends the use of the session: the Listener is not called any more.
	Close()
}

// Sessions changes sessions.
type Sessions interface {
	// Get returns a session as it is now. UNAUTHENTICATED says that it is over; any other error that
	// it can not be read now.
	Get(ctx context.Context, sessionID string) (Session, error)
	// SetCharacter returns the changed session, or a fault.
	SetCharacter(ctx context.Context, sessionID, characterID string) (Session, error)
	// LogoutEverywhere destroys all sessions of a user, this one last.
	LogoutEverywhere(ctx context.Context, userID, sessionID string) error
	// Logout destroys the session.
	Logout(ctx context.Context, sessionID string) error
}

// A ConnectionObserver is told which players connect to this node and disconnect. Its methods must
// not wait.
type ConnectionObserver interface {
	// Connected is called when a connection may send events; p.Conn is its id.
	Connected(p event.Player)
	// CharacterChanged is called when the player of a connection has chosen another character.
	CharacterChanged(p event.Player)
	// Disconnected is called once for each connection that was reported to Connected, after its last
	// event.
	Disconnected(p event.Player)
}

// A ReasonObserver is a ConnectionObserver that is told DisconnectedBecause, and not Disconnected.
type ReasonObserver interface {
	// DisconnectedBecause is Disconnected with the reason, such as "transport close".
	DisconnectedBecause(p event.Player, reason string)
}

// Characters knows which user owns a character.
type Characters interface {
	// Owns tells whether the user owns the character. An error means that this is not known now.
	Owns(ctx context.Context, userID, characterID string) (bool, error)
}

// Config says what a gateway is made of. Auth, Tracker, Sessions, Limiter and Routes are required.
type Config struct {
	Auth     Authenticator
	Tracker  Tracker
	Sessions Sessions
	Limiter  Limiter
	Observer ConnectionObserver // nil: nobody is told who connects and disconnects
	// Routes are those of the features. Their names differ, also in different namespaces, because
	// limits, metrics and logs name an event by its name alone.
	Routes []event.Route
	// Namespaces are those that features have of their own, beside the main one. They have the
	// gateway's own events too.
	Namespaces []string
	// Once keeps the records of events that are done once. The caller closes it, after the gateway.
	// nil: only this gateway's memory knows what was done.
	Once  *once.Keeper
	Casts []event.Cast // of the features

	// Characters checks the character that a player chooses. DANGER: nil believes the player, who
	// may then choose any character and use its goods.
	Characters Characters
	// ConnectJudge is asked about every client whose session was found; nil: nobody is.
	ConnectJudge ConnectJudge
	// JoinChannel puts a connection into a channel that the ConnectJudge named. It is required where
	// there is a ConnectJudge.
	JoinChannel func(ctx context.Context, p event.Player, channel string) error
	// Rooms judges in which rooms a client that comes back may still be; nil: in all.
	Rooms RoomJudge
	// ConnectPolicy is the policy of handshakes, which ten connections that a client presents and that
	// are none spend once. "" spends none.
	ConnectPolicy string
	// MistakePolicy is the policy that unknown and malformed events spend. "" spends none.
	MistakePolicy string
	// CloseAfter bounds the refusals of one policy to one connection within the policy's window, as a
	// multiple of its limit: with 10, a connection is closed at the 100th refusal by a limit of 10
	// events. 0 means 10; a negative value never closes.
	CloseAfter int
	// MaxPerUser is how many connections one user may have to this node. A further one is refused
	// with TOO_MANY_CONNECTIONS. 0 is no bound.
	MaxPerUser int

	Socket  socketio.Config // its namespaces, OnRefused, OnJoinRefused and its cluster's OnChange are set by New
	Node    string          // the name of this node, in `session` and in logs
	Timeout time.Duration   // the time that a handler has; 0 means 5 s
	Log     *zap.Logger     // nil logs nothing
	Metrics *Metrics        // nil counts nothing
	Tracer  *tracing.Tracer // nil traces nothing
}

// A Gateway serves players. Its methods may be called from any goroutine.
type Gateway struct {
	*Namespace // the main namespace

	cfg        Config
	log        *zap.Logger
	metrics    *Metrics
	namespaces []*Namespace // the main one first; static

	fleeting map[string]bool // events that are not logged; static
	volatile map[string]bool // those of them that a client may miss which is behind; static

	io      *socketio.Server
	baseCtx context.Context // of handlers; Close cancels it
	cancel  context.CancelFunc

	deadlines eventDeadlines // of base

	ready     atomic.Bool // nsp of each Namespace is set
	draining  atomic.Bool
	started   time.Time
	roleReads singleflight.Group // of Sessions.Get, by session id

	failedReturns failedReturns
	samples       eventSamples

	conns   sync.Map // socket id → *conn, of all namespaces
	users   userConns
	refused refusalRing
}

// A route is an event.Route with the counters of its event.
type route struct {
	event.Route
	counters *eventCounters
}

// New makes a gateway. It panics when two routes have the same name, or one has a namespace that
// Config.Namespaces does not. The caller must Close it.
func New(cfg Config) *Gateway {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.CloseAfter == 0 {
		cfg.CloseAfter = 10
	}
	if cfg.Socket.AdmitTimeout <= 0 {
		cfg.Socket.AdmitTimeout = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Socket.Engine.ClientAddr == nil {
		cfg.Socket.Engine.ClientAddr = clientaddr.Peer
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Once == nil {
		cfg.Once = once.New(nil, once.Config{Timeout: cfg.Timeout})
	}
	g := &Gateway{started: time.Now(), cfg: cfg, log: cfg.Log, metrics: cfg.Metrics, fleeting: map[string]bool{}, volatile: map[string]bool{}}
	g.baseCtx, g.cancel = context.WithCancel(context.Background())
	g.deadlines = eventDeadlines{baseCtx: g.baseCtx, timeout: cfg.Timeout}
	g.Namespace = g.addNamespace(mainNamespace)
	for _, name := range cfg.Namespaces {
		g.addNamespace(name)
	}
	named := map[string]bool{}
	addRoute := func(r event.Route, where ...*Namespace) {
		if named[r.Name] {
			panic(fmt.Sprintf("gateway: two routes are named %q", r.Name))
		}
		named[r.Name] = true
		for _, n := range where {
			n.routes[r.Name] = &route{r, cfg.Metrics.countersOf(r.Name)}
		}
	}
	for _, r := range g.sessionRoutes() {
		addRoute(r, g.namespaces...)
	}
	for _, r := range cfg.Routes {
		n := g.FindNamespace(r.Namespace)
		if n == nil {
			panic(fmt.Sprintf("gateway: the route %q is in the unknown namespace %q", r.Name, r.Namespace))
		}
		addRoute(r, n)
	}
	for _, c := range g.Casts() {
		if c.IsFleeting {
			g.fleeting[c.Name] = true
		}
		if c.IsVolatile {
			g.volatile[c.Name] = true
		}
	}
	cfg.Socket.Log = cfg.Log
	cfg.Socket.OnRefused = func(r engineio.Refused) { g.reportRefusal(r, nil, refusedClient{}) }
	cfg.Socket.Engine.OnRoundTrip = func(took time.Duration) { g.metrics.roundTrips.Observe(took.Seconds()) }
	if c := cfg.Socket.Cluster; c != nil {
		cluster := *c
		cluster.OnChange, cluster.EventTimeout = g.clusterChanged, cfg.Timeout
		if c.Log != nil {
			castLog := *c.Log
			castLog.OnMissed, castLog.PrivatePrefix = g.tellMissed, userRoom("")
			cluster.Log = &castLog
		}
		cfg.Socket.Cluster = &cluster
	}
	cfg.Socket.OnJoinRefused = g.noteJoinRefused
	cfg.Socket.Namespaces = map[string]socketio.Receiver{}
	for _, s := range g.namespaces {
		cfg.Socket.Namespaces[s.name] = receiver{g, s}
	}
	admit := cfg.Socket.Engine.Admit
	cfg.Socket.Engine.Admit = func(r *http.Request) *engineio.Refusal {
		if g.draining.Load() {
			return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Draining", RetryAfter: 2 * time.Second}
		}
		if admit != nil {
			return admit(r)
		}
		return nil
	}
	g.traceHandshakes(&cfg.Socket)
	g.io = socketio.New(cfg.Socket)
	for _, s := range g.namespaces {
		s.nsp = g.io.Of(s.name)
	}
	g.ready.Store(true)
	g.metrics.cluster.Store(&clusterMetrics{g.io.ClusterStats})
	g.metrics.castLog.Store(&logMetrics{g.io.LogStats})
	g.metrics.engine.Store(&engineMetrics{g.io.Engine().DroppedVolatile})
	return g
}

// ServeHTTP serves the requests of Socket.IO, to be mounted on /socket.io/.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.io.ServeHTTP(w, g.beginHandshake(r))
}

// Connections returns the number of connections to this node.
func (g *Gateway) Connections() int { return g.io.Engine().Count() }

// Routes returns every event that clients may send: those of the features and the gateway's own.
func (g *Gateway) Routes() []event.Route {
	all := g.sessionRoutes()
	return append(all, g.cfg.Routes...)
}

// Casts returns every event that the server may send: those of the features and the gateway's own.
func (g *Gateway) Casts() []event.Cast { return append(ownCasts(), g.cfg.Casts...) }

// Draining tells whether Drain was called.
func (g *Gateway) Draining() bool { return g.draining.Load() }

// Refuse refuses new connections from now on. It is the first step of a drain.
func (g *Gateway) Refuse() { g.draining.Store(true) }

// Admit accepts new connections again, after Refuse or Drain.
func (g *Gateway) Admit() { g.draining.Store(false) }

// A DrainReport says how a drain went.
type DrainReport struct {
	Connections int      // when it began
	Closed      int      // that the drain closed
	Left        int      // that ended by themselves before it was their turn
	Open        int      // that are still open, because the drain was cut short
	Users       []string // who were connected when it began
	Took        time.Duration
}

// Drain refuses new connections, tells every client when to come back, and closes the connections
// one after the other, evenly over the given time. It returns when all are closed, or ctx ends.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) (report DrainReport) {
	g.Refuse()
	conns := g.io.Engine().Conns()
	report.Connections, report.Users = g.Connections(), g.users.names()
	started := time.Now()
	defer func() {
		report.Took, report.Open = time.Since(started), g.Connections()
		report.Left = max(0, report.Connections-report.Closed-report.Open)
	}()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for i, c := range conns {
		at := over * time.Duration(i) / time.Duration(len(conns))
		g.announceClosing(c, "DRAINING", at)
	}
	begun := time.Now()
	for i, c := range conns {
		at := over * time.Duration(i) / time.Duration(len(conns))
		pause.Reset(time.Until(begun.Add(at)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return report
		}
		if g.isAdmitted(c) && c.Open() {
			report.Closed++
			c.Shut(engineio.ReasonShutdown)
		}
	}
	for g.Connections() > 0 { // connections that linger, or that were being opened
		pause.Reset(5 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return report
		}
		for _, c := range g.io.Engine().Conns() {
			isAdmitted := g.isAdmitted(c)
			// A connection that is being admitted is closed by Connected, unless that takes too long.
			if c.Open() && (isAdmitted || time.Since(begun) > over+lateHandshakes) {
				g.announceClosing(c, "DRAINING", 0)
				report.Closed++
				c.Shut(engineio.ReasonShutdown)
			}
		}
	}
	return report
}

// lateHandshakes is how long after a drain a handshake may still be under way.
const lateHandshakes = 500 * time.Millisecond

// announceClosing tells a client, in each namespace, that its connection will close, and how long
// it should then wait before it comes back. The caller gives each client another spread, so that
// not all come back at once.
func (g *Gateway) announceClosing(c *engineio.Conn, code string, spread time.Duration) {
	g.forEachSocket(c, func(s *socketio.Socket) {
		_ = s.Emit("gateway:closing", Closing{code, 500 + (spread % (5 * time.Second)).Milliseconds()})
	})
}

// Close tells the clients that are still connected, ends every connection and waits until all
// ended.
func (g *Gateway) Close() {
	g.Refuse()
	for i, c := range g.io.Engine().Conns() {
		if c.Open() {
			g.announceClosing(c, "SHUTTING_DOWN", time.Duration(i)*time.Millisecond)
		}
	}
	g.io.Close()
	g.cancel()
}
