package throttle

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/redistest"
)

// Whatever is wrong between us and Redis, each decision comes in time and none is refused for
// it; and when it is right again, Redis is asked again within moments.
func TestFaultsBetweenUsAndRedis(t *testing.T) {
	// Not parallel: it measures time.
	for name, toxic := range map[string]string{
		"latency":    `{"name":"bad","type":"latency","stream":"downstream","attributes":{"latency":400}}`,
		"black hole": `{"name":"bad","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`,
		"reset":      `{"name":"bad","type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`,
		"trickle":    `{"name":"bad","type":"slicer","stream":"downstream","attributes":{"average_size":1,"size_variation":0,"delay":100000}}`,
		"restart":    "",
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Server(t)
			lab := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
			p := toxiproxy.NewProxy(lab, "redis", "127.0.0.1:0", server.Addr())
			require.NoError(t, p.Start())
			defer p.Stop()
			rdb := redis.NewClient(&redis.Options{Addr: p.Listen, DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, ContextTimeoutEnabled: true})
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

			if toxic == "" {
				server.Kill()
			} else {
				_, err := p.Toxics.AddToxicJson(strings.NewReader(toxic))
				require.NoError(t, err)
			}
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
			require.Less(t, slowest, 50*time.Millisecond+slack)

			mended := time.Now()
			if toxic == "" {
				server.Restart()
			} else {
				require.NoError(t, p.Toxics.RemoveToxic(context.Background(), "bad"))
			}
			require.Eventually(t, healthy, 10*time.Second, 5*time.Millisecond)
			t.Logf("slowest decision %s, back after %s", slowest, time.Unix(0, back.Load()).Sub(mended))
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
