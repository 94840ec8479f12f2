package auth

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/sessions"
)

// ErrNoLogin answers POST /auth/login where this gateway opens no sessions over HTTP.
var ErrNoLogin = fault.New(fault.ErrForbidden.Code, "Guest logins are only open with --dev; no other login is configured.")

// A Verifier judges tokens; *Tokens is one.
type Verifier interface {
	// Verify returns ErrBadToken when the token does not stand; any other error means that
	// it could not be judged.
	Verify(ctx context.Context, token string) (Identity, error)
	// Claimed is the account that a token says it is of, "" when it says none.
	Claimed(token string) string
}

// A Gate turns away whose logins failed too often; *Lockout is one.
type Gate interface {
	// Check returns a RATE_LIMITED fault while the account or the address is locked.
	Check(ctx context.Context, account, addr string) error
	Failed(ctx context.Context, account, addr string) error
	Succeeded(ctx context.Context, account string) error
}

// user is who logged in, as the client is told.
type user struct {
	UserID      string   `json:"userId"`
	Username    string   `json:"username"`
	CharacterID string   `json:"characterId"`
	Roles       []string `json:"roles"`
}

type loggedIn struct {
	SessionID string `json:"sessionId"`
	ExpiresAt int64  `json:"expiresAt"` // Unix ms
	User      user   `json:"user"`
}

// Login serves POST /auth/login. {"token"}, a JWT of the studio's identity provider, opens a session for whom
// it names; with Dev, {"username"} of 1 to 32 letters, digits, _ and - opens a guest's, whose user and
// character are the username. The answer is 201 {sessionId, expiresAt, user} and the cookie, else a problem: INVALID
// with the field, PAYLOAD_TOO_LARGE, FORBIDDEN where no such login is open, UNAUTHENTICATED for a token that does
// not stand, RATE_LIMITED for an account or address whose logins failed too often, UNAVAILABLE. The body must be
// application/json, which a foreign page can not send without asking first (CORS).
func (a *Service) Login(w http.ResponseWriter, r *http.Request) {
	if !post(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	s, err := a.login(ctx, w, r)
	if err != nil {
		a.refuse(w, "login", err)
		return
	}
	a.welcome(w, http.StatusCreated, s)
}

func (a *Service) login(ctx context.Context, w http.ResponseWriter, r *http.Request) (sessions.Session, error) {
	if !a.cfg.Dev && a.cfg.Tokens == nil {
		return sessions.Session{}, ErrNoLogin
	}
	var in struct {
		Username *string `json:"username"`
		Token    *string `json:"token"`
	}
	if err := body(r, &in); err != nil {
		return sessions.Session{}, err
	}
	switch {
	case in.Token != nil && in.Username != nil:
		return sessions.Session{}, fault.Invalid("username", "a token says who it is")
	case in.Token != nil && a.cfg.Tokens == nil:
		return sessions.Session{}, fault.Invalid("token", "no identity provider is configured")
	case in.Token == nil && !a.cfg.Dev:
		return sessions.Session{}, fault.Invalid("token", "required")
	case in.Token != nil:
		return a.exchange(ctx, w.Header(), r, *in.Token)
	case in.Username == nil:
		return sessions.Session{}, fault.Invalid("username", "required")
	case !guestName(*in.Username):
		return sessions.Session{}, fault.Invalid("username", "1 to 32 letters, digits, _ and -")
	}
	name := *in.Username
	if err := a.spend(ctx, name, w.Header()); err != nil {
		return sessions.Session{}, err
	}
	return a.open(ctx, r, Identity{UserID: name, Username: name, CharacterID: name, Roles: []string{"player"}})
}

// exchange opens a session for whom a token names.
func (a *Service) exchange(ctx context.Context, h http.Header, r *http.Request, token string) (sessions.Session, error) {
	account, addr := a.cfg.Tokens.Claimed(token), a.cfg.Addr(r)
	if a.cfg.Gate != nil {
		if err := a.cfg.Gate.Check(ctx, account, addr); err != nil {
			return sessions.Session{}, err
		}
	}
	if account != "" {
		if err := a.spend(ctx, account, h); err != nil {
			return sessions.Session{}, err
		}
	}
	id, err := a.cfg.Tokens.Verify(ctx, token)
	if err != nil {
		if a.cfg.Gate != nil && errors.Is(err, ErrBadToken) {
			err = errors.Join(err, a.cfg.Gate.Failed(context.WithoutCancel(ctx), account, addr))
		}
		return sessions.Session{}, err
	}
	s, err := a.open(ctx, r, id)
	if err == nil && a.cfg.Gate != nil {
		_ = a.cfg.Gate.Succeeded(ctx, account) // it runs out by itself
	}
	return s, err
}

// spend charges a login to its account; the routes charge it to the address.
func (a *Service) spend(ctx context.Context, account string, h http.Header) error {
	if a.cfg.Spend == nil {
		return nil
	}
	return a.cfg.Spend(ctx, account, h)
}

func (a *Service) open(ctx context.Context, r *http.Request, id Identity) (sessions.Session, error) {
	return a.store.Create(ctx, id.UserID, id.Username, id.Roles, sessions.Options{
		TTL: a.cfg.SessionTTL, CharacterID: id.CharacterID,
		Metadata: sessions.Metadata{IPAddress: a.cfg.Addr(r), UserAgent: r.UserAgent()},
	})
}

// welcome answers with a session and its cookie.
func (a *Service) welcome(w http.ResponseWriter, status int, s sessions.Session) {
	out := loggedIn{
		SessionID: s.ID, ExpiresAt: s.ExpiresAt.UnixMilli(),
		User: user{UserID: s.UserID, Username: s.Username, CharacterID: s.CharacterID, Roles: s.Roles},
	}
	if out.User.Roles == nil {
		out.User.Roles = []string{}
	}
	body, err := json.Marshal(out)
	if err != nil {
		a.refuse(w, "login", err)
		return
	}
	http.SetCookie(w, a.cookie(s.ID, 0))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
}

func guestName(name string) bool { return len(name) <= 32 && sessions.ValidID(name) }
