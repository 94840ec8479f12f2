package server

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/combat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/internal/webhooks"
	"github.com/aeturnis/realtime/leaderboard"
	"github.com/aeturnis/realtime/presence"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
)

// features are what players can do: those of the gateway itself, and those of the configuration.
type features struct {
	chat           *chat.Service
	presence       *presence.Service
	combat         *combat.Service
	roster         *combat.Roster
	challenges     *combat.Notifier
	trade          *trade.Service
	tradeNotifier  *trade.Notifier
	leaderboard    *leaderboard.Service
	added          []Feature
	namespaceRooms map[string]*namespaceRooms // of features with a namespace of their own
}

// makeFeatures makes the features, and starts those of the configuration.
func (n *node) makeFeatures(rooms *gatewayRooms) (all []Feature, err error) {
	f, rdb := n.features, n.redis.client
	f.presence = presence.New(rdb, presenceRooms{rooms}, presence.Config{Usernames: n.presenceUsernames, Report: n.presenceFailed})
	f.chat = n.makeChat(rooms)
	if err := n.makeTrade(rooms); err != nil {
		return nil, err
	}
	f.leaderboard = leaderboard.New(rdb, leaderboard.Config{})
	f.roster = combat.NewRoster(rdb, n.combatFailed)
	f.combat = combat.New(rdb, combatRooms{rooms}, combat.Config{
		Characters: combatCharacters{n.profiles.source, f.roster}, Presence: onlineUsers{rooms}, Ignores: f.chat,
		Rewarder: tradeRewards{f.trade}, Scorer: leaderboardScores{f.leaderboard},
		AbandonAfter: n.cfg.CombatTimeout, Report: n.combatFailed, Ended: n.combatEndedWebhook(),
	})
	f.challenges = combat.NewNotifier(f.combat)
	all = []Feature{f.chat, f.presence, f.combat, f.trade, f.leaderboard}

	services := Services{
		Redis: rdb, Rooms: rooms, Locks: n.redis.locks, Cache: n.redis.cache, Sessions: n.redis.sessions, Node: n.name, Log: n.log,
	}
	if f.namespaceRooms, err = makeNamespaceRooms(n.cfg.Features); err != nil {
		return nil, err
	}
	for _, added := range n.cfg.Features {
		f.added = append(f.added, added)
		services := services
		if own := f.namespaceRooms[namespaceOf(added)]; own != nil {
			services.Rooms = own
		}
		if starter, ok := added.(Starter); ok {
			if err := starter.Start(services); err != nil {
				return nil, err
			}
		}
		if metrics, ok := added.(prometheus.Collector); ok {
			if err := n.registry.Register(metrics); err != nil {
				return nil, err
			}
		}
	}
	return append(all, f.added...), nil
}

// eventTables returns the routes and the casts of all features.
func eventTables(all []Feature) (routes []event.Route, casts []event.Cast) {
	for _, f := range all {
		namespace := namespaceOf(f)
		for _, r := range f.Routes() {
			r.Namespace = namespace
			routes = append(routes, r)
		}
		for _, c := range f.Casts() {
			c.Namespace = namespace
			casts = append(casts, c)
		}
	}
	return routes, casts
}

// loops returns the features' own work, each until its context ends.
func (f *features) loops() []func(context.Context) error {
	loops := []func(context.Context) error{
		f.chat.Run, f.trade.Sweep, f.tradeNotifier.Run, f.roster.Run, f.combat.Run, f.challenges.Run, f.presence.Run,
	}
	for _, added := range f.added {
		if runner, ok := added.(Runner); ok {
			loops = append(loops, runner.Run)
		}
	}
	return loops
}

// close closes the features, which waits for what they still do with Redis.
func (f *features) close() {
	for _, added := range f.added {
		if closer, ok := added.(Closer); ok {
			closer.Close()
		}
	}
	if f.chat != nil {
		f.chat.Close()
	}
}

// makeChat makes the chat. With Dev everybody may join every channel; without it the game keeps the
// members of guilds and parties in Redis.
func (n *node) makeChat(rooms *gatewayRooms) *chat.Service {
	c := chat.Config{RolesOf: rolesOf(n.redis.sessions), Log: rooms, Observer: n.features.presence, Audit: n.logModeration, Reported: n.messageReported, Report: n.chatFailed, HistoryLength: n.cfg.ChatHistory}
	if !n.cfg.Dev {
		c.Membership = chat.RedisMembership{Redis: n.redis.client}
	}
	return chat.New(n.redis.client, rooms, c)
}

// rolesOf returns the roles of a user, which are those of the sessions that live.
func rolesOf(store *sessions.Store) func(ctx context.Context, userID string) ([]string, error) {
	return func(ctx context.Context, userID string) (roles []string, err error) {
		all, err := store.List(ctx, userID)
		for _, s := range all {
			roles = append(roles, s.Roles...)
		}
		return roles, err
	}
}

// makeTrade makes the service of trades. It returns an error when this Redis can not settle trades,
// or not with the configured durability.
func (n *node) makeTrade(rooms *gatewayRooms) error {
	f := n.features
	f.trade = trade.New(n.redis.client, n.tradeLocker(), receivers{n.redis.sessions, n.cfg.Dev}, rooms, trade.Config{
		OpenFor: n.cfg.TradeExpiry, Durability: n.cfg.TradeDurability, Missed: n.tradeFailed, Settled: n.logTrade, Ignores: f.chat,
		AnnounceLua: n.outbox.LedgerLua(),
	})
	f.tradeNotifier = trade.NewNotifier(f.trade)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch err := f.trade.Check(ctx); {
	case errors.Is(err, trade.ErrRing):
		return usage.Wrap(err)
	case errors.Is(err, trade.ErrDurability):
		return usage.Errorf("--trade-durability: %w", err)
	default:
		return err
	}
}

// tradeLocker returns the locks of trades. The scripts of trades can check only locks on their own
// server. So with LockRedisURLs, even with a single URL, they check none, and each settlement takes
// a lease.
func (n *node) tradeLocker() trade.Locker {
	if len(n.cfg.LockRedisURLs) > 0 {
		return locker{n.redis.locks}
	}
	return scriptLocker{locker{n.redis.locks}}
}

// observers returns the features that follow who connects and disconnects, and the webhooks of
// that, which may be nil.
func (f *features) observers(told *webhooks.Connections) gateway.ConnectionObserver {
	all := connectionObservers{presenceObserver{f.presence}, f.roster, f.challenges, f.tradeNotifier}
	if told != nil {
		all = append(all, told)
	}
	return all
}

// connectionObservers tells several observers of each connection.
type connectionObservers []gateway.ConnectionObserver

// Connected tells all that a connection may send events.
func (all connectionObservers) Connected(p event.Player) {
	for _, o := range all {
		o.Connected(p)
	}
}

// Recovered tells all that a client goes on with an earlier connection: those that do not care are
// told that it has connected.
func (all connectionObservers) Recovered(p event.Player, rooms []string) {
	for _, o := range all {
		if r, ok := o.(gateway.RecoveryObserver); ok {
			r.Recovered(p, rooms)
		} else {
			o.Connected(p)
		}
	}
}

// CharacterChanged tells all that the player of a connection has chosen another character.
func (all connectionObservers) CharacterChanged(p event.Player) {
	for _, o := range all {
		o.CharacterChanged(p)
	}
}

// Disconnected tells all that a connection has ended.
func (all connectionObservers) Disconnected(p event.Player) {
	for _, o := range all {
		o.Disconnected(p)
	}
}

// DisconnectedBecause tells all that a connection has ended, and those that care why.
func (all connectionObservers) DisconnectedBecause(p event.Player, reason string) {
	for _, o := range all {
		if r, ok := o.(gateway.ReasonObserver); ok {
			r.DisconnectedBecause(p, reason)
		} else {
			o.Disconnected(p)
		}
	}
}

// The features report to the functions below what no player gets as an answer.

// logModeration logs what moderators do: who, what, whom and where, and no text.
func (n *node) logModeration(a chat.ModeratorAction) {
	fields := []zap.Field{
		zap.String("event", a.Event), zap.String("by", a.By), zap.String("session", identity.SessionTag(a.Session)), zap.String("channel", a.Channel),
	}
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

// logTrade logs how a trade ended, once on all nodes.
func (n *node) logTrade(kind string, t trade.Trade) {
	a, b := t.Parties[0], t.Parties[1]
	fields := []zap.Field{
		zap.String("trade", t.TradeID), zap.String("kind", kind), zap.String("status", string(t.Status)),
		zap.String("user", a.UserID), zap.String("character", a.CharacterID), zap.String("with", b.UserID), zap.String("withCharacter", b.CharacterID),
	}
	if t.Reason != "" {
		fields = append(fields, zap.String("reason", t.Reason))
	}
	n.log.Info("trade ended", fields...)
}

func (n *node) chatFailed(err error) {
	if !n.unreadable.record("chat", err) {
		n.log.Warn("chat could not be stored", zap.Error(err))
	}
}

func (n *node) presenceFailed(err error) {
	if !n.unreadable.record("presence", err) {
		n.log.Warn("presence could not be published", zap.Error(err))
	}
}

func (n *node) combatFailed(err error) {
	if !n.unreadable.record("combat", err) {
		n.log.Error("fight could not be published", zap.Error(err))
	}
}

func (n *node) tradeFailed(_ context.Context, err error) {
	if !n.unreadable.record("trade", err) {
		n.log.Error("trade could not be published or tidied up; the sweeper goes on", zap.Error(err))
	}
}
