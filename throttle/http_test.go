package throttle

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

func split(t *testing.T, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return host, port
}

func byAddr(r *http.Request) Subject {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return Subject{IP: host}
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	var failed error
	cfg := patient
	cfg.OnError = func(_ *http.Request, err error) { failed = err }
	l := newLimiter(t, redistest.Client(t), cfg,
		Policy{Name: "login", Limit: 2, Window: time.Minute, Scope: ByIP}, Policy{Name: "api", Limit: 9, Window: time.Minute, Scope: ByIP}, Policy{Name: "off", Scope: ByIP})
	served := 0
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served++
		w.WriteHeader(http.StatusNoContent)
	})
	h = l.Middleware("api", byAddr, l.Middleware("login", byAddr, l.Middleware("off", byAddr, h)))
	get := func(addr string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest(http.MethodPost, "/auth/login", nil), httptest.NewRecorder()
		r.RemoteAddr = addr
		h.ServeHTTP(w, r)
		return w
	}
	w := get("10.0.0.1:999")
	require.Equal(t, 204, w.Code)
	require.Equal(t, []string{`"api";q=9;w=60`, `"login";q=2;w=60`}, w.Header().Values("RateLimit-Policy"))
	require.Equal(t, []string{`"api";r=8;t=60`, `"login";r=1;t=60`}, w.Header().Values("RateLimit"))
	require.Equal(t, "2", w.Header().Get("X-RateLimit-Limit"))
	require.Equal(t, "1", w.Header().Get("X-RateLimit-Remaining"))
	require.Empty(t, w.Header().Get("Retry-After"))
	reset, err := strconv.ParseInt(w.Header().Get("X-RateLimit-Reset"), 10, 64)
	require.NoError(t, err)
	require.InDelta(t, time.Now().Unix()+60, reset, 10)

	require.Equal(t, 204, get("10.0.0.1:999").Code)
	w = get("10.0.0.1:777")
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	after, err := strconv.Atoi(w.Header().Get("Retry-After"))
	require.NoError(t, err)
	require.InDelta(t, 55, after, 5)
	require.Equal(t, fmt.Sprintf(`"login";r=0;t=%d`, after), w.Header().Values("RateLimit")[1])
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.Equal(t, "RATE_LIMITED", body["code"])
	require.Equal(t, "https://iana.org/assignments/http-problem-types#quota-exceeded", body["type"])
	require.Equal(t, []any{"login"}, body["violated-policies"])
	require.Equal(t, "login", body["policy"])
	require.Equal(t, "ip", body["scope"])
	require.EqualValues(t, 60_000, body["windowMs"])
	require.Equal(t, 2, served)
	require.Equal(t, 204, get("10.0.0.2:1").Code)

	require.NoError(t, failed)
	w = get("nonsense")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.ErrorIs(t, failed, ErrNoSubject)
	require.NotContains(t, w.Body.String(), "subject")
}
