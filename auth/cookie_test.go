package auth_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/sessions"
)

func TestTheCookieHasTheHostPrefixOverHTTPS(t *testing.T) {
	t.Parallel()
	proxies, err := auth.ParseProxies([]string{"10.0.0.0/8"})
	require.NoError(t, err)
	store := sessions.New(redistest.Client(t), sessions.Config{})
	for name, c := range map[string]struct {
		cookieName, peer, scheme string
		isTLS, isDev             bool
		want                     string // the cookie's name, and whether it is Secure
	}{
		"a trusted proxy says https":        {"", "10.1.2.3:1", "https", false, false, "__Host-sid Secure"},
		"in development too":                {"", "10.1.2.3:1", "HTTPS", false, true, "__Host-sid Secure"},
		"the first proxy of a row":          {"", "10.1.2.3:1", "https, http", false, false, "__Host-sid Secure"},
		"our own TLS":                       {"", "192.0.2.1:1", "", true, false, "__Host-sid Secure"},
		"a trusted proxy says http":         {"", "10.1.2.3:1", "http", false, false, "sid Secure"},
		"a trusted proxy says nothing":      {"", "10.1.2.3:1", "", false, false, "sid Secure"},
		"anybody says https":                {"", "192.0.2.1:1", "https", false, false, "sid Secure"},
		"plain HTTP in development":         {"", "192.0.2.1:1", "", false, true, "sid"},
		"another name stays":                {"game", "10.1.2.3:1", "https", false, false, "game Secure"},
		"a name with the prefix is Secure":  {"__Host-game", "192.0.2.1:1", "", false, true, "__Host-game Secure"},
		"another name, in development, TLS": {"game", "192.0.2.1:1", "", true, true, "game Secure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := auth.New(store, auth.Config{Dev: c.isDev, CookieName: c.cookieName, IsSecure: proxies.IsSecure})
			s, err := store.Create(t.Context(), "ann", "Ann", nil, sessions.Options{})
			require.NoError(t, err)
			answer := post(a.Renew, c.peer, c.scheme, c.isTLS, "Authorization: Bearer "+s.ID)
			require.Equal(t, http.StatusOK, answer.StatusCode)
			cookies := answer.Cookies()
			require.Len(t, cookies, 1)
			isSecure := ""
			if cookies[0].Secure {
				isSecure = " Secure"
			}
			require.Equal(t, c.want, cookies[0].Name+isSecure)
			require.Equal(t, "/", cookies[0].Path)
			require.Empty(t, cookies[0].Domain)
			require.True(t, cookies[0].HttpOnly)
		})
	}
}

// post calls a handler as a page of the same origin does.
func post(serve http.HandlerFunc, peer, scheme string, isTLS bool, headers ...string) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "http://play.example/auth", http.NoBody)
	r.Header = header(headers...)
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.RemoteAddr = peer
	if scheme != "" {
		r.Header.Set("X-Forwarded-Proto", scheme)
	}
	if isTLS {
		r.TLS = &tls.ConnectionState{}
	}
	r.Header.Set("Origin", "http://play.example")
	w := httptest.NewRecorder()
	serve(w, r)
	return w.Result()
}

func TestBothCookiesAreReadAndALogoutRemovesBoth(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	a := auth.New(store, auth.Config{})
	open := func() string {
		s, err := store.Create(t.Context(), "ann", "Ann", nil, sessions.Options{})
		require.NoError(t, err)
		return s.ID
	}
	for name, cookie := range map[string]func(id string) string{
		"the plain one":                       func(id string) string { return "sid=" + id },
		"the one of HTTPS":                    func(id string) string { return "__Host-sid=" + id },
		"the one of HTTPS before a planted":   func(id string) string { return "sid=" + open() + "; __Host-sid=" + id },
		"the plain one behind an ended other": func(id string) string { return "__Host-sid=ended; sid=" + id },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := open()
			s, err := a.Authenticate(t.Context(), nil, header("Cookie: "+cookie(id), "Origin: http://play.example", "Host: play.example"))
			require.NoError(t, err)
			require.Equal(t, id, s.ID)
			answer := post(a.Logout, "192.0.2.1:1", "", true, "Cookie: "+cookie(id))
			require.Equal(t, http.StatusNoContent, answer.StatusCode)
			_, err = store.Get(t.Context(), id)
			require.ErrorIs(t, err, sessions.ErrNotFound)
			removed := answer.Header.Values("Set-Cookie")
			require.Len(t, removed, 2)
			require.True(t, strings.HasPrefix(removed[0], "__Host-sid=; Path=/; Max-Age=0;"), removed[0])
			require.Contains(t, removed[0], "; Secure")
			require.True(t, strings.HasPrefix(removed[1], "sid=; Path=/; Max-Age=0;"), removed[1])
		})
	}
	named := auth.New(store, auth.Config{CookieName: "game"})
	_, err := named.Authenticate(t.Context(), nil, header("Cookie: sid="+open(), "Origin: http://play.example", "Host: play.example"))
	require.ErrorIs(t, err, auth.ErrSessionRequired, "with --session-cookie only that one counts")
}

func TestLogoutEverywhere(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	server, client := serve(t, store, auth.Config{Dev: true})
	open := func(user string) string {
		s, err := store.Create(t.Context(), user, user, nil, sessions.Options{})
		require.NoError(t, err)
		return s.ID
	}
	lives := func(id string) bool {
		_, err := store.Get(t.Context(), id)
		return err == nil
	}
	here, phone, bob := open("ann"), open("ann"), open("bob")
	bearer := "Authorization: Bearer " + here
	const asJSON = "application/json"

	resp, out := do(t, client, server.URL+"/auth/logout", asJSON, `{"everywhere":1}`, bearer)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Equal(t, "everywhere", out["field"])
	resp, _ = do(t, client, server.URL+"/auth/logout", asJSON, `{"everywhere":true,"user":"bob"}`, bearer)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.True(t, lives(here) && lives(phone))
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "text/json"} {
		for _, path := range []string{"/auth/logout", "/auth/renew"} {
			resp, out = do(t, client, server.URL+path, kind, `{"everywhere":true}`, bearer)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%s as %q is not taken for a logout here", path, kind)
			require.Equal(t, "INVALID", out["code"])
			require.Equal(t, "Content-Type must be application/json", out["reason"])
		}
	}
	resp, _ = do(t, client, server.URL+"/auth/renew", asJSON, `{"everywhere":true}`, bearer)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "a renewal takes no members")
	require.True(t, lives(here) && lives(phone))

	resp, _ = do(t, client, server.URL+"/auth/logout", asJSON, `{"everywhere":true}`, bearer)
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.False(t, lives(here))
	require.False(t, lives(phone))
	require.True(t, lives(bob))

	tablet := open("ann")
	resp, out = do(t, client, server.URL+"/auth/logout", asJSON, `{"everywhere":true}`, bearer)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "nobody knows whose sessions are meant")
	require.Equal(t, "UNAUTHENTICATED", out["code"])
	require.True(t, lives(tablet))

	resp, _ = do(t, client, server.URL+"/auth/logout", asJSON, `{"everywhere":false}`, "Authorization: Bearer "+tablet)
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.False(t, lives(tablet))
}
