package throttle

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

// Every scope shows the same face everywhere: decision, fault, HTTP, metric, operators' look
// and key, for a plain policy and for one with cost and roles.
func TestScopeByPolicyByFace(t *testing.T) {
	t.Parallel()
	party := func(s Subject) string { return s.User[:1] }
	subjects := map[Scope]string{ByUser: "ann", BySession: "s-ann", ByIP: "10.0.0.1", ByConnection: "c1", ByKey: "a", Global: "global"}
	other := Subject{User: "bob", Session: "s-bob", IP: "10.0.0.2", Conn: "c2"}
	for scope, subject := range subjects {
		for _, cost := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s at %d", scope, cost), func(t *testing.T) {
				t.Parallel()
				p := Policy{Name: "p", Limit: 3 * cost, Window: time.Minute, Scope: scope, Cost: cost, Roles: []RoleRule{{"vip", 30, time.Minute}}}
				if scope == ByKey {
					p.Key = party
				}
				rdb := redistest.Client(t)
				l := newLimiter(t, rdb, patient, p)
				served := l.Middleware("p", func(*http.Request) Subject { return ann }, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
				request := func() *httptest.ResponseRecorder {
					w := httptest.NewRecorder()
					served.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
					return w
				}

				// An event and two requests share one budget.
				d := spend(t, l, ann, "p")
				require.True(t, d.Allowed)
				require.Equal(t, scope, d.Scope)
				w := request()
				require.Equal(t, 204, w.Code)
				require.Equal(t, strconv.Itoa(cost), w.Header().Get("X-RateLimit-Remaining"))
				require.Equal(t, 204, request().Code)
				d = spend(t, l, ann, "p")
				require.False(t, d.Allowed)
				f := d.Fault()
				require.Equal(t, "p", f.Detail("policy"))
				require.Equal(t, string(scope), f.Detail("scope"))
				require.Equal(t, 3*cost, f.Detail("limit"))
				w = request()
				require.Equal(t, 429, w.Code)
				require.Equal(t, fmt.Sprintf(`"p";q=%d;w=60`, 3*cost), w.Header().Get("RateLimit-Policy"))
				require.NotEmpty(t, w.Header().Get("Retry-After"))
				peek, err := l.Peek(t.Context(), "p", ann)
				require.NoError(t, err)
				require.False(t, peek.Allowed)

				require.EqualValues(t, 1, rdb.Exists(t.Context(), keys.RateLimit(subject, "p")).Val())
				windows, err := l.Dump(t.Context(), "p", 10)
				require.NoError(t, err)
				require.Len(t, windows, 1)
				require.Equal(t, subject, windows[0].Subject)
				require.Equal(t, scope != Global, spend(t, l, other, "p").Allowed, "others have a budget of their own")
				vip := ann
				vip.Roles = []string{"vip"}
				require.True(t, spend(t, l, vip, "p").Allowed)

				reg := prometheus.NewPedanticRegistry()
				require.NoError(t, reg.Register(l))
				families, err := reg.Gather()
				require.NoError(t, err)
				require.Contains(t, fmt.Sprint(families), `value:"`+string(scope)+`"`)
			})
		}
	}
}
