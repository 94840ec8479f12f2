package main

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// BenchmarkHungBackend measures what a backend that hangs costs other events. There are two
// gateways with as many players. In one, as many events as may wait hang in the backend the whole
// time, and one more is refused before each block of measurements. Blocks of round trips are taken
// from both in turn, so that what else the machine does meets both. The ratios of round trips and
// of CPU time per event are those of the gateway whose backend hangs to the other one; the wanted
// value is 1.
func BenchmarkHungBackend(b *testing.B) {
	const waiting, block = 64, 200
	type side struct {
		gate   *gate
		prober *rawPlayer
		more   *rawPlayer // whose events the backend would serve
		took   []time.Duration
		cpu    time.Duration
	}
	open := func(hangs bool) *side {
		backend := newQuestBackend(b)
		g := serve(b, "--redis", redistest.URL(b), "--dev", "--config", backend.config("timeout: 1h", fmt.Sprint("waiting: ", waiting)),
			"--handler-timeout", "1h", "--limit", "connect=100000/1m", "--limit", "login=100000/1m", "--limit", "events=100000/1s", "--limit", "rooms=100000/1s")
		s := &side{gate: g}
		for i := range waiting {
			p := openRawPlayer(b, g, fmt.Sprint("p", i))
			if hangs {
				p.send(`421["quest:hang",{}]`)
			}
		}
		if hangs {
			require.Eventually(b, func() bool { return len(backend.seen("quest:hang")) == waiting }, patience, tick)
		}
		s.prober, s.more = openRawPlayer(b, g, "prober"), openRawPlayer(b, g, "more")
		return s
	}
	hung, idle := open(true), open(false)
	for name, event := range map[string]string{"without Redis": `["session:ping"]`, "with Redis": `["chat:join",{"channel":"global"}]`} {
		b.Run(name, func(b *testing.B) {
			hung.took, idle.took, hung.cpu, idle.cpu = nil, nil, 0, 0
			for done := 0; done < b.N; done += block {
				require.Contains(b, string(hung.more.ask(`["quest:hang",{}]`)), "UNAVAILABLE")
				for _, s := range []*side{hung, idle} {
					before := cpuTime(b)
					for range block {
						begun := time.Now()
						answer := s.prober.ask(event)
						s.took = append(s.took, time.Since(begun))
						if !bytes.Contains(answer, []byte(`"ok":true`)) {
							b.Fatalf("%s", answer)
						}
					}
					s.cpu += cpuTime(b) - before
				}
			}
			at := func(s *side, share float64) float64 {
				slices.Sort(s.took)
				return float64(s.took[int(float64(len(s.took)-1)*share)].Nanoseconds())
			}
			b.ReportMetric(at(idle, 0.5)/1000, "µs-idle-p50")
			b.ReportMetric(at(hung, 0.5)/at(idle, 0.5), "ratio-p50")
			b.ReportMetric(at(hung, 0.99)/at(idle, 0.99), "ratio-p99")
			b.ReportMetric(float64(hung.cpu)/float64(idle.cpu), "ratio-CPU")
		})
	}
}

// A rawPlayer is a player who waits for each answer, and for nothing else.
type rawPlayer struct {
	t    testing.TB
	conn *websocket.Conn
}

func openRawPlayer(t testing.TB, g *gate, name string) *rawPlayer {
	t.Helper()
	conn, res, err := websocket.DefaultDialer.DialContext(t.Context(), socketURL(g.public), nil)
	require.NoError(t, err)
	_ = res.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	p := &rawPlayer{t, conn}
	p.send(fmt.Sprintf(`40{"sessionId":%q}`, g.guest(name)))
	p.receive(`42["limits"`)
	return p
}

func (p *rawPlayer) send(text string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.WriteMessage(websocket.TextMessage, []byte(text)))
}

// receive returns the next frame with a prefix.
func (p *rawPlayer) receive(prefix string) []byte {
	p.t.Helper()
	for {
		_, text, err := p.conn.ReadMessage()
		require.NoError(p.t, err)
		switch {
		case bytes.HasPrefix(text, []byte(prefix)):
			return text
		case string(text) == "2":
			p.send("3")
		}
	}
}

// ask sends an event and returns its answer.
func (p *rawPlayer) ask(event string) []byte {
	p.t.Helper()
	p.send("427" + event)
	return p.receive("437")
}
