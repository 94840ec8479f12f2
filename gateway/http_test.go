package gateway

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"
)

func TestEndpoint(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *Config) { c.Timeout = 20 * time.Millisecond })
	const jsonType = "application/json"
	long := `{"a":` + strings.Repeat(" ", maxRequestBody) + `1}`
	for name, c := range map[string]struct {
		route, session, kind, body string
		status                     int
		want                       string
	}{
		"a payload":             {"game:add", "s-ann", jsonType, `{"a":1,"b":2}`, 200, `{"sum":3}`},
		"with a charset":        {"game:add", "s-ann", jsonType + "; charset=utf-8", `{"a":1}`, 200, `{"sum":1}`},
		"nothing":               {"game:add", "s-ann", jsonType, "", 200, `{"sum":0}`},
		"no socket":             {"game:whoami", "s-ann", jsonType, "", 200, `{"user":"ann","character":"","conn":"","addr":"192.0.2.1","name":"The ann"}`},
		"limits are not spent":  {"game:both", "s-ann", jsonType, "", 200, `{"sum":0}`},
		"no session":            {"game:add", "", jsonType, "{}", 401, `{"type":"about:blank","title":"Please log in.","status":401,"code":"UNAUTHENTICATED"}`},
		"a bad session":         {"game:add", "nobody", jsonType, "{}", 401, `{"type":"about:blank","title":"Please log in.","status":401,"code":"UNAUTHENTICATED"}`},
		"a wrong field":         {"game:add", "s-ann", jsonType, `{"a":11}`, 400, `{"type":"about:blank","title":"The request is not valid.","status":400,"code":"INVALID","field":"a","reason":"at most 10"}`},
		"no JSON":               {"game:add", "s-ann", jsonType, `{"a"`, 400, `{"type":"about:blank","title":"The request is not valid.","status":400,"code":"INVALID","field":"","reason":"not valid JSON"}`},
		"a form":                {"game:add", "s-ann", "application/x-www-form-urlencoded", "a=1", 400, `{"type":"about:blank","title":"The request is not valid.","status":400,"code":"INVALID","field":"","reason":"Content-Type must be application/json"}`},
		"plain text":            {"game:add", "s-ann", "text/plain", `{"a":1}`, 400, `{"type":"about:blank","title":"The request is not valid.","status":400,"code":"INVALID","field":"","reason":"Content-Type must be application/json"}`},
		"no content type":       {"game:add", "s-ann", "", `{"a":1}`, 400, `{"type":"about:blank","title":"The request is not valid.","status":400,"code":"INVALID","field":"","reason":"Content-Type must be application/json"}`},
		"too long":              {"game:add", "s-ann", jsonType, long, 413, `{"type":"about:blank","title":"That message is too large.","status":413,"code":"PAYLOAD_TOO_LARGE"}`},
		"forbidden":             {"game:admin", "s-ann", jsonType, "{}", 403, `{"type":"about:blank","title":"You may not do that.","status":403,"code":"FORBIDDEN"}`},
		"allowed":               {"game:admin", "s-root", jsonType, "{}", 200, `{"sum":0}`},
		"a rule":                {"game:rule", "s-ann", jsonType, "{}", 409, `{"type":"about:blank","title":"That fight has ended.","status":409,"code":"COMBAT_OVER","winner":"ann"}`},
		"a deadline":            {"game:slow", "s-ann", jsonType, "{}", 504, `{"type":"about:blank","title":"That took too long.","status":504,"code":"TIMEOUT"}`},
		"a panic":               {"game:panic", "s-ann", jsonType, "{}", 500, `{"type":"about:blank","title":"Something went wrong on our side.","status":500,"code":"INTERNAL"}`},
		"a panic, instant":      {"game:nil", "s-ann", jsonType, "{}", 500, `{"type":"about:blank","title":"Something went wrong on our side.","status":500,"code":"INTERNAL"}`},
		"ping without a socket": {"session:ping", "s-ann", jsonType, "", 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader(c.body))
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			if c.session != "" {
				r.Header.Set("Authorization", "Bearer "+c.session)
			}
			w := httptest.NewRecorder()
			h.Identify(h.Endpoint(c.route, nil)).ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code)
			if c.want != "" {
				require.JSONEq(t, c.want, w.Body.String())
			}
			if c.status == http.StatusOK {
				require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			} else {
				require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			}
		})
	}
	require.Empty(t, h.purse.spent)
	for _, e := range h.logs.All() {
		require.NotContains(t, e.Message+e.Caller.String(), "s-ann")
		require.NotContains(t, e.ContextMap(), "error")
	}
	require.Len(t, h.logs.FilterLevelExact(zapcore.ErrorLevel).All(), 2, "each panic once")
	require.PanicsWithValue(t, "gateway: no route is named game:unknown", func() { h.Endpoint("game:unknown", nil) })
}

func TestEndpointAlone(t *testing.T) {
	t.Parallel()
	h := open(t)
	w := httptest.NewRecorder()
	h.Endpoint("game:add", nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/x", nil))
	require.Equal(t, http.StatusUnauthorized, w.Code, "nobody was identified")
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	h := open(t)
	var seen bool
	guarded := h.Identify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := PlayerOf(r)
		require.True(t, ok)
		require.Equal(t, []string{"ann", "s-ann", "192.0.2.1", ""}, []string{p.UserID, p.SessionID, p.Addr, p.Conn})
		seen = true
		_, _ = io.WriteString(w, "hello")
	}))
	serve := func(session string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		_, ok := PlayerOf(r)
		require.False(t, ok)
		r.Header.Set("Authorization", "Bearer "+session)
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, "hello", serve("s-ann").Body.String())
	require.True(t, seen)
	seen = false
	for _, session := range []string{"", "nobody", "crowded"} {
		require.Equal(t, http.StatusUnauthorized, serve(session).Code)
	}
	h.book.set(func() { h.book.broken = errors.New("redis: connection refused") })
	w := serve("s-ann")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.NotContains(t, w.Body.String(), "redis")
	require.False(t, seen)
	require.Len(t, h.logs.All(), 1)
	require.Equal(t, "redis: connection refused", h.logs.All()[0].ContextMap()["error"])
}
