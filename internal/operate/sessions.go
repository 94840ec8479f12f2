package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/sessions"
)

// An AmbiguousError says that the first digits of a hash fit several sessions.
type AmbiguousError struct {
	Digits   string
	Sessions []sessions.Session
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s could be one of %d sessions; give more digits", e.Digits, len(e.Sessions))
}

// FindSession returns the session that a text names: by its id, or by the first digits of its hash,
// 12 or more. Errors: sessions.ErrNotFound, an AmbiguousError, those of Redis.
func FindSession(ctx context.Context, store *sessions.Store, text string) (sessions.Session, error) {
	session, err := store.Get(ctx, text)
	if !errors.Is(err, sessions.ErrNotFound) {
		return session, err
	}
	if !identity.IsSessionHash(text) {
		return session, sessions.ErrNotFound
	}
	found, err := store.FindByHash(ctx, text, 100)
	switch {
	case err != nil:
		return session, err
	case len(found) == 0:
		return session, sessions.ErrNotFound
	case len(found) == 1:
		return found[0], nil
	}
	return session, &AmbiguousError{text, found}
}

// SessionView is a session as operators and other programs see it. Times are Unix ms.
type SessionView struct {
	Session        string   `json:"session"`            // the first 12 digits of the hash of its id
	SessionID      string   `json:"sessionId,omitzero"` // only where it was asked for: whoever has it is the user
	UserID         string   `json:"userId"`
	Username       string   `json:"username"`
	CharacterID    string   `json:"characterId"`
	Roles          []string `json:"roles"`
	CreatedAt      int64    `json:"createdAt"`
	LastActivityAt int64    `json:"lastActivityAt"`
	ExpiresAt      int64    `json:"expiresAt"`
	TTLMs          int64    `json:"ttlMs"`
}

// ViewSession returns what is shown of a session, with its id if it is to be revealed.
func ViewSession(s sessions.Session, reveal bool) SessionView {
	roles := s.Roles
	if roles == nil {
		roles = []string{}
	}
	id := ""
	if reveal {
		id = s.ID
	}
	return SessionView{
		identity.SessionTag(s.ID), id, s.UserID, s.Username, s.CharacterID, roles,
		s.CreatedAt.UnixMilli(), s.LastActivityAt.UnixMilli(), s.ExpiresAt.UnixMilli(), s.TTL.Milliseconds(),
	}
}
