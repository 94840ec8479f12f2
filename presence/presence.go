package presence

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// ErrNotInChannel is the refusal of a question about a channel that the player is not in.
var ErrNotInChannel = fault.New("NOT_IN_CHANNEL", "Join the channel before you ask who is there.")

// gameScope is the scope of all users that are online.
const gameScope = keys.OnlineUsers

// A Broadcaster sends events to the members of a channel.
type Broadcaster interface {
	// Broadcast sends an event to all connections in the channel, on all nodes. It must not block.
	Broadcast(ctx context.Context, channel, event string, payload any) error
}

// Config tunes a Service. The zero value works.
type Config struct {
	// Lease is how long users stay present after their node has died; 0 means 10 s.
	Lease time.Duration
	// Grace is how long a user stays present after the last connection has ended; 0 means 5 s.
	Grace time.Duration
	// Crowd is the largest number of users in a channel for which single joins and leaves are
	// broadcast; 0 means 256.
	Crowd int
	// SeenFor is how long the time at which a user was last online is kept; 0 means 30 days.
	SeenFor time.Duration
	// Usernames returns the names in the profiles of users, by id. Users that it leaves out are shown
	// with the name of their session, and so are all users if Usernames is nil.
	Usernames func(ctx context.Context, userIDs []string) map[string]string
	// Report, if set, is called with each failure to update Redis or to broadcast, but only once for
	// failures in a row. It must not block.
	Report func(error)
}

func (c Config) withDefaults() Config {
	if c.Lease == 0 {
		c.Lease = 10 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Crowd == 0 {
		c.Crowd = 256
	}
	if c.SeenFor == 0 {
		c.SeenFor = 30 * 24 * time.Hour
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	return c
}

// Service is the presence of one node's users. Its methods may be called from any goroutine.
type Service struct {
	rdb         redis.UniversalClient
	broadcaster Broadcaster
	cfg         Config
	wake        redisx.Signal // wakes Run

	mu      sync.Mutex
	conns   map[string]*connection // by id; guarded by mu
	scopes  map[string]*scope      // channels and the game, by name; guarded by mu
	dirty   []*member              // members to compare with Redis; guarded by mu
	leaving []pendingLeave         // members whose grace runs, the earliest first; guarded by mu

	runState // used by the goroutine of Run only
}

// A pendingLeave is a member whose grace may be over at the given time.
type pendingLeave struct {
	member *member
	due    time.Time
}

// A connection is one connection to this node.
type connection struct {
	user   User
	scopes []string // the channels that it is in
}

// A scope is a channel, or the game as a whole, with users on this node.
type scope struct {
	name      string
	members   map[string]*member // by user id
	isIndexed bool               // Redis lists the scope in the index of this node; used by the goroutine of Run only
}

// A member is a user in a scope. Its fields are guarded by Service.mu.
type member struct {
	scope      *scope
	user       User
	conns      int       // connections to this node
	graceUntil time.Time // the end of the grace, without a connection

	isCounted bool // Redis counts the user on this node
	isStale   bool // what Redis shows of the user is not current
	isDirty   bool // in Service.dirty
	isLeaving bool // in Service.leaving
}

// New returns a Service. It does nothing until Run is called.
func New(rdb redis.UniversalClient, broadcaster Broadcaster, cfg Config) *Service {
	return &Service{
		rdb: rdb, broadcaster: broadcaster, cfg: cfg.withDefaults(), wake: redisx.NewSignal(),
		conns: map[string]*connection{}, scopes: map[string]*scope{},
	}
}

// Connected registers a new connection. The gateway calls it.
func (s *Service) Connected(p event.Player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[p.Conn] == nil {
		c := &connection{user: userOfPlayer(p)}
		s.conns[p.Conn] = c
		s.enterScope(c, gameScope)
	}
}

// CharacterChanged registers that the player of a connection has chosen another character. The
// gateway calls it.
func (s *Service) CharacterChanged(p event.Player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil {
		return
	}
	c.user = userOfPlayer(p)
	s.updateUser(c, gameScope)
	for _, name := range c.scopes {
		s.updateUser(c, name)
	}
}

// Disconnected removes a connection. Its user stays present for Config.Grace. The gateway calls it.
func (s *Service) Disconnected(p event.Player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil {
		return
	}
	delete(s.conns, p.Conn)
	s.exitScope(c, gameScope, s.cfg.Grace)
	for _, name := range c.scopes {
		s.exitScope(c, name, s.cfg.Grace)
	}
}

// Joined registers that a connection is in a channel. Repeated calls have no effect.
func (s *Service) Joined(p event.Player, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil || c.isInChannel(channel) {
		return
	}
	c.scopes = append(c.scopes, strings.Clone(channel))
	s.enterScope(c, channel)
}

// Left registers that a connection has left a channel.
func (s *Service) Left(p event.Player, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil {
		return
	}
	for i, name := range c.scopes {
		if name == channel {
			c.scopes[i] = c.scopes[len(c.scopes)-1]
			c.scopes = c.scopes[:len(c.scopes)-1]
			s.exitScope(c, channel, 0)
			return
		}
	}
}

func (c *connection) isInChannel(channel string) bool {
	for _, name := range c.scopes {
		if name == channel {
			return true
		}
	}
	return false
}

// enterScope counts a connection in a scope. It is called with mu held.
func (s *Service) enterScope(c *connection, name string) {
	sc := s.scopes[name]
	if sc == nil {
		sc = &scope{name: name, members: map[string]*member{}}
		s.scopes[sc.name] = sc
	}
	m := sc.members[c.user.UserID]
	if m == nil {
		m = &member{scope: sc}
		sc.members[c.user.UserID] = m
	}
	m.conns++
	m.graceUntil = time.Time{}
	m.setShownUser(c.user)
	s.markDirty(m)
}

// updateUser updates what is shown of the user in a scope. It is called with mu held.
func (s *Service) updateUser(c *connection, name string) {
	if sc := s.scopes[name]; sc != nil {
		if m := sc.members[c.user.UserID]; m != nil {
			m.setShownUser(c.user)
			s.markDirty(m)
		}
	}
}

func (m *member) setShownUser(u User) {
	if m.user != u {
		m.user, m.isStale = u, true
	}
}

// exitScope stops counting a connection in a scope. The user stays present for the grace. It is
// called with mu held.
func (s *Service) exitScope(c *connection, name string, grace time.Duration) {
	sc := s.scopes[name]
	if sc == nil {
		return
	}
	m := sc.members[c.user.UserID]
	if m == nil {
		return
	}
	if m.conns--; m.conns > 0 {
		return
	}
	m.graceUntil = time.Now().Add(grace)
	if grace == 0 {
		s.markDirty(m)
	} else if !m.isLeaving {
		m.isLeaving = true
		if s.leaving = append(s.leaving, pendingLeave{m, m.graceUntil}); len(s.leaving) == 1 {
			s.wake.Notify()
		}
	}
}

// markDirty makes Run compare a member with Redis. It is called with mu held.
func (s *Service) markDirty(m *member) {
	if !m.isDirty {
		m.isDirty = true
		s.dirty = append(s.dirty, m)
		s.wake.Notify()
	}
}

// A User is what other players see of a user.
type User struct {
	UserID      string `json:"userId"`
	Username    string `json:"username"`
	CharacterID string `json:"characterId"` // "" while none is chosen
}

func userOfPlayer(p event.Player) User {
	return User{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID}
}
