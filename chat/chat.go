// Package chat lets players talk in channels: join, leave, and say something to everybody
// who is in one. A channel is a room of the gateway; this package holds the rules about
// names, texts and who may come in, and no state of its own.
package chat

import (
	"context"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// Faults of the chat, beside those of package fault.
var (
	ErrNotInChannel    = fault.New("NOT_IN_CHANNEL", "Join the channel before you speak in it.")
	ErrTooManyChannels = fault.New("TOO_MANY_CHANNELS", "You are in as many channels as one connection may be in.")
)

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

// Membership decides who may come into a channel.
type Membership interface {
	// MayJoin is asked with a valid channel name, at every join, and at every message of a
	// caller without a socket. An error is the answer to the player: a fault as it is.
	MayJoin(ctx context.Context, p event.Player, channel string) (bool, error)
}

// Config of the chat. The zero value works.
type Config struct {
	// Membership decides who may join; nil lets everybody in everywhere.
	Membership Membership
	// MaxChannels is how many channels one connection may be in; 0 is 50.
	MaxChannels int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Service is the chat. It is safe for concurrent use.
type Service struct {
	rooms  Rooms
	member Membership
	max    int
	ids    *ids
}

// New makes a chat over the gateway's rooms.
func New(rooms Rooms, cfg Config) *Service {
	if cfg.MaxChannels == 0 {
		cfg.MaxChannels = 50
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{rooms: rooms, member: cfg.Membership, max: cfg.MaxChannels, ids: newIDs(cfg.Now)}
}

// Routes are the chat's events.
func (s *Service) Routes() []event.Route {
	return []event.Route{
		event.On("chat:join", s.Join),
		event.On("chat:leave", s.Leave),
		event.On("chat:message", s.Send).Limit("chat"),
	}
}

// Casts are what members hear.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Message]("chat:message", "Somebody said something in a channel that you are in; the sender hears it too."),
	}
}

// Channel names a channel: "global", or "zone:", "guild:", "party:" or "combat:" and an id
// of 1 to 64 letters, digits, "_" and "-".
type Channel struct {
	Channel string `json:"channel" validate:"required"`
}

// Members answers a join or a leave.
type Members struct {
	Channel string `json:"channel"`
	Members int    `json:"members"` // connections in the channel now
}

// Draft is what a player wants to say.
type Draft struct {
	Channel string `json:"channel" validate:"required"`
	// Text is 1 to 500 characters after normalisation (NFC), something of it visible, no
	// control characters.
	Text string `json:"text" validate:"required"`
	// ClientID is the sender's own name for the message, echoed to everybody.
	ClientID string `json:"clientId,omitempty" validate:"max=64"`
}

// Join puts the player's connection into a channel; joining twice is the same as once.
// Errors: INVALID, FORBIDDEN, TOO_MANY_CHANNELS.
func (s *Service) Join(ctx context.Context, p event.Player, in Channel) (Members, error) {
	room, err := place(&p, in.Channel)
	if err != nil {
		return Members{}, err
	}
	if err := s.admit(ctx, p, in.Channel); err != nil {
		return Members{}, err
	}
	if !s.rooms.In(p.Conn, room) && s.rooms.Count(p.Conn, RoomPrefix) >= s.max {
		return Members{}, ErrTooManyChannels.With("limit", s.max)
	}
	n, err := s.rooms.Join(ctx, p.Conn, room)
	if err != nil {
		return Members{}, fmt.Errorf("chat: join %s: %w", in.Channel, err)
	}
	return Members{Channel: in.Channel, Members: n}, nil
}

// Leave takes the player's connection out of a channel; leaving twice is the same as once.
// Errors: INVALID, FORBIDDEN.
func (s *Service) Leave(ctx context.Context, p event.Player, in Channel) (Members, error) {
	room, err := place(&p, in.Channel)
	if err != nil {
		return Members{}, err
	}
	n, err := s.rooms.Leave(ctx, p.Conn, room)
	if err != nil {
		return Members{}, fmt.Errorf("chat: leave %s: %w", in.Channel, err)
	}
	return Members{Channel: in.Channel, Members: n}, nil
}

// Send says something to everybody in a channel, the sender included, and answers once it
// is on its way. Errors: INVALID, NOT_IN_CHANNEL; FORBIDDEN for a caller without a socket
// that may not join.
func (s *Service) Send(ctx context.Context, p event.Player, in Draft) (Receipt, error) {
	if !ValidChannel(in.Channel) {
		return Receipt{}, errChannel
	}
	text, err := clean(in.Text)
	if err != nil {
		return Receipt{}, err
	}
	room := RoomPrefix + in.Channel
	if p.Conn == "" {
		if err := s.admit(ctx, p, in.Channel); err != nil {
			return Receipt{}, err
		}
	} else if !s.rooms.In(p.Conn, room) {
		return Receipt{}, ErrNotInChannel.With("channel", in.Channel)
	}
	id, at, err := s.ids.next()
	if err != nil {
		return Receipt{}, fmt.Errorf("chat: id: %w", err)
	}
	msg := &Message{
		ID: id, Channel: in.Channel, Text: text, At: at, ClientID: in.ClientID,
		From: Sender{UserID: p.UserID, Username: p.Username, CharacterID: p.CharacterID},
	}
	if err := s.rooms.Cast(ctx, room, "chat:message", msg); err != nil {
		return Receipt{}, fmt.Errorf("chat: message to %s: %w", in.Channel, err)
	}
	return Receipt{ID: id, At: at}, nil
}

func (s *Service) admit(ctx context.Context, p event.Player, channel string) error {
	if s.member == nil {
		return nil
	}
	ok, err := s.member.MayJoin(ctx, p, channel)
	if err != nil {
		return fmt.Errorf("chat: membership in %s: %w", channel, err)
	}
	if !ok {
		return fault.ErrForbidden.With("channel", channel)
	}
	return nil
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
