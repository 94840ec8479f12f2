package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/identity"
)

// A conn is one player's connection to one namespace.
type conn struct {
	*sharedConn  // with the other namespaces of the same Engine.IO connection
	namespace    *Namespace
	socket       *socketio.Socket
	opened       time.Time
	player       atomic.Pointer[event.Player] // replaced when the character changes
	isFurther    bool                         // the Engine.IO connection had another namespace already
	isConnected  bool                         // its client may be sent events; guarded by stateMu
	endAnnounced bool                         // its client was told that the session is over; guarded by stateMu

	refused []RefusedRoom // until a client that comes back is connected
	trace   *connTrace    // nil where nothing is traced

	hasAfterAnswer atomic.Bool // afterAnswer is not empty

	rolesReadAt atomic.Int64 // ns since Gateway.started: when the session was read for its roles
	rolesMu     sync.Mutex   // held while the roles change

	mu          sync.Mutex
	afterAnswer []func() // what waits for the answer of the event under way; guarded by mu
}

// A receiver is the gateway as one of its namespaces sees it: a socketio.Receiver.
type receiver struct {
	g         *Gateway
	namespace *Namespace
}

// Admit asks the Authenticator who the client is. A refusal reaches the client as CONNECT_ERROR
// with the fault's message, which clients compare.
func (r receiver) Admit(ctx context.Context, s *socketio.Socket, auth []byte) error {
	trace := r.g.beginConnect(s, auth)
	err := r.g.admitConn(trace.span().Context(ctx), r.namespace, s, auth, trace)
	if err = refuseFurther(s, err); err != nil {
		trace.endConnecting(err)
	}
	return err
}

func (g *Gateway) admitConn(ctx context.Context, namespace *Namespace, s *socketio.Socket, auth []byte, trace *connTrace) error {
	shared := sharedOf(s)
	isFurther := shared != nil
	authenticate := g.cfg.Auth.Authenticate
	if isFurther {
		authenticate = g.cfg.Auth.AuthenticateAgain
	}
	readAt := g.sinceStart()
	session, err := authenticate(ctx, auth, s.Conn().Header())
	if err != nil {
		refused := engineio.Refused{Addr: s.Conn().Addr(), Transport: s.Conn().TransportName()}
		var f *fault.Fault
		if !errors.As(err, &f) {
			refused.Code, refused.Reason = fault.ErrUnavailable.Code, "the session could not be read"
			g.reportRefusal(refused, err, refusedClient{})
			return err
		}
		return g.refuseConnect(refused, f, originOf(f))
	}
	if !isFurther {
		shared = &sharedConn{events: g.cfg.Limiter.OpenConnection(), login: loginOf(session)}
	}
	c := &conn{sharedConn: shared, namespace: namespace, socket: s, opened: time.Now(), isFurther: isFurther, trace: trace}
	c.rolesReadAt.Store(int64(readAt))
	p := session.Player
	p.Addr = s.Conn().Addr()
	obstacle := g.judgeAdmission(ctx, c, session, &p, auth)
	if !isFurther {
		c.handle = g.cfg.Tracker.Open(session, Listener{
			Ended:    func(code, reason string) { g.endSession(shared, Ended{code, reason}) },
			Expiring: func(left time.Duration) { g.warnExpiring(shared, left) },
			Renewed:  shared.keepRecords,
		})
	}
	if obstacle != nil {
		if !isFurther {
			c.handle.Close() // which gives back what the Authenticator took
		}
		return g.refuseAdmission(obstacle, engineio.Refused{Addr: p.Addr, Transport: s.Conn().TransportName()}, &p)
	}
	shared.add(c)
	s.SetData(c)
	s.SetConnData(shared)
	s.ExpectRooms(userRoom(p.UserID))
	if namespace.isMain() {
		s.ExpectRooms(c.grant.Rooms...)
	}
	return nil
}

// connectErrorData is the data of a CONNECT_ERROR.
type connectErrorData struct {
	Code         string `json:"code"`
	RetryAfterMs any    `json:"retryAfterMs,omitzero"`
	Reason       any    `json:"reason,omitzero"` // of a ban
	Until        any    `json:"until,omitzero"`  // of a ban, Unix ms
}

// Connected sends the client `session` and `limits`, and makes the connection known to this node.
func (r receiver) Connected(s *socketio.Socket) {
	g := r.g
	c := s.Data().(*conn)
	p := *c.player.Load()
	p.Conn = s.ID()
	c.player.Store(&p)
	if c.limitID == "" {
		c.limitID = s.ID()
	}
	g.conns.Store(s.ID(), c)
	g.sendGreeting(c)
	isRecovered := s.IsRecovered()
	defer g.joinGranted(c, isRecovered)
	if isRecovered {
		g.resumeConn(c, p)
	} else if s.Join(userRoom(p.UserID)); g.cfg.Observer != nil && r.namespace.isMain() { // what others send the user comes after the greeting
		g.cfg.Observer.Connected(p)
	}
	isFirst, over := c.markConnected()
	if isFirst {
		g.metrics.countOpened()
	}
	fields := []zap.Field{
		zap.String("conn", p.Conn), zap.String("user", p.UserID), sessionTagOf(p.SessionID),
		zap.String("addr", p.Addr), zap.String("transport", s.Conn().TransportName()), traceOf(c.trace.span()),
	}
	c.trace.endConnecting(nil)
	if isRecovered {
		fields = append(fields, zap.Bool("recovered", true))
	}
	g.log.Info("connection opened", append(fields, namespaceTagOf(r.namespace))...)
	switch {
	case over != nil:
		g.announceEnd(c.sharedConn, *over)
	case g.draining.Load(): // the drain began during the handshake
		g.announceClosing(s.Conn(), "DRAINING", 0)
		s.Conn().Shut(engineio.ReasonShutdown)
	}
}

// emitPayload sends one client an event.
func (g *Gateway) emitPayload(s *socketio.Socket, name string, payload any) {
	b, err := json.Marshal(payload)
	if err != nil {
		g.log.Error("event could not be encoded", zap.String("event", name), zap.Error(err))
		return
	}
	_ = s.EmitArgs(name, socketio.Args{JSON: b}) // the error says that the client is gone
}

// listRoles returns the roles as a list that JSON does not write as null.
func listRoles(r []string) []string {
	if r == nil {
		return []string{}
	}
	return r
}

func userRoom(id string) string { return "user:" + id }

// Disconnected forgets the connection. It is called for connections that were never admitted, too.
func (r receiver) Disconnected(s *socketio.Socket, reason string) {
	c, ok := s.Data().(*conn)
	if !ok {
		return
	}
	isLast := c.remove(c)
	if isLast {
		c.handle.Close()
	}
	g := r.g
	g.users.remove(c, c.player.Load().UserID)
	if !g.conns.CompareAndDelete(s.ID(), c) { // it was never connected, or another one goes on with it already
		return
	}
	p := c.player.Load()
	if r.namespace.isMain() {
		g.tellDisconnected(*p, reason)
	}
	if isLast {
		g.refused.keepRefusals(c)
		g.metrics.countClosed(reason)
	}
	g.log.Info("connection closed", zap.String("conn", s.ID()), zap.String("user", p.UserID), sessionTagOf(p.SessionID),
		zap.String("reason", reason), zap.Int64("ms", time.Since(c.opened).Milliseconds()), namespaceTagOf(r.namespace))
}

// tellDisconnected tells the observer that a connection to the main namespace has ended.
func (g *Gateway) tellDisconnected(p event.Player, reason string) {
	if o, ok := g.cfg.Observer.(ReasonObserver); ok {
		o.DisconnectedBecause(p, reason)
	} else if g.cfg.Observer != nil {
		g.cfg.Observer.Disconnected(p)
	}
}

// namespaceTagOf returns the log field of a namespace, none for the main one.
func namespaceTagOf(n *Namespace) zap.Field {
	if n.isMain() {
		return zap.Skip()
	}
	return zap.String("namespace", n.name)
}

// sessionTagOf returns the log field that names a session: a short hash, because the id is a
// secret.
func sessionTagOf(sessionID string) zap.Field {
	return zap.String("session", identity.SessionTag(sessionID))
}

// hashSessionID returns a hash of a session's id, 32 letters and digits.
func hashSessionID(sessionID string) string {
	sum := sha256.Sum256([]byte(sessionID))
	return hex.EncodeToString(sum[:16])
}

// warnExpiring warns a player who has not done anything for a while.
func (g *Gateway) warnExpiring(shared *sharedConn, left time.Duration) {
	shared.stateMu.Lock()
	connected := slices.DeleteFunc(shared.listConnected(), func(c *conn) bool { return c.endAnnounced })
	shared.stateMu.Unlock()
	for _, c := range connected {
		_ = c.socket.Emit("session:expiring", Expiring{left.Milliseconds()}) // the error says that the client is gone
	}
}

// keepRecords keeps the records of all namespaces, whatever ends the connection.
func (x *sharedConn) keepRecords() {
	x.stateMu.Lock()
	x.isKept = true
	all := slices.Clone(x.all)
	x.stateMu.Unlock()
	for _, c := range all {
		c.socket.KeepRecord()
	}
}

// endSession is called when the session is over, on any goroutine. While the connection is being
// opened or a logout is being answered, the end is only noted: it is announced afterwards.
func (g *Gateway) endSession(shared *sharedConn, why Ended) {
	shared.isEnded.Store(true)
	shared.stateMu.Lock()
	shared.pendingEnd = &why
	wait := len(shared.listConnected()) == 0 || shared.isLoggingOut
	shared.stateMu.Unlock()
	if !wait {
		g.announceEnd(shared, why)
	}
}

// announceEnd tells the client once, in each namespace, why the session is over, and closes the
// connection for good: the player must log in again.
func (g *Gateway) announceEnd(shared *sharedConn, why Ended) {
	shared.stateMu.Lock()
	connected := slices.DeleteFunc(shared.listConnected(), func(c *conn) bool { return c.endAnnounced })
	for _, c := range connected {
		c.endAnnounced = true
	}
	shared.stateMu.Unlock()
	for _, c := range connected {
		_ = c.socket.Emit("session:revoked", why)
	}
	for _, c := range connected {
		c.socket.Disconnect(true)
	}
}
