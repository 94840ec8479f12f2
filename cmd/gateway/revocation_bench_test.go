package main

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
)

// BenchmarkRevocation is how long it takes from the call that ends a session until its client has
// read session:revoked: 1,000 sockets, each with a session of its own, on two gateways. It fails
// above 100 ms at the 99th percentile. Clients, gateways and Redis share the machine.
//
//	go test -run '^$' -bench Revocation -benchtime 1x ./cmd/gateway
func BenchmarkRevocation(b *testing.B) {
	url := redistest.URL(b)
	gates := []*gate{serve(b, "--redis", url, "--limit", "connect=off", "--max-connections-per-user", "0", "--log-level", "error"), serve(b, "--redis", url, "--limit", "connect=off", "--max-connections-per-user", "0", "--log-level", "error")}
	rdb, err := redisconn.New(url, redisconn.Config{})
	require.NoError(b, err)
	b.Cleanup(func() { _ = rdb.Close() })
	store := sessions.New(rdb, sessions.Config{})
	const sockets, hands = 1000, 4
	var all []time.Duration
	for b.Loop() {
		ids := make([]string, sockets)
		told := make([]time.Time, sockets)
		var in, out sync.WaitGroup
		for i := range ids {
			s, err := store.Create(b.Context(), "ann", "ann", nil, sessions.Options{})
			require.NoError(b, err)
			ids[i] = s.ID
			conn, res, err := websocket.DefaultDialer.DialContext(b.Context(), socketURL(gates[i%2].public), nil)
			require.NoError(b, err)
			_ = res.Body.Close()
			b.Cleanup(func() { _ = conn.Close() })
			require.NoError(b, conn.WriteMessage(websocket.TextMessage, []byte(`40{"sessionId":"`+s.ID+`"}`)))
			in.Add(1)
			out.Go(func() {
				for {
					_, text, err := conn.ReadMessage()
					switch {
					case err != nil:
						return
					case strings.HasPrefix(string(text), `42["limits"`):
						in.Done()
					case strings.HasPrefix(string(text), `42["session:revoked"`):
						told[i] = time.Now()
						return
					}
				}
			})
		}
		in.Wait()
		called := make([]time.Time, sockets)
		var wg sync.WaitGroup
		for h := range hands {
			wg.Go(func() {
				for i := h; i < sockets; i += hands {
					called[i] = time.Now()
					if err := store.Destroy(b.Context(), ids[i], sessions.Revoked, "benchmark"); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		out.Wait()
		for i := range ids {
			require.False(b, told[i].IsZero(), "a socket was not told")
			all = append(all, told[i].Sub(called[i]))
		}
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
	for name, q := range map[string]float64{"p50-ms": .5, "p99-ms": .99, "max-ms": 1} {
		b.ReportMetric(float64(at(q).Microseconds())/1000, name)
	}
	if p99 := at(.99); p99 > 100*time.Millisecond {
		b.Errorf("p99 is %s, over 100ms", p99)
	}
}
