package adminui

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/socketio"
	"github.com/aeturnis/realtime/internal/auditlog"
)

// Name is the namespace to which the official page connects.
const Name = "/admin"

const (
	maxOperators = 16  // on one node
	maxRoomName  = 512 // bytes
)

// Connections are those of all nodes. A target is a room, or the id of a connection.
type Connections interface {
	MakeJoin(target, room string)
	MakeLeave(target, room string)
	MakeDisconnect(target string, closing bool)
}

// Config is what a UI is made of. All fields are required.
type Config struct {
	Users       *Users
	MayChange   bool // operators may change rooms and end connections
	Redis       redis.UniversalClient
	QueueBytes  int // that may wait for one page
	Connections Connections
	// IsReserved reports whether operators may not put connections into a room, or take them out.
	IsReserved func(room string) bool
	// SpendLogin charges an address for a login. wait is how long it must wait; 0 admits it.
	SpendLogin func(ctx context.Context, addr string) (wait time.Duration, err error)
	Log        *zap.Logger
}

// A UI serves the operators of one node. It is the socketio.Receiver of the namespace.
type UI struct {
	cfg   Config
	users *Users
	wake  chan struct{} // an operator has come

	mu        sync.Mutex
	operators map[*socketio.Socket]*operator // guarded by mu
	places    int                            // taken of maxOperators; guarded by mu
}

// An operator is one page.
type operator struct {
	name, addr    string
	passwordPrint string
	session       string // a new one, which the page is told; else ""
	isServed      bool   // it has all sockets; owned by Run
}

// New makes a UI. Call Run.
func New(cfg Config) *UI {
	return &UI{cfg: cfg, users: cfg.Users, wake: make(chan struct{}, 1), operators: map[*socketio.Socket]*operator{}}
}

// reserve takes a place for an operator; Disconnected gives it back.
func (u *UI) reserve() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.places >= maxOperators {
		return false
	}
	u.places++
	return true
}

// Connected tells the page its session and what it can do. See socketio.Receiver.
func (u *UI) Connected(s *socketio.Socket) {
	o := s.Data().(*operator)
	if o.session != "" {
		_ = s.Emit("session", o.session) // an error says that the page is gone
	}
	_ = s.Emit("config", u.describe(1))
	u.mu.Lock()
	u.operators[s] = o
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// Disconnected forgets the page. See socketio.Receiver.
func (u *UI) Disconnected(s *socketio.Socket, _ string) {
	if s.Data() == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.places--
	delete(u.operators, s)
}

// Instant reports that every event may wait. See socketio.Receiver.
func (u *UI) Instant([]byte) bool { return false }

// Count returns how many operators watch on this node.
func (u *UI) Count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.operators)
}

// A command is what an operator asks for.
type command struct {
	what    string // join, leave or disconnect
	target  string // a room, or the id of a connection
	room    string // of join and leave
	closing bool   // of disconnect
}

// Event carries out what an operator asks for. Everything else, and what is malformed, does
// nothing: the page waits for no answer. See socketio.Receiver.
func (u *UI) Event(s *socketio.Socket, e *socketio.Event) {
	c, ok := readCommand(string(e.Name), e.Args)
	if !ok {
		return
	}
	o := s.Data().(*operator)
	if !u.cfg.MayChange || c.room != "" && u.cfg.IsReserved(c.room) || !u.users.holds(o.name, o.passwordPrint) {
		u.cfg.Log.Warn("operator's command refused", zap.String("operator", o.name), zap.String("addr", o.addr), zap.String("what", c.what), zap.String("target", c.target), zap.String("room", c.room))
		return
	}
	act := auditlog.Act{What: "admin-ui " + c.what, Target: c.target, To: c.room}
	if !u.record(context.Background(), o, act) {
		return // what could not be found out later is not done
	}
	u.cfg.Log.Info("operator's command", zap.String("operator", o.name), zap.String("addr", o.addr), zap.String("what", c.what), zap.String("target", c.target), zap.String("room", c.room))
	switch c.what {
	case "join":
		u.cfg.Connections.MakeJoin(c.target, c.room)
	case "leave":
		u.cfg.Connections.MakeLeave(c.target, c.room)
	case "disconnect":
		u.cfg.Connections.MakeDisconnect(c.target, c.closing)
	}
}

// readCommand reads an event of the official page: join(namespace, room, target), leave(namespace,
// room, target) and _disconnect(namespace, close, target). leave without a target empties the room.
func readCommand(name string, raw []byte) (c command, ok bool) {
	if !slices.Contains([]string{"join", "leave", "_disconnect"}, name) {
		return c, false
	}
	var args []jsontext.Value
	if json.Unmarshal(slices.Concat([]byte("["), raw, []byte("]")), &args) != nil || len(args) < 2 || text(args[0]) != "/" {
		return c, false
	}
	if len(args) > 2 {
		c.target = text(args[2])
	}
	if name == "_disconnect" {
		c.what, c.closing = "disconnect", string(args[1]) == "true"
	} else {
		c.what, c.room = name, text(args[1])
	}
	if c.what == "leave" && c.target == "" && len(args) == 2 {
		c.target = c.room
	}
	isComplete := c.target != "" && (c.room != "" || c.what == "disconnect")
	return c, isComplete && len(c.target) <= maxRoomName && len(c.room) <= maxRoomName
}
