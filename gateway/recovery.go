package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway/socketio"
)

// This file lets a client go on with a connection that has ended (connection state recovery of
// Socket.IO), where casts are logged.

// A RecoveryObserver is a ConnectionObserver that is told Recovered, and not Connected, of a client
// that goes on with an earlier connection: the client has its rooms, and was told what it missed.
type RecoveryObserver interface {
	Recovered(p event.Player, rooms []string)
}

// A RoomJudge says in which rooms a client that comes back may still be.
type RoomJudge interface {
	// JudgeRooms returns the rooms in which the player may not be any more. After an error the client
	// gets a new connection.
	JudgeRooms(ctx context.Context, p event.Player, rooms []string) ([]RefusedRoom, error)
}

// A RefusedRoom is a room in which a player may not be any more, and the event that tells why.
type RefusedRoom struct {
	Room    string
	Event   string
	Payload any
}

// loginOf returns what names the login of a session, also when the session gets a new id.
func loginOf(s Session) string { return cmp.Or(s.Login, s.SessionID) }

// ownerOf returns whom a connection belongs to: a user, a login and a character, and what the
// ConnectJudge added, so that a connection with other rights is not gone on with. It tells nothing
// about them.
func ownerOf(s Session, grant Admission) string {
	sum := sha256.Sum256([]byte(s.UserID + "\x00" + loginOf(s) + "\x00" + s.CharacterID + grant.summary()))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// errReturnsLimited ends a connection without an answer, so that its client comes back by itself:
// its address has presented too many connections that are none.
var errReturnsLimited = errors.New("gateway: too many connections were presented that are none")

// recoverConn has a connection go on with the one that its client presents, if it may. The error is
// errReturnsLimited.
func (g *Gateway) recoverConn(ctx context.Context, c *conn, session Session, p *event.Player) error {
	r := socketio.Recovery{Owner: ownerOf(session, c.grant)}
	if g.cfg.Rooms != nil && c.namespace.isMain() {
		r.Judge = func(ctx context.Context, socketID string, rooms []string) (refused []string, err error) {
			player := *p
			player.Conn = socketID
			all, err := g.cfg.Rooms.JudgeRooms(ctx, player, rooms)
			for _, x := range all {
				refused = append(refused, x.Room)
			}
			c.refused = all
			return refused, err
		}
	}
	admit := g.cfg.Socket.AdmitTimeout
	recoverCtx, cancel := g.beginPart(ctx, admit+min(g.cfg.Timeout, admit)) // an event of the connection before may have to end
	defer cancel()
	outcome := c.socket.Recover(recoverCtx, r)
	if outcome == "" || c.isFurther { // a connection comes back once, whatever its namespaces
		return nil
	}
	g.metrics.recoveries.WithLabelValues(outcome).Inc()
	if !slices.Contains([]string{"unknown", "owner", "offset"}, outcome) || g.cfg.ConnectPolicy == "" || !g.failedReturns.count(p.Addr) {
		return nil
	}
	v, err := g.cfg.Limiter.Spend(ctx, []string{g.cfg.ConnectPolicy}, Subject{IP: p.Addr})
	if err == nil && !v.Allowed {
		return errReturnsLimited
	}
	return nil
}

// failedReturns counts, for each address, clients that presented connections that are none.
type failedReturns struct {
	mu     sync.Mutex
	byAddr map[string]int // guarded by mu
}

const (
	returnsPerCharge = 10     // so many count as one handshake
	maxReturnAddrs   = 10_000 // that are counted at once
)

// count counts one, and reports whether that is to be charged.
func (f *failedReturns) count(addr string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byAddr == nil || len(f.byAddr) >= maxReturnAddrs {
		f.byAddr = map[string]int{}
	}
	if f.byAddr[addr]++; f.byAddr[addr] < returnsPerCharge {
		return false
	}
	delete(f.byAddr, addr)
	return true
}

// resumeConn sends a client that comes back what it missed, and tells the observers.
func (g *Gateway) resumeConn(c *conn, p event.Player) {
	for _, x := range c.refused {
		g.emitPayload(c.socket, x.Event, x.Payload)
	}
	c.refused = nil
	rooms := c.socket.Resume()
	if !c.namespace.isMain() {
		return
	}
	if o, ok := g.cfg.Observer.(RecoveryObserver); ok {
		o.Recovered(p, rooms)
	} else if g.cfg.Observer != nil {
		g.cfg.Observer.Connected(p)
	}
}

func newRecoveries() *prometheus.CounterVec {
	recoveries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gateway_recoveries_total", Help: "Clients that came back with an earlier connection, by outcome: recovered, or why they got a new one.",
	}, []string{"outcome"})
	recoveries.WithLabelValues("recovered") // it is there before the first
	return recoveries
}
