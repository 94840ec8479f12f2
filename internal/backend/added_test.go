package backend_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/backend"
)

// BenchmarkAddedTime measures what a backend's route adds to what the backend takes, at 2,000
// events a second from 64 players: the 99th percentile, of the backend's own time, and of the
// difference. The wanted bound is 1 ms.
func BenchmarkAddedTime(b *testing.B) {
	const perSecond = 2000
	var mu sync.Mutex
	var own []time.Duration // from the first byte of the body to the answer
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"data":{"questId":"q1","state":"open"}}`)
		mu.Lock()
		own = append(own, time.Since(started))
		mu.Unlock()
	}))
	defer s.Close()
	service, err := backend.New([]backend.Config{config(b, "quests", s.URL, "quest:accept")}, backend.Options{Rooms: &silentRooms{}})
	require.NoError(b, err)
	defer service.Close()
	route := service.Routes()[0]

	var took []time.Duration
	work := make(chan struct{}, perSecond)
	var players sync.WaitGroup
	for range 64 {
		players.Go(func() {
			for range work {
				started := time.Now()
				if _, err := serveRoute(route, `{"questId":"q1"}`); err != nil {
					b.Error(err)
				}
				d := time.Since(started)
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			}
		})
	}
	b.ResetTimer()
	begun := time.Now()
	for i := range b.N {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / perSecond)))
		work <- struct{}{}
	}
	close(work)
	players.Wait()
	b.StopTimer()
	at := func(all []time.Duration, share float64) float64 {
		slices.Sort(all)
		return float64(all[int(float64(len(all)-1)*share)].Microseconds())
	}
	b.ReportMetric(at(took, 0.5)-at(own, 0.5), "µs-added-p50")
	b.ReportMetric(at(took, 0.99), "µs-p99")
	b.ReportMetric(at(took, 0.99)-at(own, 0.99), "µs-added-p99")
}
