package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aeturnis/realtime/chat"
	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/presence"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
	"github.com/aeturnis/realtime/trade"
)

// This file fits the libraries to the interfaces of their users.

// asUnavailable turns an error which means that Redis is away into the fault UNAVAILABLE.
func asUnavailable(feature string, err error) error {
	var f *fault.Fault
	if err == nil || errors.As(err, &f) || !redisconn.IsUnavailable(err) {
		return err
	}
	return fault.Unavailable(feature, time.Second, err)
}

// toGatewaySession returns a session as the gateway wants it.
func toGatewaySession(s sessions.Session) gateway.Session {
	return gateway.Session{
		Player: event.Player{UserID: s.UserID, Username: s.Username, CharacterID: s.CharacterID, Roles: s.Roles, SessionID: s.ID},
		TTL:    s.TTL, ExpiresAt: s.ExpiresAt, Login: loginOf(s), Source: s,
	}
}

// loginOf names the login of a session: it stays the same when the session gets a new id.
func loginOf(s sessions.Session) string {
	if s.CreatedAt.IsZero() {
		return s.ID
	}
	return strconv.FormatInt(s.CreatedAt.UnixMilli(), 10)
}

// Identify returns the session of an HTTP request.
func (a authenticator) Identify(r *http.Request) (gateway.Session, error) {
	s, err := a.Request(r)
	return toGatewaySession(s), err
}

// sessionChanges is sessions.Store as the gateway wants it.
type sessionChanges struct{ store *sessions.Store }

// Get returns the session as it is now.
func (s sessionChanges) Get(ctx context.Context, id string) (gateway.Session, error) {
	session, err := s.store.Get(ctx, id)
	if errors.Is(err, sessions.ErrNotFound) {
		return gateway.Session{}, fault.ErrUnauthenticated
	}
	return toGatewaySession(session), asUnavailable("session", err)
}

// SetCharacter stores which character the session plays.
func (s sessionChanges) SetCharacter(ctx context.Context, id, characterID string) (gateway.Session, error) {
	session, err := s.store.UpdateCharacter(ctx, id, characterID)
	if errors.Is(err, sessions.ErrNotFound) {
		return gateway.Session{}, fault.ErrUnauthenticated
	}
	return toGatewaySession(session), asUnavailable("session", err)
}

// LogoutEverywhere destroys all sessions of a user, the one with this id last.
func (s sessionChanges) LogoutEverywhere(ctx context.Context, userID, id string) error {
	if _, err := s.store.DestroyUser(ctx, userID, sessions.LoggedOut, "You have logged out everywhere.", id); err != nil {
		return asUnavailable("session", err)
	}
	return s.Logout(ctx, id)
}

// Logout destroys the session. It is no error when there is none.
func (s sessionChanges) Logout(ctx context.Context, id string) error {
	err := s.store.Destroy(ctx, id, sessions.LoggedOut, "You have logged out.")
	if errors.Is(err, sessions.ErrNotFound) { // as it should be
		return nil
	}
	return asUnavailable("session", err)
}

// limiter is throttle.Limiter as the gateway wants it.
type limiter struct{ *throttle.Limiter }

// Spend takes one event from each of the policies, all or none.
func (l limiter) Spend(ctx context.Context, policies []string, s gateway.Subject) (gateway.Verdict, error) {
	d, err := l.Limiter.Spend(ctx, policies, throttle.Subject(s))
	return toVerdict(d), err
}

// SpendOnce is Spend for an event that is done once.
func (l limiter) SpendOnce(ctx context.Context, policies []string, s gateway.Subject, look record.Look) (gateway.Verdict, record.Found, error) {
	d, found, err := l.Limiter.SpendOnce(ctx, policies, throttle.Subject(s), look)
	return toVerdict(d), found, err
}

// eventsPolicy is the policy that every event of a connection spends.
const eventsPolicy = "events"

// OpenConnection returns what counts the events of a new connection.
func (l limiter) OpenConnection() gateway.EventWindow {
	return eventWindow{l.Limiter.OpenConnection(eventsPolicy)}
}

// eventWindow is throttle.ConnectionWindow as the gateway wants it.
type eventWindow struct{ window *throttle.ConnectionWindow }

// Spend charges one event.
func (w eventWindow) Spend(roles []string) gateway.Verdict { return toVerdict(w.window.Spend(roles)) }

// toVerdict returns a decision as the gateway wants it.
func toVerdict(d throttle.Decision) gateway.Verdict {
	return gateway.Verdict{Allowed: d.Allowed, Known: d.Source == throttle.SourceMemory, Limit: d.Refusal()}
}

// Describe returns the policies that hold for a player with these roles.
func (l limiter) Describe(roles []string) ([]byte, error) { return l.PoliciesJSON(roles) }

// locker is lock.Manager as trades want it.
type locker struct{ locks *lock.Manager }

// Do runs fn while it holds the lock.
func (l locker) Do(ctx context.Context, name string, holder trade.Holder, fn func(ctx context.Context, fence int64) error) error {
	err := l.locks.Do(ctx, name, lock.Options{Conn: holder.Conn, Purpose: holder.Purpose}, func(ctx context.Context, lease *lock.Lease) error {
		return fn(ctx, lease.Fence())
	})
	return lockFault(err)
}

// lockFault turns an error of package lock into what a player is told; other errors stay as they
// are.
func lockFault(err error) error {
	switch {
	case errors.Is(err, lock.ErrTaken), errors.Is(err, lock.ErrTimeout):
		return fault.ErrLocked.Because(err)
	case errors.Is(err, lock.ErrUnavailable), errors.Is(err, lock.ErrLost):
		return fault.Unavailable("lock", time.Second, err)
	case errors.Is(err, lock.ErrMaxHold):
		return fault.ErrTimeout.Because(err)
	}
	return err
}

// scriptLocker is a locker whose locks are on the server of the trades, where scripts can check
// them.
type scriptLocker struct{ locker }

func (l scriptLocker) ScriptGuard() string { return l.locks.ScriptGuard() }

// receivers says which character a gift to a user goes to. With dev, a user without a character
// is its own.
type receivers struct {
	store *sessions.Store
	dev   bool
}

func (c receivers) CharacterOf(ctx context.Context, userID string) (string, error) {
	id, err := c.store.CharacterOf(ctx, userID)
	if c.dev && errors.Is(err, sessions.ErrNotFound) {
		return userID, nil
	}
	return id, err
}

// CharacterLua makes it trade.ScriptCharacters.
func (c receivers) CharacterLua() string { return c.store.CharacterLua() }

// gatewayRooms are the gateway's rooms for services that are made before the gateway is. The node
// sets Gateway before anything runs.
type gatewayRooms struct{ *gateway.Gateway }

// presenceObserver tells presence of the channels of a client that comes back.
type presenceObserver struct{ *presence.Service }

// Recovered registers the connection and its channels.
func (o presenceObserver) Recovered(p event.Player, rooms []string) {
	o.Connected(p)
	for _, room := range rooms {
		if channel, ok := strings.CutPrefix(room, chat.RoomPrefix); ok {
			o.Joined(p, channel)
		}
	}
}

// chatRooms judges who may still be in the channels of the chat.
type chatRooms struct{ chat *chat.Service }

// JudgeRooms returns the channels in which the player may not be any more.
func (c chatRooms) JudgeRooms(ctx context.Context, p event.Player, rooms []string) (refused []gateway.RefusedRoom, err error) {
	for _, room := range rooms {
		channel, ok := strings.CutPrefix(room, chat.RoomPrefix)
		if !ok {
			continue
		}
		why, err := c.chat.JudgeReturn(ctx, p, channel)
		if err != nil {
			return nil, err
		}
		if why != nil {
			refused = append(refused, gateway.RefusedRoom{Room: room, Event: "chat:left", Payload: *why})
		}
	}
	return refused, nil
}

// presenceRooms casts to those who are in a channel of the chat.
type presenceRooms struct{ rooms *gatewayRooms }

// Broadcast casts an event to a channel.
func (c presenceRooms) Broadcast(ctx context.Context, channel, event string, payload any) error {
	return c.rooms.Cast(ctx, chat.RoomPrefix+channel, event, payload)
}
