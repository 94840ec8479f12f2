package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/redisx"
)

// errNoSanction answers chat:unmute and chat:unban when there is nothing to lift.
var errNoSanction = fault.New("NOT_FOUND", "There is no such sanction.")

// A ModeratorAction is what a moderator did, for an audit log. It holds no text that a player
// wrote.
type ModeratorAction struct {
	Event   string        // the event's name: "chat:mute", …
	By      string        // the moderator's user id
	Session string        // the moderator's session id, which is a secret
	UserID  string        // the sanctioned user, or ""
	Channel string        // "" means all channels
	Message string        // the id of the deleted message, or ""
	Until   time.Time     // the end of a sanction
	Every   time.Duration // the pause between two messages in a slow channel
}

// SanctionRequest is the sanction that a moderator imposes on a player.
type SanctionRequest struct {
	UserID string `json:"userId" validate:"required,id"`
	// Channel is where the sanction holds. When it is absent, the sanction holds in all channels and
	// for whispers.
	Channel string `json:"channel,omitempty"`
	// ForMs is how long the sanction holds in ms, from a second to a year.
	ForMs int64 `json:"forMs" validate:"min=1000,max=31622400000"`
	// Reason is shown to the player.
	Reason string `json:"reason,omitempty" validate:"max=200"`
	// IdempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets
	// the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// LiftRequest names a sanction to lift before its end.
type LiftRequest struct {
	UserID string `json:"userId" validate:"required,id"`
	// Channel is the channel of the sanction, absent when the sanction holds in all channels.
	Channel string `json:"channel,omitempty"`
	// IdempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets
	// the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// Sanction is a mute or a ban. All devices of the player receive it as chat:sanction.
type Sanction struct {
	Kind    string `json:"kind" validate:"oneof=mute ban"`
	UserID  string `json:"userId"`
	Channel string `json:"channel,omitempty"` // absent: all channels
	Until   int64  `json:"until"`             // Unix ms; 0 when the sanction was lifted
	By      string `json:"by"`                // the moderator's user id
	Reason  string `json:"reason,omitempty"`
}

// DeleteRequest names a message to delete.
type DeleteRequest struct {
	Channel string `json:"channel" validate:"required"`
	ID      string `json:"id" validate:"required"` // the message's id
	// IdempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets
	// the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// Deleted is sent to everybody in a channel, as the event chat:deleted.
type Deleted struct {
	Channel string `json:"channel"`
	ID      string `json:"id"` // the message's id
	By      string `json:"by"` // the moderator's user id
}

// SlowModeRequest sets the slow mode of a channel.
type SlowModeRequest struct {
	Channel string `json:"channel" validate:"required"`
	// EveryMs is how long each player waits between two messages, up to an hour in ms; 0 switches
	// slow mode off.
	EveryMs *int64 `json:"everyMs" validate:"required,min=0,max=3600000"`
	// IdempotencyKey, 1 to 64 printable characters, makes a repeat safe: within two minutes it gets
	// the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty" validate:"max=64"`
}

// SlowMode is sent to everybody in a channel, as the event chat:slowed.
type SlowMode struct {
	Channel string `json:"channel"`
	// EveryMs is how long each player waits between two messages; 0 means that slow mode is off.
	EveryMs int64  `json:"everyMs"`
	By      string `json:"by"` // the moderator's user id
}

// isModerator reports whether one of a player's roles is a moderator's.
func (s *Service) isModerator(roles []string) bool {
	for _, r := range roles {
		if slices.Contains(s.cfg.Moderators, r) {
			return true
		}
	}
	return false
}

// Mute forbids a player to speak, in one channel or everywhere. A new mute replaces the one before.
// Errors: INVALID, FORBIDDEN, CONFLICT when there are too many sanctions, UNAVAILABLE.
func (s *Service) Mute(ctx context.Context, p event.Player, in SanctionRequest) (Sanction, error) {
	return s.imposeSanction(ctx, p, Mute, in)
}

// Ban removes a player from one channel or from all, and keeps them out. A new ban replaces the one
// before. Errors: INVALID, FORBIDDEN, CONFLICT when there are too many sanctions, UNAVAILABLE.
func (s *Service) Ban(ctx context.Context, p event.Player, in SanctionRequest) (Sanction, error) {
	return s.imposeSanction(ctx, p, Ban, in)
}

// Unmute lifts a mute. Errors: INVALID, FORBIDDEN, NOT_FOUND, UNAVAILABLE.
func (s *Service) Unmute(ctx context.Context, p event.Player, in LiftRequest) (Sanction, error) {
	return s.liftSanction(ctx, p, Mute, in)
}

// Unban lifts a ban. Errors: INVALID, FORBIDDEN, NOT_FOUND, UNAVAILABLE.
func (s *Service) Unban(ctx context.Context, p event.Player, in LiftRequest) (Sanction, error) {
	return s.liftSanction(ctx, p, Ban, in)
}

// imposeSanction stores a sanction and announces it.
func (s *Service) imposeSanction(ctx context.Context, p event.Player, kind string, in SanctionRequest) (Sanction, error) {
	key, err := newSanctionKey(kind, in.UserID, in.Channel)
	if err != nil {
		return Sanction{}, err
	}
	if err := s.checkRank(ctx, p, in.UserID); err != nil {
		return Sanction{}, err
	}
	reason := ""
	if in.Reason != "" {
		if reason, err = normalizeText(in.Reason); err != nil {
			return Sanction{}, fault.Invalid("reason", "as a message's text")
		}
	}
	until := s.cfg.Now().Add(time.Duration(in.ForMs) * time.Millisecond)
	sanction := Sanction{Kind: kind, UserID: in.UserID, Channel: in.Channel, Until: until.UnixMilli(), By: p.UserID, Reason: reason}
	if len(s.rules.currentRulebook(ctx).sanctions) >= maxRules {
		return Sanction{}, fault.ErrConflict.With("reason", "too many sanctions")
	}
	switch err := s.rules.changeRule(ctx, key.hashField(), sanction, &sanction); {
	case errors.Is(err, errAlreadyDone):
		return sanction, nil
	case err != nil:
		return Sanction{}, redisx.FaultFor(ctx, feature, err)
	}
	if kind == Ban {
		// Other nodes expel the user within a second, when they read the new rules.
		if err := s.expelUser(ctx, in.UserID, in.Channel); err != nil {
			s.cfg.Report(err)
		}
	}
	return sanction, s.announceSanction(ctx, sanction, ModeratorAction{Event: "chat:" + kind, By: p.UserID, Session: p.SessionID, UserID: in.UserID, Channel: in.Channel, Until: until})
}

// checkRank returns FORBIDDEN when a moderator who is no admin would sanction an admin. Moderators
// may sanction each other. One rule says who is an admin, for both: a user is one by the sessions
// that live. A role that the game's program has added to one connection lets it moderate, but gives
// it no rank.
func (s *Service) checkRank(ctx context.Context, p event.Player, userID string) error {
	isAdmin := func(role string) bool { return slices.Contains(s.cfg.Admins, role) }
	isByProgram := p.SessionID == "" // the server API, whose rights are those of its key
	if s.cfg.RolesOf == nil || isByProgram && slices.ContainsFunc(p.Roles, isAdmin) {
		return nil
	}
	roles, err := s.cfg.RolesOf(ctx, userID)
	if err == nil && !slices.ContainsFunc(roles, isAdmin) {
		return nil
	}
	if err == nil && !isByProgram {
		roles, err = s.cfg.RolesOf(ctx, p.UserID)
	}
	switch {
	case err != nil:
		return redisx.FaultFor(ctx, feature, err)
	case isByProgram || !slices.ContainsFunc(roles, isAdmin):
		return fault.ErrForbidden.With("reason", "an admin")
	}
	return nil
}

// liftSanction removes a sanction and announces that.
func (s *Service) liftSanction(ctx context.Context, p event.Player, kind string, in LiftRequest) (Sanction, error) {
	key, err := newSanctionKey(kind, in.UserID, in.Channel)
	if err != nil {
		return Sanction{}, err
	}
	sanction := Sanction{Kind: kind, UserID: in.UserID, Channel: in.Channel, By: p.UserID}
	switch err := s.rules.changeRule(ctx, key.hashField(), nil, &sanction); {
	case errors.Is(err, errAlreadyDone):
		return sanction, nil
	case errors.Is(err, errNothingChanged):
		return Sanction{}, errNoSanction
	case err != nil:
		return Sanction{}, redisx.FaultFor(ctx, feature, err)
	}
	return sanction, s.announceSanction(ctx, sanction, ModeratorAction{Event: "chat:un" + kind, By: p.UserID, Session: p.SessionID, UserID: in.UserID, Channel: in.Channel})
}

// announceSanction records a sanction, or its end, in the audit, and sends it to the player.
func (s *Service) announceSanction(ctx context.Context, sanction Sanction, action ModeratorAction) error {
	s.cfg.Audit(action)
	if _, _, err := s.gateway.CastUser(ctx, sanction.UserID, "chat:sanction", sanction); err != nil {
		return fmt.Errorf("chat: announce a sanction: %w", err)
	}
	return nil
}

// newSanctionKey checks and returns the key of a sanction.
func newSanctionKey(kind, userID, channel string) (sanctionKey, error) {
	if channel != everywhere && !ValidChannel(channel) {
		return sanctionKey{}, errChannel
	}
	if err := identity.CheckID("userId", userID); err != nil {
		return sanctionKey{}, err
	}
	return sanctionKey{kind, channel, userID}, nil
}

// addDetails adds to a fault until when the sanction holds, where, and why.
func (s Sanction) addDetails(f *fault.Fault, now time.Time) error {
	f = f.With("until", s.Until).With("retryAfterMs", s.Until-now.UnixMilli())
	if s.Channel != everywhere {
		f = f.With("channel", s.Channel)
	}
	if s.Reason != "" {
		f = f.With("reason", s.Reason)
	}
	return f
}

// Delete removes a message from the history of a channel and sends chat:deleted to its members.
// Errors: INVALID, FORBIDDEN, NOT_FOUND, UNAVAILABLE.
func (s *Service) Delete(ctx context.Context, p event.Player, in DeleteRequest) (Deleted, error) {
	if !ValidChannel(in.Channel) {
		return Deleted{}, errChannel
	}
	id, err := ulid.ParseStrict(in.ID)
	if err != nil {
		return Deleted{}, fault.Invalid("id", "the id of a message")
	}
	out := Deleted{Channel: in.Channel, ID: id.String(), By: p.UserID} // an id has one spelling
	switch err := s.journal.removeMessage(ctx, id.Timestamp(), &out); {
	case errors.Is(err, errAlreadyDone):
		return out, nil
	case err != nil:
		return Deleted{}, redisx.WrapFault(ctx, feature, "delete in "+in.Channel, err)
	}
	s.cfg.Audit(ModeratorAction{Event: "chat:delete", By: p.UserID, Session: p.SessionID, Channel: in.Channel, Message: out.ID})
	if err := s.gateway.Cast(ctx, RoomPrefix+in.Channel, "chat:deleted", out); err != nil {
		return Deleted{}, fmt.Errorf("chat: announce a deletion: %w", err)
	}
	return out, nil
}

// SetSlowMode sets the slow mode of a channel: every player, except moderators, must wait between
// two messages. Errors: INVALID, FORBIDDEN, UNAVAILABLE.
func (s *Service) SetSlowMode(ctx context.Context, p event.Player, in SlowModeRequest) (SlowMode, error) {
	if !ValidChannel(in.Channel) {
		return SlowMode{}, errChannel
	}
	if in.EveryMs == nil {
		return SlowMode{}, errPace
	}
	out := SlowMode{Channel: in.Channel, EveryMs: *in.EveryMs, By: p.UserID}
	var rule any
	if out.EveryMs > 0 {
		rule = out
	}
	switch err := s.rules.changeRule(ctx, slowField(in.Channel), rule, &out); {
	case errors.Is(err, errAlreadyDone):
		return out, nil
	case err != nil && !errors.Is(err, errNothingChanged): // it was not slow
		return SlowMode{}, redisx.FaultFor(ctx, feature, err)
	}
	s.cfg.Audit(ModeratorAction{Event: "chat:slow", By: p.UserID, Session: p.SessionID, Channel: in.Channel, Every: time.Duration(out.EveryMs) * time.Millisecond})
	if err := s.gateway.Cast(ctx, RoomPrefix+in.Channel, "chat:slowed", out); err != nil {
		return SlowMode{}, fmt.Errorf("chat: announce slow mode: %w", err)
	}
	return out, nil
}
