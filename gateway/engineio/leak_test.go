package engineio

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Nothing here is parallel: it counts goroutines and memory.

// vanish opens a connection and goes away at a random moment, in a random manner.
func vanish(s *site, random *rand.Rand) {
	nc, err := net.Dial("tcp", s.web.Listener.Addr().String())
	if err != nil {
		return
	}
	defer nc.Close()
	if random.IntN(2) == 0 {
		_ = nc.(*net.TCPConn).SetLinger(0)
	}
	_ = nc.SetDeadline(time.Now().Add(time.Second)) // what it says after a refusal is answered by nobody
	upgrade := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
	get := func(query, headers string) string {
		return "GET /engine.io/?EIO=4&transport=" + query + " HTTP/1.1\r\nHost: t\r\n" + headers + "\r\n"
	}
	read := make([]byte, 4096)
	say := func(b string) bool {
		if random.IntN(6) == 0 { // in the middle of it
			_, _ = nc.Write([]byte(b[:random.IntN(len(b))]))
			return false
		}
		_, err := nc.Write([]byte(b))
		return err == nil && random.IntN(6) != 0
	}
	hear := func() string {
		n, _ := nc.Read(read)
		return string(read[:n])
	}
	frames := string(join(frameOf(flagFin|opText, "4hello"), frameOf(opText, "4hel"), frameOf(flagFin|opContinuation, "lo"), frameOf(flagFin|opPing, "p")))
	switch random.IntN(3) {
	case 0: // a websocket
		if say(get("websocket", upgrade)) && hear() != "" {
			say(frames)
		}
	case 1: // polling
		if !say(get("polling", "")) {
			return
		}
		_, sid, _ := strings.Cut(hear(), `"sid":"`)
		sid, _, _ = strings.Cut(sid, `"`)
		if sid == "" || !say(fmt.Sprintf("POST /engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\n4hello", sid)) {
			return
		}
		hear()
		if say(get("polling&sid="+sid, "")) {
			hear()
			say(get("polling&sid="+sid, ""))
		}
	case 2: // an upgrade
		if !say(get("polling", "")) {
			return
		}
		_, sid, _ := strings.Cut(hear(), `"sid":"`)
		sid, _, _ = strings.Cut(sid, `"`)
		if sid == "" || !say(get("websocket&sid="+sid, upgrade)) {
			return
		}
		hear()
		if say(string(frameOf(flagFin|opText, "2probe"))) {
			hear()
			say(string(frameOf(flagFin|opText, "5")) + frames)
		}
	}
}

func TestThousandsOfConnectsLeaveNothing(t *testing.T) {
	const rounds, connects, workers = 3, 1000, 40
	ignore := goleak.IgnoreCurrent()
	s := newSite(Config{
		PingInterval: 60 * time.Millisecond, PingTimeout: 60 * time.Millisecond,
		UpgradeTimeout: 200 * time.Millisecond, BodyTimeout: 200 * time.Millisecond, Linger: 50 * time.Millisecond,
	})
	s.web.Start()
	gone := func(of int) {
		var all sync.WaitGroup
		for i := range workers {
			random := rand.New(rand.NewPCG(uint64(of), uint64(i)))
			all.Go(func() {
				for range of / workers {
					vanish(s, random)
				}
			})
		}
		all.Wait()
		for deadline := time.Now().Add(patience); s.Count() > 0 || s.active.Load() > 0; time.Sleep(5 * time.Millisecond) {
			require.True(t, time.Now().Before(deadline), "%d connections and %d requests stay", s.Count(), s.active.Load())
		}
		s.told.Range(func(sid, h any) bool {
			require.Equal(t, int32(1), h.(*recorder).closes.Load())
			s.told.Delete(sid)
			return true
		})
	}
	gone(connects) // what is made once
	heap, goroutines := settled(), runtime.NumGoroutine()
	for range rounds {
		gone(connects)
	}
	calm(t, goroutines)
	after := settled()
	require.LessOrEqual(t, after, heap*110/100, "the heap was %d", heap)
	s.mu.Lock()
	require.Empty(t, s.conns)
	require.Empty(t, s.placesByAddr)
	s.mu.Unlock()
	s.end()
	goleak.VerifyNone(t, ignore)
}

func TestAnIdleWebsocketCostsOneGoroutine(t *testing.T) {
	const clients = 500
	s := serve(t, Config{Handler: func(c *Conn, _ *http.Request) Handler {
		c.Confirm()
		c.Forget()
		return emittingHandler{}
	}})
	all := make([]*socket, 0, clients)
	open := func(n int) {
		for range n {
			w := s.dial(t, "EIO=4&transport=websocket")
			w.text()
			w.send("4a") // it has worked, and is idle again
			all = append(all, w)
		}
	}
	before := runtime.NumGoroutine()
	open(10) // what is made once
	calm(t, before+10)
	before += 10
	heap := settled()
	open(clients)
	calm(t, before+clients)
	require.InDelta(t, before+clients, runtime.NumGoroutine(), 3) // a timer's may be passing by
	perConn := (settled() - heap) / clients
	t.Logf("%d bytes of heap for each, with the client's 4 KB of buffer", perConn)
	require.Less(t, perConn, int64(10<<10))
	for _, w := range all {
		require.NoError(t, w.Close())
	}
	calm(t, before)
}

// A connection that is idle after a large message keeps nothing of it.
func TestABufferIsNotKept(t *testing.T) {
	const clients = 20
	s := serve(t, Config{OutboundQueue: 4 << 20})
	all := make([]*socket, clients)
	for i := range all {
		all[i] = s.socket(t)
	}
	before := settled()
	for _, w := range all {
		w.send("4" + strings.Repeat("x", 300_000))
		require.Len(t, w.text(), 300_001)
	}
	require.Less(t, settled()-before, int64(clients*16<<10))
	for _, w := range all {
		w.send("4a")
		require.Equal(t, "4a", w.text())
	}
}
