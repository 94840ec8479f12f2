package auth

import (
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/sessions"
)

// ErrNoLogin answers POST /auth/login where this gateway opens no sessions over HTTP.
var ErrNoLogin = fault.New(fault.ErrForbidden.Code, "Guest logins are only open with --dev; no other login is configured.")

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

// Login serves POST /auth/login: with Dev, {"username"} of 1 to 32 letters, digits, _ and -
// opens a guest's session, whose user and character are the username. The answer is 201
// {sessionId, expiresAt, user} and the cookie, else a problem: INVALID with the field,
// PAYLOAD_TOO_LARGE, FORBIDDEN without Dev, UNAVAILABLE. The body must be application/json, which a foreign
// page can not send without asking first (CORS).
func (a *Service) Login(w http.ResponseWriter, r *http.Request) {
	if !post(w, r) {
		return
	}
	out, err := a.login(r)
	if err != nil {
		a.refuse(w, "login", err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.SetCookie(w, a.cookie(out.SessionID, 0))
	body, err := json.Marshal(out)
	if err != nil {
		a.refuse(w, "login", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(body) // the client has gone
}

func (a *Service) login(r *http.Request) (loggedIn, error) {
	if !a.cfg.Dev {
		return loggedIn{}, ErrNoLogin
	}
	var in struct {
		Username *string `json:"username"`
	}
	if err := body(r, &in); err != nil {
		return loggedIn{}, err
	}
	if in.Username == nil {
		return loggedIn{}, fault.Invalid("username", "required")
	}
	name := *in.Username
	if !guestName(name) {
		return loggedIn{}, fault.Invalid("username", "1 to 32 letters, digits, _ and -")
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	s, err := a.store.Create(ctx, name, name, []string{"player"}, sessions.Options{
		TTL: a.cfg.SessionTTL, CharacterID: name,
		Metadata: sessions.Metadata{IPAddress: address(r), UserAgent: r.UserAgent()},
	})
	if err != nil {
		return loggedIn{}, err
	}
	return loggedIn{
		SessionID: s.ID, ExpiresAt: s.ExpiresAt.UnixMilli(),
		User: user{UserID: s.UserID, Username: s.Username, CharacterID: s.CharacterID, Roles: s.Roles},
	}, nil
}

// Logout serves POST /auth/logout: it destroys the caller's session, which closes its
// sockets everywhere, and takes the cookie away. 204, also when the session ended meanwhile; else a
// problem: UNAUTHENTICATED, FORBIDDEN (a foreign page), UNAVAILABLE.
func (a *Service) Logout(w http.ResponseWriter, r *http.Request) {
	if !post(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	s, err := a.Request(r.WithContext(ctx))
	if err == nil {
		err = a.store.Destroy(ctx, s.ID, sessions.LoggedOut, "You logged out.")
	}
	if err != nil && !errors.Is(err, sessions.ErrNotFound) {
		if errors.Is(err, fault.ErrUnauthenticated) {
			http.SetCookie(w, a.cookie("", -1))
		}
		a.refuse(w, "logout", err)
		return
	}
	http.SetCookie(w, a.cookie("", -1))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// refuse answers with a problem; a cause that is not the caller's is told to Failed.
func (a *Service) refuse(w http.ResponseWriter, doing string, err error) {
	f := fault.Of(err)
	if f.Code == fault.ErrInternal.Code || f.Code == fault.ErrTimeout.Code {
		f = fault.Unavailable("session", time.Second, err)
	}
	if f.Code == fault.ErrUnavailable.Code {
		a.cfg.Failed(doing, f)
	}
	f.WriteProblem(w)
}

func (a *Service) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: a.cfg.CookieName, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: !a.cfg.Dev,
	}
}

func post(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodPost {
		return true
	}
	w.Header().Set("Allow", http.MethodPost)
	http.Error(w, "POST only", http.StatusMethodNotAllowed)
	return false
}

// body reads a JSON object of at most 64 KB, strictly.
func body(r *http.Request, in any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return fault.Invalid("", "Content-Type must be application/json")
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return fault.Invalid("", "the body ended early").Because(err)
	case len(raw) > maxBody:
		return fault.ErrTooLarge
	}
	err = json.Unmarshal(raw, in, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &semantic) && semantic.JSONPointer != "":
		if errors.Is(err, json.ErrUnknownName) {
			return fault.Invalid(field(semantic.JSONPointer), "unknown field")
		}
		return fault.Invalid(field(semantic.JSONPointer), "expected a string")
	case semantic != nil:
		return fault.Invalid("", "expected an object")
	}
	return fault.Invalid("", "not valid JSON")
}

func field(p jsontext.Pointer) string {
	name := p.LastToken()
	if len(name) > 64 {
		name = name[:64]
	}
	return strings.ToValidUTF8(name, "?")
}

func guestName(name string) bool { return len(name) <= 32 && sessions.ValidID(name) }

// address is the client's, without a port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
