package auth

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/sessions"
)

// Logout serves POST /auth/logout. It destroys the caller's session, which closes its sockets on
// every node, and removes the cookies if the page may use them. It answers 204 when no session of
// this login lives any more: it also ends a session that was renewed meanwhile or in the last
// minutes, and a logout that is repeated within two minutes of the end is 204 again. Or else it
// answers a problem: INVALID (a body that is not as below), UNAUTHENTICATED, FORBIDDEN (the page
// may not use the cookie), UNAVAILABLE.
//
// With {"everywhere": true} it ends all sessions of the caller's user, the caller's last: where it
// failed in between, the caller can ask again. The session must live then: once it has ended,
// nobody knows whose sessions are meant, and the answer is UNAUTHENTICATED.
func (a *Service) Logout(w http.ResponseWriter, r *http.Request) {
	if !requirePost(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	var in struct {
		Everywhere bool `json:"everywhere"`
	}
	err := decodeOptionalBody(r, &in)
	if err == nil {
		err = a.endLogin(r.WithContext(ctx), in.Everywhere)
	}
	if err == nil || errors.Is(err, fault.ErrUnauthenticated) {
		a.removeSessionCookies(w, r)
	}
	if err != nil {
		a.writeProblem(w, "logout", err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// endLogin ends the session of a request, under whichever id it goes on, or all of its user.
func (a *Service) endLogin(r *http.Request, everywhere bool) error {
	s, err := a.Request(r)
	if err == nil && everywhere {
		_, err = a.store.DestroyUser(r.Context(), s.UserID, sessions.LoggedOut, everywhereReason, s.ID)
		if err != nil {
			return err
		}
	}
	if err == nil {
		err = a.store.Destroy(r.Context(), s.ID, sessions.LoggedOut, logoutReason)
		if errors.Is(err, sessions.ErrNotFound) { // it ended meanwhile
			return nil
		}
		return err
	}
	if everywhere || !errors.Is(err, ErrSessionInvalid) {
		return err
	}
	oldIDs, e := a.idsFromHeader(a.HandshakeHeader(r), false)
	if e != nil {
		return err
	}
	for _, id := range oldIDs {
		if e := a.store.DestroyRenewed(r.Context(), id, sessions.LoggedOut, logoutReason); !errors.Is(e, sessions.ErrNotFound) {
			return e
		}
	}
	return err
}

const (
	logoutReason     = "You logged out."
	everywhereReason = "You logged out everywhere."
)

// Renew serves POST /auth/renew. It gives the caller's session a new id, and sets the cookie to it.
// Sockets that use the old id get session:revoked with REPLACED. It answers 200 {sessionId,
// expiresAt, user}, or else a problem: INVALID (it takes no members), UNAUTHENTICATED, FORBIDDEN
// (the page may not use the cookie), CONFLICT (another request has just renewed it), RATE_LIMITED,
// UNAVAILABLE.
//
// Renewals of a user are limited like logins, because each one sends a message to every node. They
// have a limit of their own: a client that renews often must not keep its user from logging in.
func (a *Service) Renew(w http.ResponseWriter, r *http.Request) {
	if !requirePost(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
	defer cancel()
	var s sessions.Session
	err := decodeOptionalBody(r, &struct{}{}) // it takes nothing: who asks for something is told so
	if err == nil {
		s, err = a.Request(r.WithContext(ctx))
	}
	if err == nil {
		err = a.chargeAccount(ctx, ChargeRenewal, s.UserID, w.Header())
	}
	if err == nil {
		s, err = a.store.Renew(ctx, s.ID)
	}
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		a.writeProblem(w, "renew", fault.ErrUnauthenticated.Because(err))
	case err != nil:
		a.writeProblem(w, "renew", err)
	default:
		a.writeSession(w, r, http.StatusOK, s)
	}
}

// writeProblem answers with a problem. It gives the error to Config.Failed when it is not the
// caller's fault.
func (a *Service) writeProblem(w http.ResponseWriter, doing string, err error) {
	f := fault.Of(err)
	if f.Code == fault.ErrInternal.Code || f.Code == fault.ErrTimeout.Code {
		f = fault.Unavailable("session", time.Second, err)
	}
	if f.Code == fault.ErrUnavailable.Code || errors.Is(err, ErrBadToken) && f.Message == ErrBadToken.Message {
		a.cfg.Failed(doing, f)
	}
	f.WriteProblem(w)
}

func requirePost(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodPost {
		return true
	}
	w.Header().Set("Allow", http.MethodPost)
	http.Error(w, "POST only", http.StatusMethodNotAllowed)
	return false
}

// decodeOptionalBody is decodeBody for a route whose body may be missing. It refuses a body of
// another type than JSON, because it can not know what that asks for.
func decodeOptionalBody(r *http.Request, in any) error {
	if r.ContentLength == 0 {
		return nil
	}
	body := bufio.NewReader(r.Body)
	if _, err := body.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	r.Body = io.NopCloser(body)
	return decodeBody(r, in)
}

// decodeBody reads a JSON object of at most 64 KB. It refuses unknown members.
func decodeBody(r *http.Request, in any) error {
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
	isUTF8 := utf8.Valid(raw)
	// In UTF-8, only half a surrogate pair is no character: it is read as U+FFFD, as by Node.js.
	err = json.Unmarshal(raw, in, json.RejectUnknownMembers(true), jsontext.AllowInvalidUTF8(isUTF8))
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &semantic) && semantic.JSONPointer != "":
		if errors.Is(err, json.ErrUnknownName) {
			return fault.Invalid(fieldName(semantic.JSONPointer), "unknown field")
		}
		return fault.Invalid(fieldName(semantic.JSONPointer), "expected "+describeType(semantic.GoType))
	case semantic != nil:
		return fault.Invalid("", "expected an object")
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return fault.Invalid(fieldName(syntax.JSONPointer), "given twice")
	case syntax != nil && !isUTF8:
		return fault.Invalid(fieldName(syntax.JSONPointer), "not UTF-8")
	}
	return fault.Invalid("", "not valid JSON")
}

// describeType names the type of a member for the caller.
func describeType(t reflect.Type) string {
	if t != nil && t.Kind() == reflect.Bool {
		return "true or false"
	}
	return "a string"
}

func fieldName(p jsontext.Pointer) string {
	name := p.LastToken()
	if len(name) > 64 {
		name = name[:64]
	}
	return strings.ToValidUTF8(name, "?")
}
