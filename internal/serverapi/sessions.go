package serverapi

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/auditlog"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/operate"
	"github.com/aeturnis/realtime/sessions"
)

// CreateSessionRequest is a login: the program has checked who the user is.
type CreateSessionRequest struct {
	UserID   string `json:"userId" validate:"required,id"`
	Username string `json:"username" validate:"required,max=512"`
	// Roles have at most 4,096 bytes together.
	Roles       []string `json:"roles,omitempty" validate:"max=64,dive,id"`
	CharacterID string   `json:"characterId,omitempty" validate:"omitempty,id"`
	// TTLMs is how long the session lasts without activity; 0 means as long as a login does.
	TTLMs int64 `json:"ttlMs,omitempty" validate:"min=0,max=31622400000"`
}

// SessionQuery asks for sessions: exactly one of session and userId.
type SessionQuery struct {
	// Session is its id, or the first digits of its hash, 12 or more. In a URL the digits are better:
	// whoever has the id is the user.
	Session string `json:"session,omitempty" validate:"max=512"`
	UserID  string `json:"userId,omitempty" validate:"omitempty,id"`
}

// SessionInfo is a session. Times are Unix ms.
type SessionInfo struct {
	Session string `json:"session"` // the first 12 digits of the hash of its id
	// SessionID is the credential that the client connects with; only the answer to sessions.create
	// has it.
	SessionID      string   `json:"sessionId,omitempty"`
	UserID         string   `json:"userId"`
	Username       string   `json:"username"`
	CharacterID    string   `json:"characterId"`
	Roles          []string `json:"roles"`
	CreatedAt      int64    `json:"createdAt"`
	LastActivityAt int64    `json:"lastActivityAt"`
	ExpiresAt      int64    `json:"expiresAt"`
	TTLMs          int64    `json:"ttlMs"`
}

// SessionList are sessions, newest first.
type SessionList struct {
	Sessions []SessionInfo `json:"sessions"`
}

// RevokeRequest names the sessions to end: exactly one of session and userId.
type RevokeRequest struct {
	// Session is its id, or the first digits of its hash, 12 or more.
	Session string `json:"session,omitempty" validate:"max=512"`
	UserID  string `json:"userId,omitempty" validate:"omitempty,id"` // all sessions of the user
	// Reason is shown to the player.
	Reason string `json:"reason,omitempty" validate:"max=200"`
}

// RevokeResult says how many sessions were ended.
type RevokeResult struct {
	Ended int `json:"ended"`
}

// viewSession returns what a program sees of a session.
func viewSession(s sessions.Session, reveal bool) SessionInfo {
	return SessionInfo(operate.ViewSession(s, reveal))
}

// maxRoles is how many bytes the roles of a session have together: each connection reads them.
const maxRoles = 4096

// CreateSession logs a user in. The answer has the id that the client presents. Errors: INVALID,
// UNAVAILABLE.
func (s *Service) CreateSession(ctx context.Context, c Caller, in CreateSessionRequest) (SessionInfo, error) {
	if 0 < in.TTLMs && in.TTLMs < 1000 {
		return SessionInfo{}, fault.Invalid("ttlMs", "at least a second")
	}
	size := 0
	for _, r := range in.Roles {
		size += len(r)
	}
	if size > maxRoles {
		return SessionInfo{}, fault.Invalid("roles", "at most 4096 bytes together")
	}
	session, err := s.cfg.Sessions.Create(ctx, in.UserID, in.Username, in.Roles, sessions.Options{
		TTL: time.Duration(in.TTLMs) * time.Millisecond, CharacterID: in.CharacterID,
	})
	if err != nil {
		return SessionInfo{}, toFault(ctx, err)
	}
	s.record(ctx, c, auditlog.Act{What: "session create", Target: in.UserID, To: "session " + identity.SessionTag(session.ID), Why: strings.Join(in.Roles, " ")})
	return viewSession(session, true), nil
}

// ShowSessions shows one session, or those of a user. A user without one has an empty list. Errors:
// INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) ShowSessions(ctx context.Context, _ Caller, in SessionQuery) (SessionList, error) {
	if err := exactlyOne(map[string]bool{"session": in.Session != "", "userId": in.UserID != ""}, "session and userId"); err != nil {
		return SessionList{}, err
	}
	var found []sessions.Session
	var err error
	if in.UserID != "" {
		found, err = s.cfg.Sessions.List(ctx, in.UserID)
	} else {
		found = make([]sessions.Session, 1)
		found[0], err = s.findSession(ctx, in.Session)
	}
	if err != nil {
		return SessionList{}, toFault(ctx, err)
	}
	out := SessionList{Sessions: []SessionInfo{}}
	for _, x := range found {
		out.Sessions = append(out.Sessions, viewSession(x, false))
	}
	return out, nil
}

// findSession returns the session that a text names.
func (s *Service) findSession(ctx context.Context, text string) (sessions.Session, error) {
	session, err := operate.FindSession(ctx, s.cfg.Sessions, text)
	var ambiguous *operate.AmbiguousError
	switch {
	case isNotFound(err):
		return session, fault.ErrNotFound.With("field", "session")
	case errors.As(err, &ambiguous):
		return session, fault.Invalid("session", "could be one of "+strconv.Itoa(len(ambiguous.Sessions))+" sessions")
	}
	return session, err
}

// RevokeSessions ends one session, or all of a user: their connections are closed on every node.
// Errors: INVALID, NOT_FOUND, UNAVAILABLE.
func (s *Service) RevokeSessions(ctx context.Context, c Caller, in RevokeRequest) (RevokeResult, error) {
	if err := exactlyOne(map[string]bool{"session": in.Session != "", "userId": in.UserID != ""}, "session and userId"); err != nil {
		return RevokeResult{}, err
	}
	if in.UserID != "" {
		n, err := s.cfg.Sessions.DestroyUser(ctx, in.UserID, sessions.Revoked, in.Reason, "")
		if err != nil {
			return RevokeResult{}, toFault(ctx, err)
		}
		s.record(ctx, c, auditlog.Act{What: "session revoke-user", Target: in.UserID, From: strconv.Itoa(n) + " sessions", Why: in.Reason})
		return RevokeResult{n}, nil
	}
	session, err := s.findSession(ctx, in.Session)
	if err == nil {
		err = s.cfg.Sessions.Destroy(ctx, session.ID, sessions.Revoked, in.Reason)
	}
	switch {
	case isNotFound(err):
		return RevokeResult{}, fault.ErrNotFound.With("field", "session")
	case err != nil:
		return RevokeResult{}, toFault(ctx, err)
	}
	s.record(ctx, c, auditlog.Act{What: "session revoke", Target: session.UserID, From: "session " + identity.SessionTag(session.ID), Why: in.Reason})
	return RevokeResult{1}, nil
}
