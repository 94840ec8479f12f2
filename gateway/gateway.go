// Package gateway is the life of an event: admit a connection, receive what it sends,
// serve it, reply; and the rooms and casts that features use. It is the only package,
// with those below it, that knows Socket.IO.
//
// What happens to an event, in this order: its route is named, its payload counted, the
// session checked, the roles, the limits spent, the handler called with a deadline and a
// recover, the answer sent, the session slid. Whoever fails on the way is answered with
// the fault, and logged once.
package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
)

// A Session is what a handshake was admitted with.
type Session struct {
	event.Player // without Conn and Addr, which the gateway sets
	TTL          time.Duration
	ExpiresAt    time.Time
	// Source is what the Authenticator and the Tracker share; the gateway does not look.
	Source any
}

// An Authenticator says who is at the other end.
type Authenticator interface {
	// Authenticate judges a CONNECT: auth is its JSON, or empty; header is what the
	// handshake carried. A *fault.Fault refuses the client for good; any other error means
	// that it can not be judged now.
	Authenticate(ctx context.Context, auth []byte, header http.Header) (Session, error)
	// Identify judges an HTTP request in the same way.
	Identify(r *http.Request) (Session, error)
}

// A Tracker follows the sessions of this node's connections.
type Tracker interface {
	// Open begins to follow.
	Open(s Session, on Listener) Handle
}

// A Listener is told what happens to the session of a connection. It never waits.
type Listener struct {
	Ended    func(code, reason string) // at most once, when the session is gone
	Expiring func(left time.Duration)  // when it will be soon, unless the player does something
}

// A Handle is one connection's hold on its session.
type Handle interface {
	Touch()             // the player was active; never waits
	TTL() time.Duration // what is left
	Alive() bool
	Close()
}

// Sessions changes sessions.
type Sessions interface {
	// SetCharacter returns the session as it is then, or a fault.
	SetCharacter(ctx context.Context, sessionID, characterID string) (Session, error)
	// Logout destroys the session.
	Logout(ctx context.Context, sessionID string) error
}

// A Witness is told who comes and goes on this node. Its methods must not wait.
type Witness interface {
	// Came is called when a connection may send events; p.Conn names it.
	Came(p event.Player)
	// Changed is called when the player of a connection has chosen another character.
	Changed(p event.Player)
	// Went is called once for each connection that came, after its last event.
	Went(p event.Player)
}

// Characters knows whose characters are whose.
type Characters interface {
	// Owns tells whether the character is the user's; an error means that nobody knows now.
	Owns(ctx context.Context, userID, characterID string) (bool, error)
}

// Config of a gateway. Auth, Tracker, Sessions, Limiter and Routes are required.
type Config struct {
	Auth     Authenticator
	Tracker  Tracker
	Sessions Sessions
	Limiter  Limiter
	Witness  Witness       // of comings and goings; nil tells nobody
	Routes   []event.Route // of the features
	Casts    []event.Cast  // of the features

	Characters Characters // nil: players say which character they play, and are believed
	// Mistakes is the policy that unknown and malformed events spend; "" is none.
	Mistakes string
	// CloseAfter is how many times a limit may be refused to one connection in a window before
	// the connection is closed; 0 is 10, and below is never.
	CloseAfter int

	Socket  socketio.Config // its namespaces are ours
	Node    string          // this node's name, in `session` and in logs
	Timeout time.Duration   // for one handler; 5 s
	Log     *zap.Logger     // nil logs nothing
	Metrics *Metrics        // nil counts nothing
}

// A Gateway serves players.
type Gateway struct {
	cfg     Config
	log     *zap.Logger
	metrics *Metrics
	routes  map[string]*route // static
	io      *socketio.Server
	nsp     *socketio.Namespace
	base    context.Context // of handlers; cancelled by Close
	cancel  context.CancelFunc

	deadlines deadlines // of base

	ready    atomic.Bool // nsp is set
	draining atomic.Bool
	conns    sync.Map // socket id → *conn
}

// A route with what is counted about it.
type route struct {
	event.Route
	served *outcomes
}

// New makes a gateway. It panics when two routes have one name. Close it.
func New(cfg Config) *Gateway {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.CloseAfter == 0 {
		cfg.CloseAfter = 10
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Socket.Engine.ClientAddr == nil {
		cfg.Socket.Engine.ClientAddr = engineio.PeerAddr
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	g := &Gateway{cfg: cfg, log: cfg.Log, metrics: cfg.Metrics, routes: map[string]*route{}}
	g.base, g.cancel = context.WithCancel(context.Background())
	g.deadlines = deadlines{base: g.base, timeout: cfg.Timeout}
	for _, r := range append(g.sessionRoutes(), cfg.Routes...) {
		if g.routes[r.Name] != nil {
			panic(fmt.Sprintf("gateway: two routes are named %q", r.Name))
		}
		g.routes[r.Name] = &route{r, cfg.Metrics.outcomes(r.Name)}
	}
	cfg.Socket.Log = cfg.Log
	if c := cfg.Socket.Cluster; c != nil {
		told := *c
		told.OnChange = g.clusterChanged
		cfg.Socket.Cluster = &told
	}
	cfg.Socket.Namespaces = map[string]socketio.Receiver{"/": receiver{g}}
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
	g.io = socketio.New(cfg.Socket)
	g.nsp = g.io.Of("/")
	g.ready.Store(true)
	g.metrics.bus.Store(&busMetrics{g.io.ClusterStats})
	return g
}

// ServeHTTP serves /socket.io/.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.io.ServeHTTP(w, r) }

// Connections is how many there are on this node.
func (g *Gateway) Connections() int { return g.io.Engine().Count() }

// Routes lists every event that clients may send.
func (g *Gateway) Routes() []event.Route {
	all := make([]event.Route, 0, len(g.routes))
	for _, r := range g.routes {
		all = append(all, r.Route)
	}
	return all
}

// Casts lists every event that clients may be sent.
func (g *Gateway) Casts() []event.Cast { return append(ownCasts(), g.cfg.Casts...) }

// Draining tells whether Drain was called.
func (g *Gateway) Draining() bool { return g.draining.Load() }

// Refuse turns new connections away from now on: the first step of a drain.
func (g *Gateway) Refuse() { g.draining.Store(true) }

// Drain refuses new connections, tells every client when to come back, and closes them
// one after the other over the time given. It returns when all are gone, or ctx ends.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	g.Refuse()
	conns := g.io.Engine().Conns()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for i, c := range conns {
		at := over * time.Duration(i) / time.Duration(len(conns))
		g.bye(c, "DRAINING", at)
	}
	begun := time.Now()
	for i, c := range conns {
		at := over * time.Duration(i) / time.Duration(len(conns))
		pause.Reset(time.Until(begun.Add(at)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		if socketio.SocketOf(c, g.nsp) != nil {
			c.Shut(engineio.ReasonShutdown)
		}
	}
	for g.Connections() > 0 { // those that linger, and those that were being opened
		pause.Reset(5 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		for _, c := range g.io.Engine().Conns() {
			in := socketio.SocketOf(c, g.nsp) != nil
			if c.Open() && (in || time.Since(begun) > over+lateWithin) { // one that is being let in is told by Connected
				g.bye(c, "DRAINING", 0)
				c.Shut(engineio.ReasonShutdown)
			}
		}
	}
}

// lateWithin is how long after a drain a handshake may still be judged.
const lateWithin = 500 * time.Millisecond

// bye tells a client that its connection will close, and how long to wait then before it
// comes back: different for each, so that they do not come all at once.
func (g *Gateway) bye(c *engineio.Conn, code string, spread time.Duration) {
	if s := socketio.SocketOf(c, g.nsp); s != nil {
		_ = s.Emit("gateway:closing", Closing{code, 500 + (spread % (5 * time.Second)).Milliseconds()})
	}
}

// Close tells those who are still there, ends every connection and waits for it.
func (g *Gateway) Close() {
	g.Refuse()
	for i, c := range g.io.Engine().Conns() {
		if c.Open() {
			g.bye(c, "SHUTTING_DOWN", time.Duration(i)*time.Millisecond)
		}
	}
	g.io.Close()
	g.cancel()
}
