package gateway

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
)

// This file is about namespaces: the main one, and those that features have of their own. All
// namespaces of one Engine.IO connection belong to one session, which is counted once.

// mainNamespace is the one of the gateway's own events, and of features without another one.
const mainNamespace = "/"

// errOtherSession refuses a CONNECT to a further namespace of a connection.
var errOtherSession = fault.New("OTHER_SESSION", "This connection belongs to another session.")

// NamespaceCodes returns the codes, and their messages, with which clients are refused only where
// features have namespaces of their own.
func NamespaceCodes() map[string]string {
	return map[string]string{errOtherSession.Code: errOtherSession.Message, fault.ErrUnavailable.Code: fault.ErrUnavailable.Message}
}

// A Namespace is one namespace, with its events and its rooms. The Gateway has the main one. A
// connection and a room of one Namespace are not known in another.
type Namespace struct {
	g      *Gateway
	name   string
	nsp    *socketio.Namespace // set by New
	routes map[string]*route   // static
}

// FindNamespace returns the namespace of this name, or nil. "" is the main one.
func (g *Gateway) FindNamespace(name string) *Namespace {
	if name == "" {
		return g.Namespace
	}
	for _, s := range g.namespaces {
		if s.name == name {
			return s
		}
	}
	return nil
}

// addNamespace makes a namespace.
func (g *Gateway) addNamespace(name string) *Namespace {
	s := &Namespace{g: g, name: name, routes: map[string]*route{}}
	g.namespaces = append(g.namespaces, s)
	return s
}

// isMain reports whether this is the main namespace.
func (s *Namespace) isMain() bool { return s.name == mainNamespace }

// findConn returns a connection to this namespace on this node, or nil.
func (s *Namespace) findConn(id string) *conn {
	if c := s.g.findAnyConn(id); c != nil && c.namespace == s {
		return c
	}
	return nil
}

// findAnyConn returns a connection to any namespace on this node, or nil.
func (g *Gateway) findAnyConn(id string) *conn {
	if c, ok := g.conns.Load(id); ok {
		return c.(*conn)
	}
	return nil
}

// forEachSocket calls f for the socket of each namespace of an Engine.IO connection, and reports
// whether there is one.
func (g *Gateway) forEachSocket(c *engineio.Conn, f func(s *socketio.Socket)) (isAdmitted bool) {
	for _, namespace := range g.namespaces {
		if s := socketio.SocketOf(c, namespace.nsp); s != nil {
			isAdmitted = true
			f(s)
		}
	}
	return isAdmitted
}

// isAdmitted reports whether an Engine.IO connection has a namespace.
func (g *Gateway) isAdmitted(c *engineio.Conn) bool {
	return g.forEachSocket(c, func(*socketio.Socket) {})
}

// A sharedConn is what all namespaces of one Engine.IO connection share. It belongs to one session,
// and takes one place among the connections of its user.
type sharedConn struct {
	handle  Handle      // open while there is a namespace; static once the first is admitted
	events  EventWindow // counts every event; nil counts none
	budgets refusalBudgets
	grant   Admission   // what the ConnectJudge added
	login   string      // see loginOf; static
	isEnded atomic.Bool // the session is over, or the connection is about to end
	// limitID is what limits by connection count by: the id of the connection in the first namespace.
	// Static once that one is known.
	limitID string

	stateMu      sync.Mutex
	all          []*conn // the admitted namespaces; guarded by stateMu
	isLoggingOut bool    // a logout is being answered; guarded by stateMu
	isKept       bool    // keepRecords was called; guarded by stateMu
	pendingEnd   *Ended  // why the session is over, while the player can not be told yet; guarded by stateMu
}

// sharedOf returns what the other namespaces of a socket's connection share, or nil when its client
// is connected to no other one.
func sharedOf(s *socketio.Socket) *sharedConn {
	shared, _ := s.ConnData().(*sharedConn)
	if shared == nil {
		return nil
	}
	shared.stateMu.Lock()
	defer shared.stateMu.Unlock()
	if !slices.ContainsFunc(shared.all, func(c *conn) bool { return c.socket.IsConnected() }) {
		return nil // what has ended is about to be removed
	}
	return shared
}

// add adds a namespace that is admitted.
func (x *sharedConn) add(c *conn) {
	x.stateMu.Lock()
	defer x.stateMu.Unlock()
	x.all = append(x.all, c)
	if x.isKept {
		c.socket.KeepRecord()
	}
}

// remove removes a namespace, and reports whether it was the last one.
func (x *sharedConn) remove(c *conn) (isLast bool) {
	x.stateMu.Lock()
	defer x.stateMu.Unlock()
	x.all = slices.DeleteFunc(slices.Clone(x.all), func(other *conn) bool { return other == c })
	return len(x.all) == 0
}

// listConnected returns the namespaces whose clients may be sent events. stateMu is held.
func (x *sharedConn) listConnected() (connected []*conn) {
	for _, c := range x.all {
		if c.isConnected {
			connected = append(connected, c)
		}
	}
	return connected
}

// markConnected notes that the client of a namespace may be sent events. isFirst says that none of
// the others may; over is why the session has ended meanwhile, or nil.
func (c *conn) markConnected() (isFirst bool, over *Ended) {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	isFirst = len(c.listConnected()) == 0
	c.isConnected = true
	return isFirst, c.pendingEnd
}

// isShown reports whether this namespace stands for its Engine.IO connection where operators see
// connections: the main one, or without it the first. One that is still being admitted stands for
// nothing.
func (c *conn) isShown() bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	var shown *conn
	for _, other := range c.all {
		if other.player.Load().Conn != "" && (shown == nil || other.namespace.isMain()) {
			shown = other
		}
	}
	return shown == c
}

// judgeFurther returns why a client may not have this namespace beside those that its connection
// has, or nil.
func (x *sharedConn) judgeFurther(session Session) *fault.Fault {
	if x.login != loginOf(session) {
		return errOtherSession
	}
	return nil
}

// furtherRetry is when a client may try again to connect to a namespace that could not be judged,
// or up to a quarter later: one that tries 16 namespaces so is below the 64 CONNECTs of a minute.
const furtherRetry = 16 * time.Second

// refuseFurther returns the error of a CONNECT beside other namespaces as a refusal: an error that
// is none ends the connection, and the others must not end because this one cannot be judged.
func refuseFurther(s *socketio.Socket, err error) error {
	var refusal *socketio.Refusal
	if err == nil || errors.As(err, &refusal) || sharedOf(s) == nil {
		return err
	}
	f := fault.Unavailable("session", furtherRetry+rand.N(furtherRetry/4), err) //nolint:gosec // spreads the load, hides nothing
	return &socketio.Refusal{Message: f.Message, Data: connectErrorData{Code: f.Code, RetryAfterMs: f.Detail("retryAfterMs")}}
}
