package throttle

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
)

// Whatever is wrong between us and Redis, each decision comes in time and none is refused for
// it; and when it is right again, Redis is asked again within moments.
func TestFaultsBetweenUsAndRedis(t *testing.T) {
	// Not parallel: it measures time.
	for name, c := range map[string]struct {
		harm, mend func(*redistest.Instance, *redistest.Wire)
	}{
		"latency":    {harm: func(_ *redistest.Instance, w *redistest.Wire) { w.Delay(400 * time.Millisecond) }},
		"black hole": {harm: func(_ *redistest.Instance, w *redistest.Wire) { w.BlackHole() }},
		"reset":      {harm: func(_ *redistest.Instance, w *redistest.Wire) { w.Reset() }},
		"trickle":    {harm: func(_ *redistest.Instance, w *redistest.Wire) { w.Trickle(100 * time.Millisecond) }},
		"restart": {
			harm: func(s *redistest.Instance, _ *redistest.Wire) { s.Kill() },
			mend: func(s *redistest.Instance, _ *redistest.Wire) { s.Restart() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, lag := redistest.Server(t), redistest.Lag(t)
			wire := redistest.Toxic(t, server)
			rdb := redis.NewClient(&redis.Options{Addr: wire.Addr(), DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, ContextTimeoutEnabled: true})
			defer rdb.Close()
			var back atomic.Int64 // when Redis was trusted again, Unix ns
			l := newLimiter(t, rdb, Config{OnChange: func(degraded bool, _ error) {
				if !degraded {
					back.Store(time.Now().UnixNano())
				}
			}}, Policy{Name: "p", Limit: 1000, Window: time.Minute, Scope: ByUser})
			healthy := func() bool {
				return spend(t, l, Subject{User: "warm"}, "p").Source == SourceRedis && !l.Degraded()
			}
			require.Eventually(t, healthy, 10*time.Second, 5*time.Millisecond)

			harmed := time.Now().UnixNano()
			c.harm(server, wire)
			var slowest time.Duration
			local := 0
			for begun := time.Now(); time.Since(begun) < 700*time.Millisecond; {
				asked := time.Now()
				d := spend(t, l, ann, "p")
				slowest = max(slowest, time.Since(asked))
				require.True(t, d.Allowed || d.Remaining == 0 && d.Source != SourceRedis)
				if d.Source == SourceLocal {
					local++
				}
				<-time.After(time.Millisecond)
			}
			require.NotZero(t, local)
			require.Less(t, slowest, 50*time.Millisecond+slack+lag())

			if c.mend != nil {
				c.mend(server, wire)
			}
			wire.Mend()
			mended := time.Now()
			require.Eventually(t, func() bool { return healthy() && back.Load() > harmed }, 10*time.Second, 5*time.Millisecond)
			revert := time.Unix(0, back.Load()).Sub(mended)
			require.Less(t, revert, 500*time.Millisecond+lag())
			t.Logf("slowest decision %s, back after %s", slowest, revert)
		})
	}
}

// Each of four nodes admits a quarter while Redis is gone, and at least one event.
func TestTheLimitIsSharedOutWhileRedisIsGone(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	nodes := atomic.Int64{}
	nodes.Store(4)
	l := newLimiter(t, server.Client(), Config{Nodes: func() int { return int(nodes.Load()) }},
		Policy{Name: "p", Limit: 10, Window: time.Minute, Scope: ByUser}, Policy{Name: "one", Limit: 1, Window: time.Minute, Scope: ByUser},
		Policy{Name: "dear", Limit: 6, Window: time.Minute, Scope: ByUser, Cost: 3})
	require.Eventually(t, func() bool { return l.Refresh(t.Context()) == nil }, 10*time.Second, time.Millisecond)
	server.Kill()
	nodes.Store(1) // nobody hears of the others any more
	for policy, admitted := range map[string]int{"p": 2, "one": 1, "dear": 1} {
		for i := range 5 {
			d := spend(t, l, ann, policy)
			require.Equal(t, i < admitted, d.Allowed, "%s %d", policy, i)
			require.Equal(t, SourceLocal, d.Source)
		}
	}
}

// Without the local window, what is limited is unavailable: that is told as such, never as a
// refusal.
func TestNoLocalWindow(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	l := newLimiter(t, server.Client(), Config{NoLocal: true, OnError: func(_ *http.Request, err error) { t.Error(err) }}, Policy{Name: "p", Limit: 9, Window: time.Minute, Scope: ByIP})
	server.Kill()
	_, err := l.Check(t.Context(), "p", ann)
	require.ErrorIs(t, err, fault.ErrUnavailable)
	served := l.Middleware("p", func(*http.Request) Subject { return ann }, http.NotFoundHandler())
	w := httptest.NewRecorder()
	served.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Contains(t, w.Body.String(), "#temporary-reduced-capacity")
	require.NotContains(t, w.Body.String(), "RATE_LIMITED")
	require.Empty(t, w.Header().Values("RateLimit"))
	server.Restart()
	require.Eventually(t, func() bool { d, err := l.Check(t.Context(), "p", ann); return err == nil && d.Allowed }, 10*time.Second, 5*time.Millisecond)
}
