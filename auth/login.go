package auth

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/sessions"
)

// ErrNoLogin answers POST /auth/login when no login over HTTP is configured.
var ErrNoLogin = fault.New(fault.ErrForbidden.Code, "Guest logins are only open with --dev; no other login is configured.")

// A Verifier verifies tokens. *Tokens is one.
type Verifier interface {
	// Verify returns ErrBadToken when the token is not valid, and with it the user where the provider
	// has signed the name, as in an expired token. Any other error means that the token could not be
	// checked.
	Verify(ctx context.Context, token string) (Identity, error)
}

// A Gate refuses logins that failed too often. *Lockout is one.
type Gate interface {
	// Check returns a RATE_LIMITED fault while the account or the address is locked; account may be
	// "".
	Check(ctx context.Context, account, addr string) error
	// Failed counts a failed login; account may be "".
	Failed(ctx context.Context, account, addr string) error
	// Succeeded clears the failures of the account.
	Succeeded(ctx context.Context, account string) error
}

// A loginUser is the user in the answer to a login.
type loginUser struct {
	UserID      string   `json:"userId"`
	Username    string   `json:"username"`
	CharacterID string   `json:"characterId"`
	Roles       []string `json:"roles"`
}

type loginAnswer struct {
	SessionID string    `json:"sessionId"`
	ExpiresAt int64     `json:"expiresAt"` // Unix ms
	User      loginUser `json:"user"`
}

// Login serves POST /auth/login. With {"token"}, a JWT of the studio's identity provider, it opens
// a session for the user that the token names. With Config.Dev it also takes {"username"}, 1 to 32
// letters, digits, _ and -, and opens a guest session whose user and character are the username. It
// answers 201 {sessionId, expiresAt, user} and, to a page that may use it, sets the cookie; or else
// it answers a problem:
//
//	INVALID            a field is missing or wrong, or names cannot be used
//	PAYLOAD_TOO_LARGE  the body is larger than 64 KB
//	FORBIDDEN          no login of this kind is configured
//	UNAUTHENTICATED    the token is not valid
//	BANNED             the user is banned
//	RATE_LIMITED       the account or the address failed too often, or used up its limit
//	UNAVAILABLE        Redis or the keys of the provider cannot be reached
//
// The body must be application/json, which a page of another origin cannot send without asking
// first (CORS).
func (a *Service) Login(w http.ResponseWriter, r *http.Request) {
	if !requirePost(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	s, err := a.openLogin(ctx, w, r)
	if err != nil {
		a.writeProblem(w, "login", err)
		return
	}
	a.writeSession(w, r, http.StatusCreated, s)
}

func (a *Service) openLogin(ctx context.Context, w http.ResponseWriter, r *http.Request) (sessions.Session, error) {
	if !a.cfg.Dev && a.cfg.Tokens == nil {
		return sessions.Session{}, ErrNoLogin
	}
	var in struct {
		Username *string `json:"username"`
		Token    *string `json:"token"`
	}
	if err := decodeBody(r, &in); err != nil {
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
		return a.exchangeToken(ctx, w.Header(), r, *in.Token)
	case in.Username == nil:
		return sessions.Session{}, fault.Invalid("username", "required")
	case !isGuestName(*in.Username):
		return sessions.Session{}, fault.Invalid("username", "1 to 32 letters, digits, _ and -")
	}
	name := *in.Username
	if err := a.chargeAccount(ctx, ChargeLogin, name, w.Header()); err != nil {
		return sessions.Session{}, err
	}
	return a.createSession(ctx, r, Identity{UserID: name, Username: name, CharacterID: name, Roles: []string{"player"}})
}

// exchangeToken opens a session for the user that a token names. Nothing that the token says is
// believed, and nobody's limit is spent, before its signature is verified: otherwise anybody could
// delay a login by claiming the user's name.
func (a *Service) exchangeToken(ctx context.Context, h http.Header, r *http.Request, token string) (sessions.Session, error) {
	addr := a.cfg.Addr(r)
	if err := a.checkGate(ctx, "", addr); err != nil {
		return sessions.Session{}, err
	}
	id, err := a.cfg.Tokens.Verify(ctx, token)
	if err != nil && !errors.Is(err, ErrBadToken) {
		return sessions.Session{}, err
	}
	if len(id.UserID) > maxAccount {
		return sessions.Session{}, fault.Invalid("userId", "the token's sub is too long")
	}
	if id.UserID != "" {
		if err := a.checkGate(ctx, id.UserID, addr); err != nil {
			return sessions.Session{}, err
		}
	}
	if err != nil {
		if a.cfg.Gate != nil {
			err = errors.Join(err, a.cfg.Gate.Failed(context.WithoutCancel(ctx), id.UserID, addr))
		}
		return sessions.Session{}, err
	}
	if err := a.chargeAccount(ctx, ChargeLogin, id.UserID, h); err != nil {
		return sessions.Session{}, err
	}
	s, err := a.createSession(ctx, r, id)
	if err == nil && a.cfg.Gate != nil {
		_ = a.cfg.Gate.Succeeded(ctx, id.UserID) // failures expire by themselves
	}
	return s, err
}

// checkGate returns a RATE_LIMITED fault while the account or the address is locked.
func (a *Service) checkGate(ctx context.Context, account, addr string) error {
	if a.cfg.Gate == nil {
		return nil
	}
	return a.cfg.Gate.Check(ctx, account, addr)
}

// chargeAccount charges the limit of an account. The routes charge the limit of the address.
func (a *Service) chargeAccount(ctx context.Context, what Charge, userID string, h http.Header) error {
	if a.cfg.Spend == nil {
		return nil
	}
	return a.cfg.Spend(ctx, what, userID, h)
}

func (a *Service) createSession(ctx context.Context, r *http.Request, id Identity) (sessions.Session, error) {
	if err := a.checkBan(ctx, id.UserID, a.store.FindBan); err != nil {
		return sessions.Session{}, err
	}
	return a.store.Create(ctx, id.UserID, id.Username, id.Roles, sessions.Options{
		TTL: a.cfg.SessionTTL, CharacterID: id.CharacterID,
		Metadata: sessions.Metadata{IPAddress: a.cfg.Addr(r), UserAgent: r.UserAgent()},
	})
}

// writeSession answers with a session and its cookie.
func (a *Service) writeSession(w http.ResponseWriter, r *http.Request, status int, s sessions.Session) {
	out := loginAnswer{
		SessionID: s.ID, ExpiresAt: s.ExpiresAt.UnixMilli(),
		User: loginUser{UserID: s.UserID, Username: s.Username, CharacterID: s.CharacterID, Roles: s.Roles},
	}
	if out.User.Roles == nil {
		out.User.Roles = []string{}
	}
	body, err := json.Marshal(out)
	if err != nil {
		a.writeProblem(w, "login", err)
		return
	}
	a.setSessionCookie(w, r, s.ID)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

func isGuestName(name string) bool { return len(name) <= 32 && sessions.ValidID(name) }
