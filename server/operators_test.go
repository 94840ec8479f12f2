package server

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where --admin-addr is 0.0.0.0, as in a container that Prometheus scrapes, nobody else's machine
// gets a profile.
func TestProfilesAreForThisMachine(t *testing.T) {
	t.Parallel()
	n := newNode(Config{}.WithDefaults(), "n")
	for peer, status := range map[string]int{
		"127.0.0.1:4711": http.StatusOK, "[::1]:4711": http.StatusOK, "[::ffff:127.0.0.1]:4711": http.StatusOK,
		"10.0.0.7:4711": http.StatusForbidden, "[2001:db8::7]:4711": http.StatusForbidden, "@": http.StatusForbidden, "": http.StatusForbidden,
	} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/symbol"} {
			r := httptest.NewRequest(http.MethodGet, "http://10.0.0.1:8081"+path, nil)
			r.RemoteAddr = peer
			r.Header.Set("X-Forwarded-For", "127.0.0.1")
			w := httptest.NewRecorder()
			n.adminRoutes().ServeHTTP(w, r)
			require.Equal(t, status, w.Code, "%s %s", peer, path)
		}
		r := httptest.NewRequest(http.MethodGet, "http://10.0.0.1:8081/metrics", nil)
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		n.adminRoutes().ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code, peer)
	}
}
