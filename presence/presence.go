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

// game is the place where everybody is who is online.
const game = keys.OnlineUsers

// A Teller tells those who are in a channel.
type Teller interface {
	// Tell sends an event to everybody in the channel, on all nodes. It does not wait.
	Tell(ctx context.Context, channel, event string, payload any) error
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
	rdb  redis.UniversalClient
	tell Teller
	cfg  Config
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	conns   map[string]*conn  // by id; guarded by mu
	places  map[string]*place // by name; guarded by mu
	dirty   []*seat           // to be compared with Redis; guarded by mu
	leaving []leaver          // whose grace runs, the first to end first; guarded by mu

	run // owned by Run
}

// A leaver is looked at when its grace may be over.
type leaver struct {
	seat *seat
	due  time.Time
}

// A conn is one connection here.
type conn struct {
	user   User
	places []string // besides the game
}

// A place is a channel, or the game, with users on this node.
type place struct {
	name    string
	seats   map[string]*seat // by user id
	indexed bool             // Redis knows that this node has users here; owned by Run
}

// A seat is a user in a place. Its fields are guarded by Service.mu.
type seat struct {
	place *place
	user  User
	conns int       // on this node
	until time.Time // present without a connection

	told    bool // Redis counts this node
	stale   bool // Redis has other words about the user
	listed  bool // in dirty
	waiting bool // in leaving
}

// New makes presence. Run it.
func New(rdb redis.UniversalClient, tell Teller, cfg Config) *Service {
	return &Service{
		rdb: rdb, tell: tell, cfg: cfg.withDefaults(), wake: make(chan struct{}, 1),
		conns: map[string]*conn{}, places: map[string]*place{},
	}
}

// Came, Changed and Went are what a gateway witnesses.

// Came takes note of a new connection.
func (s *Service) Came(p event.Player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[p.Conn] == nil {
		c := &conn{user: userOf(p)}
		s.conns[p.Conn] = c
		s.sit(c, game)
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
	s.describe(c, game)
	for _, name := range c.places {
		s.describe(c, name)
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
	s.rise(c, game, s.cfg.Grace)
	for _, name := range c.places {
		s.rise(c, name, s.cfg.Grace)
	}
}

// Joined takes note that a connection is in a channel, once however often it is told.
func (s *Service) Joined(p event.Player, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil || c.in(channel) {
		return
	}
	c.places = append(c.places, strings.Clone(channel))
	s.sit(c, channel)
}

// Left takes note that a connection is not in a channel any more.
func (s *Service) Left(p event.Player, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[p.Conn]
	if c == nil {
		return
	}
	for i, name := range c.places {
		if name == channel {
			c.places[i] = c.places[len(c.places)-1]
			c.places = c.places[:len(c.places)-1]
			s.rise(c, channel, 0)
			return
		}
	}
}

func (c *conn) in(channel string) bool {
	for _, name := range c.places {
		if name == channel {
			return true
		}
	}
	return false
}

// sit counts a connection in a place. mu is held.
func (s *Service) sit(c *conn, name string) {
	p := s.places[name]
	if p == nil {
		p = &place{name: name, seats: map[string]*seat{}}
		s.places[p.name] = p
	}
	x := p.seats[c.user.UserID]
	if x == nil {
		x = &seat{place: p}
		p.seats[c.user.UserID] = x
	}
	x.conns++
	x.until = time.Time{}
	x.say(c.user)
	s.look(x)
}

// describe says who sits there. mu is held.
func (s *Service) describe(c *conn, name string) {
	if p := s.places[name]; p != nil {
		if x := p.seats[c.user.UserID]; x != nil {
			x.say(c.user)
			s.look(x)
		}
	}
}

func (x *seat) say(u User) {
	if x.user != u {
		x.user, x.stale = u, true
	}
}

// rise counts a connection out of a place; its user stays for a grace. mu is held.
func (s *Service) rise(c *conn, name string, grace time.Duration) {
	p := s.places[name]
	if p == nil {
		return
	}
	x := p.seats[c.user.UserID]
	if x == nil {
		return
	}
	if x.conns--; x.conns > 0 {
		return
	}
	x.until = time.Now().Add(grace)
	if grace == 0 {
		s.look(x)
	} else if !x.waiting {
		x.waiting = true
		if s.leaving = append(s.leaving, leaver{x, x.until}); len(s.leaving) == 1 {
			s.stir()
		}
	}
}

// look makes Run compare a seat with Redis. mu is held.
func (s *Service) look(x *seat) {
	if !x.listed {
		x.listed = true
		s.dirty = append(s.dirty, x)
		s.stir()
	}
}

func (s *Service) stir() {
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
