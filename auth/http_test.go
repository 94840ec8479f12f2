package auth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/sessions"
)

// serve runs the routes of a Service with that Config, and returns a client with a cookie jar.
func serve(t *testing.T, store auth.Store, cfg auth.Config) (*httptest.Server, *http.Client) {
	t.Helper()
	a := auth.New(store, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("/auth/login", a.Login)
	mux.HandleFunc("/auth/logout", a.Logout)
	mux.HandleFunc("/auth/renew", a.Renew)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return server, &http.Client{Jar: jar}
}

func do(t *testing.T, c *http.Client, url, kind, body string, headers ...string) (*http.Response, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header = header(headers...)
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, err := c.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var out map[string]any
	if len(raw) > 0 {
		require.NoError(t, json.Unmarshal(raw, &out), string(raw))
	}
	return resp, out
}

func TestLoginAndLogout(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	store := sessions.New(rdb, sessions.Config{})
	server, client := serve(t, store, auth.Config{Dev: true, SessionTTL: time.Minute})

	resp, out := do(t, client, server.URL+"/auth/login", "application/json; charset=utf-8", `{"username":"ann_1"}`, "User-Agent: browser")
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	id := out["sessionId"].(string)
	require.InDelta(t, time.Now().Add(time.Minute).UnixMilli(), out["expiresAt"], 5000)
	require.Equal(t, map[string]any{"userId": "ann_1", "username": "ann_1", "characterId": "ann_1", "roles": []any{"player"}}, out["user"])
	cookie := resp.Header.Get("Set-Cookie")
	require.Equal(t, "sid="+id+"; Path=/; HttpOnly; SameSite=Lax", cookie)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	s, err := store.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, sessions.Metadata{IPAddress: "127.0.0.1", UserAgent: "browser"}, s.Metadata)

	resp, out = do(t, client, server.URL+"/auth/logout", "", "", "Origin: https://evil.example")
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, "FORBIDDEN", out["code"])
	require.Equal(t, int64(1), rdb.Exists(t.Context(), keys.Session(id)).Val())

	resp, _ = do(t, client, server.URL+"/auth/logout", "", "")
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.Equal(t, []string{
		"__Host-sid=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax", "sid=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
	}, resp.Header.Values("Set-Cookie"))
	require.Zero(t, rdb.Exists(t.Context(), keys.Session(id)).Val())
	log, err := rdb.XRange(t.Context(), keys.RevocationLog, "-", "+").Result()
	require.NoError(t, err)
	require.Contains(t, log[0].Values["message"], `"code":"LOGGED_OUT"`)

	resp, _ = do(t, client, server.URL+"/auth/logout", "", "", "Authorization: Bearer "+id)
	require.Equal(t, http.StatusNoContent, resp.StatusCode, "a repeat within two minutes")
	resp, out = do(t, client, server.URL+"/auth/logout", "", "", "Authorization: Bearer never-there")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, "UNAUTHENTICATED", out["code"])
}

func TestLoginRefusals(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	server, client := serve(t, store, auth.Config{Dev: true})
	const asJSON = "application/json"
	for name, c := range map[string]struct {
		kind, body  string
		status      int
		code, field string
	}{
		"no type":        {"", `{"username":"ann"}`, 400, "INVALID", ""},
		"a form":         {"application/x-www-form-urlencoded", `username=ann`, 400, "INVALID", ""},
		"plain text":     {"text/plain", `{"username":"ann"}`, 400, "INVALID", ""},
		"broken type":    {"application/json; =", `{"username":"ann"}`, 400, "INVALID", ""},
		"empty":          {asJSON, ``, 400, "INVALID", ""},
		"null":           {asJSON, `null`, 400, "INVALID", "username"},
		"a list":         {asJSON, `["ann"]`, 400, "INVALID", ""},
		"not JSON":       {asJSON, `{"username":`, 400, "INVALID", ""},
		"no name":        {asJSON, `{}`, 400, "INVALID", "username"},
		"null name":      {asJSON, `{"username":null}`, 400, "INVALID", "username"},
		"a number":       {asJSON, `{"username":7}`, 400, "INVALID", "username"},
		"an empty name":  {asJSON, `{"username":""}`, 400, "INVALID", "username"},
		"a long name":    {asJSON, `{"username":"` + strings.Repeat("a", 33) + `"}`, 400, "INVALID", "username"},
		"colon":          {asJSON, `{"username":"a:b"}`, 400, "INVALID", "username"},
		"NUL":            {asJSON, `{"username":"a\u0000"}`, 400, "INVALID", "username"},
		"umlaut":         {asJSON, `{"username":"ä"}`, 400, "INVALID", "username"},
		"unknown field":  {asJSON, `{"username":"ann","roles":["admin"]}`, 400, "INVALID", "roles"},
		"a token":        {asJSON, `{"token":"x"}`, 400, "INVALID", "token"},
		"half a pair":    {asJSON, `{"username":"ann\ud83d"}`, 400, "INVALID", "username"},
		"bad UTF-8":      {asJSON, "{\"username\":\"ann\xff\"}", 400, "INVALID", "username"},
		"given twice":    {asJSON, `{"username":"ann","username":"bob"}`, 400, "INVALID", "username"},
		"rubbish behind": {asJSON, `{"username":"ann"}{}`, 400, "INVALID", ""},
		"too large":      {asJSON, `{"username":"` + strings.Repeat("a", 1<<20) + `"}`, 413, "PAYLOAD_TOO_LARGE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp, out := do(t, client, server.URL+"/auth/login", c.kind, c.body)
			require.Equal(t, c.status, resp.StatusCode)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			require.Equal(t, c.code, out["code"])
			if c.field != "" {
				require.Equal(t, c.field, out["field"])
			}
			require.Empty(t, resp.Cookies())
		})
	}
	resp, err := client.Get(server.URL + "/auth/login")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	stats, err := store.Stats(t.Context())
	require.NoError(t, err)
	require.Zero(t, stats.Created)
}

func TestNoGuestsOutsideDev(t *testing.T) {
	t.Parallel()
	server, client := serve(t, sessions.New(redistest.Client(t), sessions.Config{}), auth.Config{})
	resp, out := do(t, client, server.URL+"/auth/login", "application/json", `{"username":"ann"}`)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, "FORBIDDEN", out["code"])
	require.Contains(t, out["title"], "--dev")
}

// A form of a foreign page carries no SameSite=Lax cookie, and its answer is not read. It must not
// change the cookie; a program with a bearer token may log out from anywhere.
func TestAForeignPageDoesNotChangeTheCookie(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	server, _ := serve(t, store, auth.Config{Dev: true})
	s, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		path    string
		headers []string
		status  int
		changes bool
		fields  string
	}{
		"a form with fields":           {"/auth/logout", []string{"Origin: https://evil.example"}, 400, false, "a=b"},
		"a form":                       {"/auth/logout", []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, 401, false, ""},
		"a sandboxed form":             {"/auth/logout", []string{"Origin: null"}, 401, false, ""},
		"a form of an old browser":     {"/auth/logout", []string{"Referer: https://evil.example/"}, 401, false, ""},
		"with a wrong token":           {"/auth/logout", []string{"Origin: https://evil.example", "Authorization: Bearer nobody"}, 401, false, ""},
		"with the cookie":              {"/auth/logout", []string{"Origin: https://evil.example", "Cookie: sid=" + s.ID}, 403, false, ""},
		"a renewal":                    {"/auth/renew", []string{"Origin: https://evil.example"}, 401, false, ""},
		"our page":                     {"/auth/logout", []string{"Origin: " + server.URL}, 401, true, ""},
		"a program":                    {"/auth/logout", nil, 401, true, ""},
		"a foreign page with its name": {"/auth/login", []string{"Origin: https://evil.example"}, 201, false, ""},
	} {
		kind, body := "application/x-www-form-urlencoded", c.fields
		if c.path == "/auth/login" {
			kind, body = "application/json", `{"username":"ann"}`
		}
		resp, _ := do(t, &http.Client{}, server.URL+c.path, kind, body, c.headers...)
		require.Equal(t, c.status, resp.StatusCode, name)
		require.Equal(t, c.changes, resp.Header.Get("Set-Cookie") != "", name)
	}
	resp, _ := do(t, &http.Client{}, server.URL+"/auth/renew", "", "", "Origin: https://evil.example", "Authorization: Bearer "+s.ID)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Empty(t, resp.Header.Get("Set-Cookie"))
}

func TestCookieIsSecureOutsideDev(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	server, client := serve(t, store, auth.Config{CookieName: "game"})
	s, err := store.Create(t.Context(), "u", "ann", nil, sessions.Options{})
	require.NoError(t, err)
	resp, _ := do(t, client, server.URL+"/auth/logout", "", "", "Cookie: game="+s.ID, "Sec-Fetch-Site: same-origin")
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.Equal(t, "game=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax", resp.Header.Get("Set-Cookie"))
}

func TestRedisDownOverHTTP(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	told := make(chan error, 2)
	server, client := serve(t, sessions.New(redis.Client(), sessions.Config{}), auth.Config{Dev: true, Failed: func(_ string, err error) { told <- err }})
	redis.Kill()
	resp, out := do(t, client, server.URL+"/auth/login", "application/json", `{"username":"ann"}`)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	require.Equal(t, "UNAVAILABLE", out["code"])
	require.Error(t, <-told)
	resp, _ = do(t, client, server.URL+"/auth/logout", "", "", "Authorization: Bearer abc")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Error(t, <-told)
}
