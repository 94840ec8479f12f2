package server

import (
	"context"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
)

// chat makes the chat. With --dev everybody may come into every channel; else the game
// says in Redis who is in a guild or a party.
func (n *node) chat(r *rooms) *chat.Service {
	c := chat.Config{Observer: n.present, Audit: n.moderated, Report: n.chatUnkept, HistoryLength: n.cfg.ChatHistory}
	if !n.cfg.Dev {
		c.Membership = chat.RedisMembership{Redis: n.rdb}
	}
	return chat.New(n.rdb, r, c)
}

// channels tells those who are in a channel of the chat.
type channels struct{ rooms *rooms }

func (c channels) Broadcast(ctx context.Context, channel, event string, payload any) error {
	return c.rooms.Cast(ctx, chat.RoomPrefix+channel, event, payload)
}

// moderated is the audit of what moderators do: who, what, whom and where, and no text.
func (n *node) moderated(a chat.ModeratorAction) {
	fields := []zap.Field{zap.String("event", a.Event), zap.String("by", a.By), zap.String("channel", a.Channel)}
	if a.UserID != "" {
		fields = append(fields, zap.String("user", a.UserID))
	}
	if a.Message != "" {
		fields = append(fields, zap.String("message", a.Message))
	}
	if !a.Until.IsZero() {
		fields = append(fields, zap.Time("until", a.Until))
	}
	if a.Every > 0 {
		fields = append(fields, zap.Duration("every", a.Every))
	}
	n.log.Info("moderated", fields...)
}

func (n *node) presenceUntold(err error) { n.log.Warn("presence could not be told", zap.Error(err)) }

func (n *node) chatUnkept(err error) { n.log.Warn("chat could not be kept", zap.Error(err)) }
