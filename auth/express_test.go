package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// signed returns the value of a cookie as express-session writes it.
func signed(id, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id))
	return url.QueryEscape("s:" + id + "." + base64.RawStdEncoding.EncodeToString(mac.Sum(nil)))
}

func TestTheCookieOfExpress(t *testing.T) {
	t.Parallel()
	// The example in the documentation of cookie-signature.
	require.Equal(t, "s%3Ahello.DGDUkGlIkCzPz%2BC0B064FNgHdEjox7ch8tOBGslZ5QI", signed("hello", "tobiiscool"))

	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	a := auth.New(store, auth.Config{
		Express: &auth.Express{Cookie: "connect.sid", Secrets: []string{"new", "tobiiscool"}}, AllowedOrigins: []string{"https://play.example"},
	})
	plain := auth.New(store, auth.Config{AllowedOrigins: []string{"https://play.example"}})
	require.NoError(t, rdb.Set(t.Context(), keys.ExpressSession("hello"), `{"cookie":{"originalMaxAge":60000},"userId":"ann"}`, time.Minute).Err())
	ours, err := store.Create(t.Context(), "bob", "bob", nil, sessions.Options{})
	require.NoError(t, err)
	good := signed("hello", "tobiiscool")
	const origin = "Origin: https://play.example"

	for name, c := range map[string]struct {
		service *auth.Service
		payload string
		headers []string
		user    string
		want    error
	}{
		"the cookie":                   {a, ``, []string{"Cookie: connect.sid=" + good, origin}, "ann", nil},
		"signed by the newer secret":   {a, ``, []string{"Cookie: connect.sid=" + signed("hello", "new"), origin}, "ann", nil},
		"in the payload":               {a, `{"sessionId":"` + good + `"}`, nil, "ann", nil},
		"as a bearer":                  {a, ``, []string{"Authorization: Bearer " + good}, "ann", nil},
		"before ours":                  {a, ``, []string{"Cookie: sid=" + ours.ID + "; connect.sid=" + good, origin}, "ann", nil},
		"ours beside it":               {a, ``, []string{"Cookie: sid=" + ours.ID, origin}, "bob", nil},
		"ours in the payload":          {a, `{"sessionId":"` + ours.ID + `"}`, nil, "bob", nil},
		"another page":                 {a, ``, []string{"Cookie: connect.sid=" + good, "Origin: https://evil.example"}, "", auth.ErrOriginRefused},
		"another secret":               {a, ``, []string{"Cookie: connect.sid=" + signed("hello", "guess"), origin}, "", auth.ErrSessionInvalid},
		"an empty secret":              {a, ``, []string{"Cookie: connect.sid=" + signed("hello", ""), origin}, "", auth.ErrSessionInvalid},
		"no signature":                 {a, ``, []string{"Cookie: connect.sid=s%3Ahello", origin}, "", auth.ErrSessionInvalid},
		"an empty signature":           {a, ``, []string{"Cookie: connect.sid=s%3Ahello.", origin}, "", auth.ErrSessionInvalid},
		"padded":                       {a, ``, []string{"Cookie: connect.sid=" + good + "%3D", origin}, "", auth.ErrSessionInvalid},
		"unsigned":                     {a, ``, []string{"Cookie: connect.sid=hello", origin}, "", auth.ErrSessionInvalid},
		"another's signature":          {a, ``, []string{"Cookie: connect.sid=s%3Aother.DGDUkGlIkCzPz%2BC0B064FNgHdEjox7ch8tOBGslZ5QI", origin}, "", auth.ErrSessionInvalid},
		"signed, and gone":             {a, ``, []string{"Cookie: connect.sid=" + signed("gone", "new"), origin}, "", auth.ErrSessionInvalid},
		"signed, and no id":            {a, ``, []string{"Cookie: connect.sid=" + signed("a:b", "new"), origin}, "", auth.ErrSessionInvalid},
		"two that differ":              {a, ``, []string{"Cookie: connect.sid=" + good + "; connect.sid=" + signed("gone", "new"), origin}, "ann", nil},
		"our name for it, unsigned":    {a, `{"sessionId":"express:hello"}`, nil, "", auth.ErrSessionInvalid},
		"our name for it, as a bearer": {a, ``, []string{"Authorization: Bearer express:hello"}, "", auth.ErrSessionInvalid},
		"our name for it, in a cookie": {a, ``, []string{"Cookie: sid=express:hello", origin}, "", auth.ErrSessionInvalid},
		"not configured":               {plain, ``, []string{"Cookie: connect.sid=" + good, origin}, "", auth.ErrSessionRequired},
		"not configured, in payload":   {plain, `{"sessionId":"` + good + `"}`, nil, "", auth.ErrSessionInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := c.service.Authenticate(t.Context(), []byte(c.payload), header(c.headers...))
			require.ErrorIs(t, err, c.want)
			require.Equal(t, c.user, s.UserID)
		})
	}
}

// No cookie causes a panic, and only a signed one is accepted.
func FuzzCookie(f *testing.F) {
	rdb := redistest.Client(f)
	store := sessions.New(rdb, sessions.Config{})
	a := auth.New(store, auth.Config{Dev: true, Express: &auth.Express{Cookie: "connect.sid", Secrets: []string{"secret"}}})
	for _, id := range []string{"abc", "x"} {
		require.NoError(f, rdb.Set(f.Context(), keys.ExpressSession(id), `{"userId":"ann"}`, time.Hour).Err())
	}
	good := signed("abc", "secret")
	f.Add("connect.sid=" + good)
	f.Add("connect.sid=" + signed("x", "guess") + "; sid=x")
	f.Add("connect.sid=s%3A.; connect.sid=%")
	f.Fuzz(func(t *testing.T, cookie string) {
		s, err := a.Authenticate(t.Context(), nil, map[string][]string{"Cookie": {cookie}})
		if err == nil {
			require.Equal(t, sessions.ExpressID("abc"), s.ID)
		}
	})
}
