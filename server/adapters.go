package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// This file fits the libraries to the interfaces of those who use them.

// unavailable turns an error that means "Redis is not there" into the fault that says so.
func unavailable(feature string, err error) error {
	var f *fault.Fault
	if err == nil || errors.As(err, &f) || !redisconn.IsUnavailable(err) {
		return err
	}
	return fault.Unavailable(feature, time.Second, err)
}

func admitted(s sessions.Session) gateway.Session {
	return gateway.Session{
		Player: event.Player{UserID: s.UserID, Username: s.Username, CharacterID: s.CharacterID, Roles: s.Roles, SessionID: s.ID},
		TTL:    s.TTL, ExpiresAt: s.ExpiresAt, Source: s,
	}
}

func (a authenticator) Identify(r *http.Request) (gateway.Session, error) {
	s, err := a.Request(r)
	return admitted(s), err
}

// sessionChanges is sessions.Store as the gateway wants it.
type sessionChanges struct{ store *sessions.Store }

func (s sessionChanges) SetCharacter(ctx context.Context, id, characterID string) (gateway.Session, error) {
	session, err := s.store.UpdateCharacter(ctx, id, characterID)
	if errors.Is(err, sessions.ErrNotFound) {
		return gateway.Session{}, fault.ErrUnauthenticated
	}
	return admitted(session), unavailable("session", err)
}

func (s sessionChanges) Logout(ctx context.Context, id string) error {
	err := s.store.Destroy(ctx, id, sessions.LoggedOut, "You have logged out.")
	if errors.Is(err, sessions.ErrNotFound) { // as it should be
		return nil
	}
	return unavailable("session", err)
}

// limiter is throttle.Limiter as the gateway wants it.
type limiter struct{ *throttle.Limiter }

func (l limiter) Spend(ctx context.Context, policies []string, s gateway.Subject) (gateway.Verdict, error) {
	d, err := l.Limiter.Spend(ctx, policies, throttle.Subject(s))
	return gateway.Verdict{Allowed: d.Allowed, Known: d.Source == throttle.SourceMemory, Limit: d.Refusal()}, err
}

func (l limiter) Describe(roles []string) any {
	return struct {
		Policies []throttle.Policy `json:"policies"`
	}{l.Policies(roles...)}
}

// locker is lock.Manager as trades want it.
type locker struct{ locks *lock.Manager }

func (l locker) Do(ctx context.Context, name string, fn func(ctx context.Context, fence int64) error) error {
	err := l.locks.Do(ctx, name, lock.Options{}, func(ctx context.Context, lease *lock.Lease) error {
		return fn(ctx, lease.Fence())
	})
	return lockFault(err)
}

// lockFault turns an error of package lock into what a player is told; other errors stay as they are.
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

// scriptLocker is of locks that lie on the server of the trades.
type scriptLocker struct{ locker }

func (l scriptLocker) ScriptGuard() string { return l.locks.ScriptGuard() }

// characters says whom a gift to a user goes to. With dev, a user without a character is
// its own.
type characters struct {
	store *sessions.Store
	dev   bool
}

func (c characters) CharacterOf(ctx context.Context, userID string) (string, error) {
	id, err := c.store.CharacterOf(ctx, userID)
	if c.dev && errors.Is(err, sessions.ErrNotFound) {
		return userID, nil
	}
	return id, err
}

// CharacterLua makes it trade.ScriptCharacters.
func (c characters) CharacterLua() string { return c.store.CharacterLua() }

// rooms are the gateway's rooms for services that are made before it is.
type rooms struct{ *gateway.Gateway }
