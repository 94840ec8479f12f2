package auth

import (
	"net/http"
	"strings"
)

// The names of the session cookie where Config.CookieName names none.
const (
	// SecureCookie is used over HTTPS. Browsers take a cookie with this prefix only from HTTPS, for
	// the whole host and for no other: neither a page of a sibling domain nor one of plain HTTP can
	// plant a session (RFC 6265bis, 4.1.3.2).
	SecureCookie = "__Host-sid"
	// PlainCookie is used over plain HTTP.
	PlainCookie = "sid"
)

// cookieNames returns the names of the cookies that may hold a session id, in the order in which
// they are tried.
func (a *Service) cookieNames() []string {
	if a.cfg.CookieName != "" {
		return []string{a.cfg.CookieName}
	}
	return []string{SecureCookie, PlainCookie}
}

// setSessionCookie sets the cookie of a session. A page that may not use the cookie may not change
// it either: its form needs neither the cookie nor the answer for that.
func (a *Service) setSessionCookie(w http.ResponseWriter, r *http.Request, id string) {
	if !a.mayUseCookie(a.HandshakeHeader(r), false) {
		return
	}
	name := a.cfg.CookieName
	if name == "" {
		name = PlainCookie
		if a.cfg.IsSecure(r) {
			name = SecureCookie
		}
	}
	http.SetCookie(w, a.newCookie(r, name, id))
}

// removeSessionCookies removes the cookies of all names, if the page may use them.
func (a *Service) removeSessionCookies(w http.ResponseWriter, r *http.Request) {
	if !a.mayUseCookie(a.HandshakeHeader(r), false) {
		return
	}
	for _, name := range a.cookieNames() {
		cookie := a.newCookie(r, name, "")
		cookie.MaxAge = -1
		http.SetCookie(w, cookie)
	}
}

func (a *Service) newCookie(r *http.Request, name, value string) *http.Cookie {
	isPrefixed := strings.HasPrefix(name, "__Host-") || strings.HasPrefix(name, "__Secure-")
	return &http.Cookie{
		Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: !a.cfg.Dev || isPrefixed || a.cfg.IsSecure(r),
	}
}
