// Package chat lets players talk: in channels, and one to another. A channel is a room of
// the gateway; this package holds the rules about names, texts, who may come in and who may
// speak, and keeps in Redis what was said lately.
//
// What a message costs: nothing is waited for when it has no clientId and its channel is not
// slow; it is cast, and written to the history behind the player's back, in order. With a
// clientId, or in a slow channel, one script decides in one round trip, on whatever node,
// and writes the history too. Who is muted or banned is known to every node: nobody is asked.
//
// While Redis is away, members on this node hear each other, retries and slow channels are
// judged by what this node remembers, and the history is UNAVAILABLE.
package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// Faults of the chat, beside those of package fault.
var (
	ErrNotInChannel    = fault.New("NOT_IN_CHANNEL", "Join the channel before you speak in it.")
	ErrTooManyChannels = fault.New("TOO_MANY_CHANNELS", "You are in as many channels as one connection may be in.")
	ErrMuted           = fault.New("CHAT_MUTED", "You have been muted.")
	ErrBanned          = fault.New("CHAT_BANNED", "You have been banned from the chat.")
)

// feature is the chat's name in UNAVAILABLE.
const feature = "chat"

// RoomPrefix comes before a channel's name in the name of its room.
const RoomPrefix = "chat:"

// Rooms is what the gateway offers: sets of connections that hear the same things.
type Rooms interface {
	// Join puts a connection into a room, once however often it is called, and tells how
	// many are in it now.
	Join(ctx context.Context, conn, room string) (members int, err error)
	// Leave takes it out again; leaving twice is the same as once.
	Leave(ctx context.Context, conn, room string) (members int, err error)
	// In tells whether the connection is in the room.
	In(conn, room string) bool
	// Count tells in how many rooms whose names begin with prefix the connection is.
	Count(conn, prefix string) int
	// Cast sends an event to everybody in the room. A payload that is an event.Appender
	// is encoded without reflection. It reaches this node's members even while Redis is
	// away, and that is not an error.
	Cast(ctx context.Context, room, event string, payload any) error
}

// Users is what the gateway knows of a user's connections.
type Users interface {
	// CastUser sends an event to all devices of a user, on all nodes, and tells how many
	// took it; whole is false when a node did not say how many.
	CastUser(ctx context.Context, userID, event string, payload any) (reached int, whole bool, err error)
	// Here lists a user's connections on this node.
	Here(userID string) []event.Player
	// RoomsOf lists the rooms of a connection whose names begin with prefix.
	RoomsOf(conn, prefix string) []string
}

// Gateway is both.
type Gateway interface {
	Rooms
	Users
}

// Membership decides who may come into a channel.
type Membership interface {
	// MayJoin is asked with a valid channel name, at every join, and at every message of a
	// caller without a socket. An error is the answer to the player: a fault as it is.
	MayJoin(ctx context.Context, p event.Player, channel string) (bool, error)
}

// A Watcher is told who is in which channel on this node. Its methods must not wait. A
// connection that ends leaves its channels without a word.
type Watcher interface {
	Joined(p event.Player, channel string) // also when it is in the channel already
	Left(p event.Player, channel string)   // also when it was not in the channel
}

// Config of the chat. The zero value works.
type Config struct {
	// Membership decides who may join; nil lets everybody in everywhere.
	Membership Membership
	// Watcher is told of joins and leaves; nil tells nobody.
	Watcher Watcher
	// Moderators are the roles that may mute, ban and delete; nil is "moderator" and "admin".
	Moderators []string
	// MaxChannels is how many channels one connection may be in; 0 is 50.
	MaxChannels int
	// HistoryLength is about how many messages of a channel are kept; 0 is 1,000, less than 0
	// keeps none: then chat:history is empty, and a message costs Redis half the bytes.
	HistoryLength int
	// HistoryAge is how old they may become; 0 is seven days.
	HistoryAge time.Duration
	// Remember is how long a clientId is known; 0 is two minutes.
	Remember time.Duration
	// Patience is how long a message waits for Redis before it is said without; 0 is 250 ms.
	Patience time.Duration
	// Audit is told what moderators did; nil tells nobody. It must not wait.
	Audit func(Act)
	// Report is told what could not be written or read behind the players' backs; nil tells
	// nobody. It must not wait.
	Report func(error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Moderators == nil {
		c.Moderators = []string{"moderator", "admin"}
	}
	if c.MaxChannels == 0 {
		c.MaxChannels = 50
	}
	if c.HistoryLength == 0 {
		c.HistoryLength = 1000
	}
	if c.HistoryAge == 0 {
		c.HistoryAge = 7 * 24 * time.Hour
	}
	if c.Remember == 0 {
		c.Remember = 2 * time.Minute
	}
	if c.Patience == 0 {
		c.Patience = 250 * time.Millisecond
	}
	if c.Audit == nil {
		c.Audit = func(Act) {}
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Service is the chat. It is safe for concurrent use.
type Service struct {
	gateway Gateway
	cfg     Config
	ids     *ids
	journal *journal
	rules   *rules
	recent  *recent
}

// New makes a chat over a Redis and the gateway. Run it, so that it hears what moderators
// do on other nodes, and Close it, so that all is written.
func New(rdb redis.UniversalClient, gateway Gateway, cfg Config) *Service {
	cfg = cfg.withDefaults()
	return &Service{
		gateway: gateway, cfg: cfg, ids: newIDs(cfg.Now),
		journal: newJournal(rdb, cfg), rules: &rules{rdb: rdb, now: cfg.Now}, recent: newRecent(cfg.Remember, cfg.Now),
	}
}

// Close waits until what was said is written, or can not be.
func (s *Service) Close() { s.journal.close() }

// Routes are the chat's events.
func (s *Service) Routes() []event.Route {
	mod := func(r event.Route) event.Route { return r.Role(s.cfg.Moderators...) }
	return []event.Route{
		event.On("chat:join", s.Join),
		event.On("chat:leave", s.Leave),
		event.On("chat:message", s.Send).Limit("chat"),
		event.On("chat:whisper", s.Whisper).Limit("chat"),
		event.On("chat:history", s.History),
		mod(event.On("chat:mute", s.Mute)),
		mod(event.On("chat:unmute", s.Unmute)),
		mod(event.On("chat:ban", s.Ban)),
		mod(event.On("chat:unban", s.Unban)),
		mod(event.On("chat:delete", s.Delete)),
		mod(event.On("chat:slow", s.Slow)),
	}
}

// Casts are what members hear.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Message]("chat:message", "Somebody said something in a channel that you are in; the sender hears it too."),
		event.Sends[Whispered]("chat:whisper", "Somebody said something to you alone; each of your devices hears it."),
		event.Sends[Deleted]("chat:deleted", "A moderator took a message back, in a channel that you are in."),
		event.Sends[Sanction]("chat:sanction", "You were muted or banned, or are no more: then until is 0."),
		event.Sends[Slowness]("chat:slowed", "A channel that you are in became slow, or is no more: then everyMs is 0."),
	}
}

// Channel names a channel: "global", or "zone:", "guild:", "party:" or "combat:" and an id
// of 1 to 64 letters, digits, "_" and "-".
type Channel struct {
	Channel string `json:"channel" validate:"required"`
}

// Occupancy answers a join or a leave.
type Occupancy struct {
	Channel string `json:"channel"`
	Members int    `json:"members"` // connections in the channel now, on this node
}

// Join puts the player's connection into a channel; joining twice is the same as once.
// Errors: INVALID, FORBIDDEN, CHAT_BANNED, TOO_MANY_CHANNELS.
func (s *Service) Join(ctx context.Context, p event.Player, in Channel) (Occupancy, error) {
	room, err := place(&p, in.Channel)
	if err != nil {
		return Occupancy{}, err
	}
	if err := s.admit(ctx, p, in.Channel); err != nil {
		return Occupancy{}, err
	}
	if !s.gateway.In(p.Conn, room) && s.gateway.Count(p.Conn, RoomPrefix) >= s.cfg.MaxChannels {
		return Occupancy{}, ErrTooManyChannels.With("limit", s.cfg.MaxChannels)
	}
	n, err := s.gateway.Join(ctx, p.Conn, room)
	if err != nil {
		return Occupancy{}, fmt.Errorf("chat: join %s: %w", in.Channel, err)
	}
	if s.cfg.Watcher != nil {
		s.cfg.Watcher.Joined(p, in.Channel)
	}
	return Occupancy{Channel: in.Channel, Members: n}, nil
}

// Leave takes the player's connection out of a channel; leaving twice is the same as once.
// Errors: INVALID, FORBIDDEN.
func (s *Service) Leave(ctx context.Context, p event.Player, in Channel) (Occupancy, error) {
	if _, err := place(&p, in.Channel); err != nil {
		return Occupancy{}, err
	}
	n, err := s.leave(ctx, p, in.Channel)
	return Occupancy{Channel: in.Channel, Members: n}, err
}

func (s *Service) leave(ctx context.Context, p event.Player, channel string) (members int, err error) {
	n, err := s.gateway.Leave(ctx, p.Conn, RoomPrefix+channel)
	if err != nil {
		return 0, fmt.Errorf("chat: leave %s: %w", channel, err)
	}
	if s.cfg.Watcher != nil {
		s.cfg.Watcher.Left(p, channel)
	}
	return n, nil
}

// admit judges whether a player may be in a channel.
func (s *Service) admit(ctx context.Context, p event.Player, channel string) error {
	if err := s.rules.banned(ctx, p.UserID, channel); err != nil {
		return err
	}
	if s.cfg.Membership == nil {
		return nil
	}
	ok, err := s.cfg.Membership.MayJoin(ctx, p, channel)
	if err != nil {
		return fmt.Errorf("chat: membership in %s: %w", channel, err)
	}
	if !ok {
		return fault.ErrForbidden.With("channel", channel)
	}
	return nil
}

// present judges whether a player is in a channel, or may be, when it has no connection
// that could, and gives the channel's room.
func (s *Service) present(ctx context.Context, p event.Player, channel string) (room string, err error) {
	if !ValidChannel(channel) {
		return "", errChannel
	}
	room = RoomPrefix + channel
	if p.Conn == "" {
		return room, s.admit(ctx, p, channel)
	}
	if !s.gateway.In(p.Conn, room) {
		return "", ErrNotInChannel.With("channel", channel)
	}
	return room, nil
}

// place is the room of a channel, for a player who can stand in it.
func place(p *event.Player, channel string) (string, error) {
	if !ValidChannel(channel) {
		return "", errChannel
	}
	if p.Conn == "" {
		return "", fault.ErrForbidden.With("reason", "only a connected client can be in a channel")
	}
	return RoomPrefix + channel, nil
}
