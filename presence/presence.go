package presence

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// ErrNotInChannel refuses to tell who is in a channel to those who are not.
var ErrNotInChannel = fault.New("NOT_IN_CHANNEL", "Join the channel before you ask who is there.")

// gameScope is the place where everybody is who is online.
const gameScope = keys.OnlineUsers

// A Broadcaster tells those who are in a channel.
type Broadcaster interface {
	// Tell sends an event to everybody in the channel, on all nodes. It does not wait.
	Broadcast(ctx context.Context, channel, event string, payload any) error
}

// Config of presence. The zero value works.
type Config struct {
	// Lease is how long users stay present when their node died; 0 is 10 s.
	Lease time.Duration
	// Grace is how long a user stays present whose last connection ended; 0 is 5 s.
	Grace time.Duration
	// Crowd is how many users a channel may have for single joins and leaves to be told
	// there; 0 is 256.
	Crowd int
	// SeenFor is how long it is known when a user was last seen; 0 is 30 days.
	SeenFor time.Duration
	// Usernames tells the names of users, by id, as their profiles have them; those it leaves
	// out, or all when it is nil, are shown as their sessions name them.
	Usernames func(ctx context.Context, userIDs []string) map[string]string
	// Report is told what could not be told to Redis or to players; nil tells nobody. It
	// must not wait.
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

// Service is presence on one node. It is safe for concurrent use.
type Service struct {
	rdb         redis.UniversalClient
	broadcaster Broadcaster
	cfg         Config
	wake        chan struct{} // capacity 1

	mu      sync.Mutex
	conns   map[string]*connection // by id; guarded by mu
	scopes  map[string]*scope      // by name; guarded by mu
	dirty   []*member              // to be compared with Redis; guarded by mu
	leaving []pendingLeave         // whose grace runs, the first to end first; guarded by mu

	runState // owned by Run
}

// A pendingLeave is looked at when its grace may be over.
type pendingLeave struct {
	member *member
	due    time.Time
}

// A connection is one connection here.
type connection struct {
	user   User
	scopes []string // besides the game
}

// A scope is a channel, or the game, with users on this node.
type scope struct {
	name      string
	members   map[string]*member // by user id
	isIndexed bool               // Redis knows that this node has users here; owned by Run
}

// A member is a user in a place. Its fields are guarded by Service.mu.
type member struct {
	scope      *scope
	user       User
	conns      int       // on this node
	graceUntil time.Time // present without a connection

	isCounted bool // Redis counts this node
	isStale   bool // Redis has other words about the user
	isDirty   bool // in dirty
	isLeaving bool // in leaving
}

// New makes presence. Run it.
func New(rdb redis.UniversalClient, tell Broadcaster, cfg Config) *Service {
	return &Service{
		rdb: rdb, broadcaster: tell, cfg: cfg.withDefaults(), wake: make(chan struct{}, 1),
		conns: map[string]*connection{}, scopes: map[string]*scope{},
	}
}

// Came, Changed and Went are what a gateway witnesses.

// Came takes note of a new connection.
func (s *Service) Came(p event.Player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[p.Conn] == nil {
		c := &connection{user: userOf(p)}
		s.conns[p.Conn] = c
		s.enterScope(c, gameScope)
	}
}

// Changed takes note of another character.
func (s *Service) Changed(p event.Player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil {
		return
	}
	c.user = userOf(p)
	s.updateUser(c, gameScope)
	for _, name := range c.scopes {
		s.updateUser(c, name)
	}
}

// Went forgets a connection. Its user stays present for a while.
func (s *Service) Went(p event.Player) {
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

// Joined takes note that a connection is in a channel, once however often it is told.
func (s *Service) Joined(p event.Player, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil || c.isIn(channel) {
		return
	}
	c.scopes = append(c.scopes, strings.Clone(channel))
	s.enterScope(c, channel)
}

// Left takes note that a connection is not in a channel any more.
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

func (c *connection) isIn(channel string) bool {
	for _, name := range c.scopes {
		if name == channel {
			return true
		}
	}
	return false
}

// enterScope counts a connection in a place. mu is held.
func (s *Service) enterScope(c *connection, name string) {
	p := s.scopes[name]
	if p == nil {
		p = &scope{name: name, members: map[string]*member{}}
		s.scopes[p.name] = p
	}
	x := p.members[c.user.UserID]
	if x == nil {
		x = &member{scope: p}
		p.members[c.user.UserID] = x
	}
	x.conns++
	x.graceUntil = time.Time{}
	x.setUser(c.user)
	s.markDirty(x)
}

// updateUser says who sits there. mu is held.
func (s *Service) updateUser(c *connection, name string) {
	if p := s.scopes[name]; p != nil {
		if x := p.members[c.user.UserID]; x != nil {
			x.setUser(c.user)
			s.markDirty(x)
		}
	}
}

func (x *member) setUser(u User) {
	if x.user != u {
		x.user, x.isStale = u, true
	}
}

// exitScope counts a connection out of a place; its user stays for a grace. mu is held.
func (s *Service) exitScope(c *connection, name string, grace time.Duration) {
	p := s.scopes[name]
	if p == nil {
		return
	}
	x := p.members[c.user.UserID]
	if x == nil {
		return
	}
	if x.conns--; x.conns > 0 {
		return
	}
	x.graceUntil = time.Now().Add(grace)
	if grace == 0 {
		s.markDirty(x)
	} else if !x.isLeaving {
		x.isLeaving = true
		if s.leaving = append(s.leaving, pendingLeave{x, x.graceUntil}); len(s.leaving) == 1 {
			s.wakeRun()
		}
	}
}

// markDirty makes Run compare a seat with Redis. mu is held.
func (s *Service) markDirty(x *member) {
	if !x.isDirty {
		x.isDirty = true
		s.dirty = append(s.dirty, x)
		s.wakeRun()
	}
}

func (s *Service) wakeRun() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// A User is what others are shown of a user.
type User struct {
	UserID      string `json:"userId"`
	Username    string `json:"username"`
	CharacterID string `json:"characterId"` // "" while none is chosen
}

func userOf(p event.Player) User {
	return User{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID}
}
