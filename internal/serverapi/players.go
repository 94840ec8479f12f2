package serverapi

import (
	"cmp"
	"context"
	"time"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/presence"
)

// UserQuery names a user.
type UserQuery struct {
	UserID string `json:"userId" validate:"required,id"`
}

// UserPresence says whether a user is online, and when a user who is not was last online. Errors:
// INVALID, UNAVAILABLE.
func (s *Service) UserPresence(ctx context.Context, _ Caller, in UserQuery) (presence.Sighting, error) {
	seen, err := s.cfg.Presence.Seen(ctx, event.Player{}, presence.Names{Users: []string{in.UserID}})
	if err != nil {
		return presence.Sighting{}, err
	}
	return seen.Users[0], nil
}

// ChannelPresence lists the users in a channel, or who are online. Errors: INVALID, UNAVAILABLE.
func (s *Service) ChannelPresence(ctx context.Context, _ Caller, in presence.Query) (presence.Page, error) {
	if in.Channel != "" && !chat.ValidChannel(in.Channel) {
		return presence.Page{}, errChannel
	}
	return s.cfg.Presence.ListAny(ctx, in)
}

// History reads the latest messages of a channel. Errors: INVALID, UNAVAILABLE.
func (s *Service) History(ctx context.Context, c Caller, in chat.HistoryQuery) (chat.History, error) {
	return s.cfg.Chat.History(ctx, c.moderator(), in)
}

// BanRequest is a ban to set. A new ban replaces the one before.
type BanRequest struct {
	UserID string `json:"userId" validate:"required,id"`
	// ForMs is how long it holds in ms, from a second to a year.
	ForMs int64 `json:"forMs" validate:"min=1000,max=31622400000"`
	// Reason is shown to the player.
	Reason string `json:"reason,omitempty" validate:"max=200"`
}

// Ban is the ban of a user, who can neither log in nor connect.
type Ban struct {
	UserID string `json:"userId"`
	Until  int64  `json:"until"` // Unix ms
	Reason string `json:"reason,omitempty"`
}

// BanResult says how many sessions a ban ended.
type BanResult struct {
	EndedSessions int `json:"endedSessions"`
}

// Lifted is the answer to what lifts something.
type Lifted struct{}

// ShowBan shows the ban of a user. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) ShowBan(ctx context.Context, _ Caller, in UserQuery) (Ban, error) {
	ban, err := s.cfg.Sessions.FindBan(ctx, in.UserID)
	if isNotFound(err) {
		return Ban{}, fault.ErrNotFound
	}
	out := Ban{UserID: in.UserID, Reason: ban.Reason}
	if !ban.Until.IsZero() {
		out.Until = ban.Until.UnixMilli()
	}
	return out, toFault(ctx, err)
}

// SetBan keeps a user from logging in and connecting, and ends all sessions of the user. Errors:
// INVALID, UNAVAILABLE.
func (s *Service) SetBan(ctx context.Context, c Caller, in BanRequest) (BanResult, error) {
	d := time.Duration(in.ForMs) * time.Millisecond
	n, err := s.cfg.Sessions.BanUser(ctx, in.UserID, in.Reason, d)
	if err != nil {
		return BanResult{}, toFault(ctx, err)
	}
	s.record(ctx, c, auditlog.Act{What: "user ban", Target: in.UserID, To: d.String(), Why: in.Reason})
	return BanResult{n}, nil
}

// LiftBan lifts the ban of a user. Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) LiftBan(ctx context.Context, c Caller, in UserQuery) (Lifted, error) {
	err := s.cfg.Sessions.UnbanUser(ctx, in.UserID)
	switch {
	case isNotFound(err):
		return Lifted{}, fault.ErrNotFound
	case err != nil:
		return Lifted{}, toFault(ctx, err)
	}
	s.record(ctx, c, auditlog.Act{What: "user unban", Target: in.UserID})
	return Lifted{}, nil
}

// SanctionList are the mutes and the bans from channels of one user that are in force.
type SanctionList struct {
	Sanctions []chat.Sanction `json:"sanctions"`
}

// ImposeRequest is a sanction in the chat. A new one replaces the one before.
type ImposeRequest struct {
	Kind   string `json:"kind" validate:"required,oneof=mute ban"`
	UserID string `json:"userId" validate:"required,id"`
	// Channel is where it holds; absent, in all channels and for whispers.
	Channel string `json:"channel,omitempty" validate:"max=128"`
	// ForMs is how long it holds in ms, from a second to a year.
	ForMs int64 `json:"forMs" validate:"min=1000,max=31622400000"`
	// Reason is shown to the player.
	Reason string `json:"reason,omitempty" validate:"max=200"`
}

// LiftSanctionRequest names a sanction to lift before its end.
type LiftSanctionRequest struct {
	Kind    string `json:"kind" validate:"required,oneof=mute ban"`
	UserID  string `json:"userId" validate:"required,id"`
	Channel string `json:"channel,omitempty" validate:"max=128"`
}

// ListSanctions lists the sanctions of a user in the chat. Errors: INVALID, UNAVAILABLE.
func (s *Service) ListSanctions(ctx context.Context, _ Caller, in UserQuery) (SanctionList, error) {
	found, err := chat.SanctionsOf(ctx, s.cfg.Redis, in.UserID)
	return SanctionList{found}, toFault(ctx, err)
}

// ImposeSanction mutes a user, or bans the user from channels. The player is told. Errors: INVALID,
// CONFLICT, UNAVAILABLE.
func (s *Service) ImposeSanction(ctx context.Context, c Caller, in ImposeRequest) (chat.Sanction, error) {
	impose := s.cfg.Chat.Mute
	if in.Kind == chat.Ban {
		impose = s.cfg.Chat.Ban
	}
	out, err := impose(ctx, c.moderator(), chat.SanctionRequest{UserID: in.UserID, Channel: in.Channel, ForMs: in.ForMs, Reason: in.Reason})
	if err == nil {
		s.record(ctx, c, auditlog.Act{
			What: "chat " + in.Kind, Target: in.UserID, To: cmp.Or(in.Channel, "everywhere") + " for " + (time.Duration(in.ForMs) * time.Millisecond).String(), Why: in.Reason,
		})
	}
	return out, err
}

// LiftSanction lifts a sanction in the chat. The player is told. Errors: INVALID, NOT_FOUND,
// UNAVAILABLE.
func (s *Service) LiftSanction(ctx context.Context, c Caller, in LiftSanctionRequest) (chat.Sanction, error) {
	lift := s.cfg.Chat.Unmute
	if in.Kind == chat.Ban {
		lift = s.cfg.Chat.Unban
	}
	out, err := lift(ctx, c.moderator(), chat.LiftRequest{UserID: in.UserID, Channel: in.Channel})
	if err == nil {
		s.record(ctx, c, auditlog.Act{What: "chat un" + in.Kind, Target: in.UserID, From: cmp.Or(in.Channel, "everywhere")})
	}
	return out, err
}
