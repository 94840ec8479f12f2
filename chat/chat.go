// Package chat lets players talk, in channels and to single users. A channel is a room of the
// gateway. This package holds the rules for channel names, texts, who may join and who may speak,
// and keeps the latest messages of each channel in Redis.
//
// A message without an idempotency key in a channel that is not slow waits for nothing: it is sent
// to the room, and written to the history in the background, in order. For a message with a key, or
// in a slow channel, one script decides whether it may be said, writes it to the history and
// records the answer, in one round trip. Every node has a copy of the sanctions and the slow
// channels, so checking them asks nobody.
//
// While Redis can not be used, members on the same node still hear each other, retries and slow
// channels are decided by what this node remembers, and chat:history is UNAVAILABLE.
//
// In this package:
//
//   - chat.go has the Service with its configuration, joining and leaving.
//   - send.go, whisper.go and history.go serve the players, moderate.go the moderators.
//   - ignore.go keeps whom each user ignores.
//   - journal.go writes messages to Redis; slowsenders.go stands in for it during an outage.
//   - rules.go keeps the node's copy of the sanctions and slow channels.
//   - text.go checks texts and channel names; membership.go decides who may join a guild's channel,
//     and rejudge.go who may stay.
package chat

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/castlog"
	"github.com/aeturnis/realtime/keys"
)

// The faults of the chat, in addition to those of package fault.
var (
	ErrNotInChannel    = fault.New("NOT_IN_CHANNEL", "Join the channel before you speak in it.")
	ErrTooManyChannels = fault.New("TOO_MANY_CHANNELS", "You are in as many channels as one connection may be in.")
	ErrMuted           = fault.New("CHAT_MUTED", "You have been muted.")
	ErrBanned          = fault.New("CHAT_BANNED", "You have been banned from the chat.")
)

// feature is the name of the chat in the fault UNAVAILABLE.
const feature = "chat"

// RoomPrefix is the prefix of the name of a channel's room; the channel's name follows.
const RoomPrefix = "chat:"

// Rooms is what the chat needs of the gateway's rooms: sets of connections that receive the same
// events.
type Rooms interface {
	// Join puts a connection into a room and returns how many are in it now. Joining twice is the
	// same as joining once.
	Join(ctx context.Context, conn, room string) (members int, err error)
	// Leave takes a connection out of a room; leaving twice is the same as leaving once.
	Leave(ctx context.Context, conn, room string) (members int, err error)
	// In reports whether the connection is in the room.
	In(conn, room string) bool
	// Count returns the number of the connection's rooms whose names begin with prefix.
	Count(conn, prefix string) int
	// Cast sends an event to everybody in the room. A payload that is an event.Appender is encoded
	// without reflection. While Redis can not be used, Cast reaches this node's members only and
	// returns no error.
	Cast(ctx context.Context, room, event string, payload any) error
}

// Users is what the chat needs to know about the connections of a user.
type Users interface {
	// CastUser sends an event to all devices of a user, on all nodes, and returns how many received
	// it. whole is false when a node did not answer how many.
	CastUser(ctx context.Context, userID, event string, payload any) (reached int, whole bool, err error)
	// Here lists a user's connections on this node.
	Here(userID string) []event.Player
	// RoomsOf lists the rooms of a connection whose names begin with prefix.
	RoomsOf(conn, prefix string) []string
	// RoomsHere lists the rooms with members on this node whose names begin with prefix, and
	// MembersHere the players of this node's connections in a room.
	RoomsHere(prefix string) []string
	MembersHere(room string) []event.Player
	// Fresh returns the player of a connection with the roles that its session has now, false when
	// the connection has ended. Emit sends an event to one connection.
	Fresh(conn string) (event.Player, bool)
	Emit(conn, event string, payload any)
}

// Gateway is all that the chat needs of the gateway.
type Gateway interface {
	Rooms
	Users
}

// A Log casts events together with what is written to a history; see gateway.Gateway. While Redis
// can not be used it reaches this node's members, and sends the rest when Redis is back.
type Log interface {
	// HasLog reports whether the other methods may be called.
	HasLog() bool
	// IsLogAway reports whether Redis does not confirm what is cast.
	IsLogAway() bool
	CastAndWait(ctx context.Context, room, event string, payload any, history *castlog.History) (castlog.Outcome, error)
	CastUserAndWait(ctx context.Context, userID, event string, payload any) (reached int, isLocal bool, err error)
}

// Membership decides who may join a channel.
type Membership interface {
	// MayJoin is called with a valid channel name at every join, and at every message of a caller
	// without a connection. An error becomes the answer to the player: a fault as it is, any other
	// as INTERNAL.
	MayJoin(ctx context.Context, p event.Player, channel string) (bool, error)
}

// A StandingMembership is a Membership that says of many members at once whether they may stay. For
// one that is not, the chat calls MayJoin for each member of each channel.
type StandingMembership interface {
	Membership
	// IsOpen reports whether everybody may be in a channel; then nobody is asked about.
	IsOpen(channel string) bool
	// MayStay says of each player whether the player may still be in the channel. It is called every
	// few seconds for the players who are in it on this node. After an error they stay.
	MayStay(ctx context.Context, channel string, players []event.Player) ([]bool, error)
}

// A ChannelObserver learns who is in which channel on this node. Its methods must not block. They
// are not called for a connection that ends, although it leaves its channels.
type ChannelObserver interface {
	// Joined is called after a join, also when the connection was in the channel before.
	Joined(p event.Player, channel string)
	// Left is called after a leave, also when the connection was not in the channel.
	Left(p event.Player, channel string)
}

// Config configures a Service. The zero value works.
type Config struct {
	// Membership decides who may join which channel; nil lets everybody join every channel.
	Membership Membership
	// Log casts messages so that everybody hears what was acknowledged; nil, or one without HasLog,
	// casts and writes the history apart.
	Log Log
	// Observer learns of joins and leaves; may be nil.
	Observer ChannelObserver
	// Moderators are the roles whose players may mute, ban, delete and slow down; nil means
	// "moderator" and "admin".
	Moderators []string
	// Admins are the roles whose players only players with one of these roles may mute and ban; nil
	// means "admin".
	Admins []string
	// RolesOf returns the roles of a user's sessions, as far as they are known. They say who is an
	// admin, both of who sanctions and of who is sanctioned. nil knows of none, and protects nobody.
	RolesOf func(ctx context.Context, userID string) ([]string, error)
	// MaxChannels is how many channels one connection may be in; 0 means 50.
	MaxChannels int
	// HistoryLength is about how many messages of a channel Redis keeps; 0 means 1,000. A negative
	// number keeps none: then chat:history is empty, and a message costs Redis half the bytes.
	HistoryLength int
	// HistoryAge is how long a message is kept; 0 means 7 days.
	HistoryAge time.Duration
	// RememberFor is for how long a message that is repeated with its idempotency key is recognized;
	// 0 means 2 minutes.
	RememberFor time.Duration
	// RedisTimeout is how long a message waits for Redis before it is sent without asking Redis; 0
	// means 250 ms.
	RedisTimeout time.Duration
	// Audit receives what moderators do; may be nil. It must not block.
	Audit func(ModeratorAction)
	// Reported receives the messages that players report; may be nil. An error refuses the report.
	Reported func(ctx context.Context, r Report) error
	// Report receives the errors of work in the background, which no player gets as an answer; may be
	// nil. It must not block.
	Report func(error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Moderators == nil {
		c.Moderators = []string{"moderator", "admin"}
	}
	if c.Admins == nil {
		c.Admins = []string{"admin"}
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
	if c.RememberFor == 0 {
		c.RememberFor = 2 * time.Minute
	}
	if c.RedisTimeout == 0 {
		c.RedisTimeout = 250 * time.Millisecond
	}
	if c.Audit == nil {
		c.Audit = func(ModeratorAction) {}
	}
	if c.Reported == nil {
		c.Reported = func(context.Context, Report) error { return nil }
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// A Service serves the chat. It is safe for concurrent use.
type Service struct {
	gateway     Gateway
	cfg         Config
	ids         *idSource
	journal     *journal
	rules       *rules
	ignores     *ignoreLists
	slowSenders *slowSenders
}

// New returns a Service that keeps messages and rules in rdb and reaches players through gateway.
// The caller must Run it, so that the rules that moderators set on other nodes hold here, and Close
// it, so that all messages are written to the history. With rdb nil there is no history, and there
// are no sanctions.
func New(rdb redis.UniversalClient, gateway Gateway, cfg Config) *Service {
	cfg = cfg.withDefaults()
	return &Service{
		gateway: gateway, cfg: cfg, ids: newIDSource(cfg.Now),
		journal: newJournal(rdb, cfg), rules: &rules{rdb: rdb, now: cfg.Now, report: cfg.Report}, slowSenders: newSlowSenders(cfg.Now),
		ignores: &ignoreLists{rdb: rdb, limit: cfg.RedisTimeout, now: cfg.Now},
	}
}

// HistoryStats says what this node has not written to the histories. Where messages are logged
// (Config.Log), the log writes them, and both are 0.
type HistoryStats struct {
	WaitingBytes int   // of messages that wait for Redis
	Unwritten    int64 // messages that may be missing, because Redis did not take them
}

// HistoryStats returns what this node has not written.
func (s *Service) HistoryStats() HistoryStats { return s.journal.stats() }

// Close waits until all messages are written to the history, or writing them has failed.
func (s *Service) Close() { s.journal.closeAndDrain() }

// Routes returns the events that clients may send.
func (s *Service) Routes() []event.Route {
	spoken := []event.OnceOption{event.OldKeyName("clientId"), event.KeepFor(s.cfg.RememberFor), event.WorksWithoutRedis()}
	message := append(slices.Clip(spoken), event.Beside(historyOfDraft), event.CanRepeat(), event.Passing(ErrNotInChannel))
	mod := func(r event.Route, options ...event.OnceOption) event.Route {
		return r.Role(s.cfg.Moderators...).Limit("moderation").Once(append(options, event.CanRepeat())...)
	}
	return []event.Route{
		event.On("chat:join", s.Join).Limit("rooms"),
		event.On("chat:leave", s.Leave).Limit("rooms"),
		event.On("chat:message", s.Send).Limit("chat").Once(message...),
		event.On("chat:whisper", s.Whisper).Limit("chat").Once(spoken...),
		event.On("chat:history", s.History).Limit("reads"),
		event.On("chat:report", s.Report).Limit("chat"),
		event.On("user:ignore", s.Ignore).Limit("rooms"),
		event.On("user:unignore", s.Unignore).Limit("rooms"),
		event.On("user:ignored", s.ListIgnored).Limit("reads"),
		mod(event.On("chat:mute", s.Mute), event.Beside(rulesOf[SanctionRequest])),
		mod(event.On("chat:unmute", s.Unmute), event.Beside(rulesOf[LiftRequest])),
		mod(event.On("chat:ban", s.Ban), event.Beside(rulesOf[SanctionRequest])),
		mod(event.On("chat:unban", s.Unban), event.Beside(rulesOf[LiftRequest])),
		mod(event.On("chat:delete", s.Delete), event.Beside(historyOfDeletion)),
		mod(event.On("chat:slow", s.SetSlowMode), event.Beside(rulesOf[SlowModeRequest])),
	}
}

// The records of the chat's events lie beside what their scripts write.

func historyOfDraft(_ event.Player, in Draft) string { return historyKey(in.Channel) }

func historyOfDeletion(_ event.Player, in DeleteRequest) string { return historyKey(in.Channel) }

func rulesOf[In any](event.Player, In) string { return keys.ChatRules }

// historyKey returns the key of a channel's history, "" when there is no such channel.
func historyKey(channel string) string {
	if !ValidChannel(channel) {
		return ""
	}
	return keys.ChatHistory(channel)
}

// Casts returns the events that the server sends.
func (s *Service) Casts() []event.Cast {
	return []event.Cast{
		event.Sends[Message]("chat:message", "Somebody wrote in a channel that you are in. The sender receives it too."),
		event.Sends[WhisperMessage]("chat:whisper", "Somebody wrote to you alone. All your devices receive it."),
		event.Sends[Removed]("chat:left", "You may not be in a channel any more, and were taken out of it: code says why."),
		event.Sends[Deleted]("chat:deleted", "A moderator deleted a message in a channel that you are in."),
		event.Sends[Sanction]("chat:sanction", "You were muted or banned. When the sanction is lifted, you receive it again with until 0."),
		event.Sends[SlowMode]("chat:slowed", "Slow mode was set in a channel that you are in. everyMs is 0 when it was switched off."),
	}
}

// Channel names a channel: "global", or "zone:", "guild:", "party:" or "combat:" followed by an id
// of 1 to 64 letters, digits, "_" and "-".
type Channel struct {
	Channel string `json:"channel" validate:"required"`
}

// Occupancy answers chat:join and chat:leave.
type Occupancy struct {
	Channel string `json:"channel"`
	Members int    `json:"members"` // connections in the channel now, on this node only
}

// Join puts the caller's connection into a channel. Joining twice is the same as joining once.
// Errors: INVALID, FORBIDDEN, CHAT_BANNED, TOO_MANY_CHANNELS.
func (s *Service) Join(ctx context.Context, p event.Player, in Channel) (Occupancy, error) {
	room, err := roomForConnection(&p, in.Channel)
	if err != nil {
		return Occupancy{}, err
	}
	if err := s.checkMayJoin(ctx, p, in.Channel); err != nil {
		return Occupancy{}, err
	}
	if !s.gateway.In(p.Conn, room) && s.gateway.Count(p.Conn, RoomPrefix) >= s.cfg.MaxChannels {
		return Occupancy{}, ErrTooManyChannels.With("limit", s.cfg.MaxChannels)
	}
	n, err := s.gateway.Join(ctx, p.Conn, room)
	if err != nil {
		return Occupancy{}, fmt.Errorf("chat: join %s: %w", in.Channel, err)
	}
	if s.cfg.Observer != nil {
		s.cfg.Observer.Joined(p, in.Channel)
	}
	return Occupancy{Channel: in.Channel, Members: n}, nil
}

// Leave takes the caller's connection out of a channel. Leaving twice is the same as leaving once.
// Errors: INVALID, FORBIDDEN.
func (s *Service) Leave(ctx context.Context, p event.Player, in Channel) (Occupancy, error) {
	if _, err := roomForConnection(&p, in.Channel); err != nil {
		return Occupancy{}, err
	}
	n, err := s.leaveChannel(ctx, p, in.Channel)
	return Occupancy{Channel: in.Channel, Members: n}, err
}

// leaveChannel takes a connection out of a channel and informs the observer.
func (s *Service) leaveChannel(ctx context.Context, p event.Player, channel string) (members int, err error) {
	n, err := s.gateway.Leave(ctx, p.Conn, RoomPrefix+channel)
	if err != nil {
		return 0, fmt.Errorf("chat: leave %s: %w", channel, err)
	}
	if s.cfg.Observer != nil {
		s.cfg.Observer.Left(p, channel)
	}
	return n, nil
}

// checkMayJoin returns why a player may not be in a channel, or nil.
func (s *Service) checkMayJoin(ctx context.Context, p event.Player, channel string) error {
	if err := s.rules.checkBanned(ctx, p.UserID, channel); err != nil {
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

// roomOfMember returns the room of a channel that the player is in. A player without a connection
// can be in no room; instead of that, they must be allowed to join.
func (s *Service) roomOfMember(ctx context.Context, p event.Player, channel string) (room string, err error) {
	if !ValidChannel(channel) {
		return "", errChannel
	}
	room = RoomPrefix + channel
	if p.Conn == "" {
		return room, s.checkMayJoin(ctx, p, channel)
	}
	if !s.gateway.In(p.Conn, room) {
		return "", ErrNotInChannel.With("channel", channel)
	}
	return room, nil
}

// roomForConnection returns the room of a channel, for a player with a connection that can join it.
func roomForConnection(p *event.Player, channel string) (string, error) {
	if !ValidChannel(channel) {
		return "", errChannel
	}
	if p.Conn == "" {
		return "", fault.ErrForbidden.With("reason", "only a connected client can be in a channel")
	}
	return RoomPrefix + channel, nil
}
