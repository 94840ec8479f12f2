package main

import (
	"context"
	"strings"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/presence"
)

// chat makes the chat. With --dev everybody may come into every channel; else the game
// says in Redis who is in a guild or a party.
func (n *node) chat(r *rooms) *chat.Service {
	c := chat.Config{Watcher: audience{n.present, r}, Audit: n.moderated, Report: n.chatUnkept}
	if !n.cfg.Dev {
		c.Membership = chat.Roster{Redis: n.rdb}
	}
	return chat.New(n.rdb, r, c)
}

// channels tells those who are in a channel of the chat.
type channels struct{ rooms *rooms }

func (c channels) Tell(ctx context.Context, channel, event string, payload any) error {
	return c.rooms.Cast(ctx, chat.RoomPrefix+channel, event, payload)
}

// audience is told who is in a channel: presence, and who is in that of a fight watches it.
type audience struct {
	present *presence.Service
	rooms   *rooms
}

// watching marks the connections that are in a fight's room because of its channel, so
// that a fighter who leaves the channel stays in the fight.
const watching = "watching:"

func (a audience) Joined(p event.Player, channel string) {
	a.present.Joined(p, channel)
	if strings.HasPrefix(channel, combat.RoomPrefix) && !a.rooms.In(p.Conn, channel) {
		for _, room := range []string{watching + channel, channel} {
			_, _ = a.rooms.Join(context.Background(), p.Conn, room) // who is gone, or in too many rooms, sees nothing
		}
	}
}

func (a audience) Left(p event.Player, channel string) {
	a.present.Left(p, channel)
	if strings.HasPrefix(channel, combat.RoomPrefix) && a.rooms.In(p.Conn, watching+channel) {
		for _, room := range []string{channel, watching + channel} {
			_, _ = a.rooms.Leave(context.Background(), p.Conn, room) // never fails
		}
	}
}

// moderated is the audit of what moderators do: who, what, whom and where, and no text.
func (n *node) moderated(a chat.Act) {
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
