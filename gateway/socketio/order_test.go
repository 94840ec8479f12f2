package socketio

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// burst returns n numbered events, each of which asks for an acknowledgement.
func burst(name string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`42%d[%q,%d]`, i, name, i)
	}
	return all
}

// acks reads the answers to a burst.
func acks(t testing.TB, c *wiretest.Client, n int) {
	t.Helper()
	for i := range n {
		c.Expect(fmt.Sprintf(`43%d[%d]`, i, i))
	}
}

// answers answers an event with its arguments, as package gateway does.
func answers(s *Socket, e *Event) {
	m := s.Answering(e.ID)
	m.SetBuffer(append(m.Buffer(), e.Args...))
	s.Reply(m)
}

func TestEventsRightBehindConnect(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		gate := make(chan struct{})
		r := &scene{
			instant:   "now",
			admit:     func(context.Context, *Socket, []byte) error { <-gate; return nil },
			connected: func(s *Socket) { s.SetData("connected") },
		}
		r.event = func(s *Socket, e *Event) {
			if s.Data() == nil {
				t.Error("an event before Connected")
			}
			answers(s, e)
		}
		w := serve(t, r, Config{})
		for _, name := range []string{"later", "now"} {
			c := w.open(t, transport)
			go c.Send(append([]string{"40"}, burst(name, 500)...)...)
			gate <- struct{}{}
			require.True(t, strings.HasPrefix(c.Read(), "40{"))
			acks(t, c, 500)
		}
	})
}

func TestAnswersAreInOrder(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		w := serve(t, &scene{instant: "now", event: answers}, Config{})
		c, _ := w.join(t, transport)
		for _, name := range []string{"later", "now"} {
			c.Send(burst(name, 500)...) // over polling in one POST
			acks(t, c, 500)
		}
		mixed := burst("later", 500)
		for i := range mixed {
			if i%3 == 0 {
				mixed[i] = strings.Replace(mixed[i], "later", "now", 1)
			}
		}
		c.Send(mixed...)
		acks(t, c, 500)
	})
}

// Instant events do not overtake events that wait.
func TestInstantEventsKeepTheirPlace(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		gate := make(chan struct{})
		var busy atomic.Int32
		r := &scene{instant: "now", event: func(s *Socket, e *Event) {
			if busy.Add(1) > 1 {
				t.Error("two events at once")
			}
			if string(e.Name) == "wait" {
				<-gate
			}
			answers(s, e)
			busy.Add(-1)
		}}
		w := serve(t, r, Config{})
		c, _ := w.join(t, transport)
		c.Send(`420["now",0]`, `421["wait",1]`, `422["now",2]`, `423["later",3]`, `424["now",4]`)
		c.Expect("430[0]") // this does not wait
		close(gate)
		c.Expect("431[1]", "432[2]", "433[3]", "434[4]")
	})
}

func TestAnAnswerDoesNotWaitForTheNextEvent(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		gate := make(chan struct{})
		w := serve(t, &scene{event: func(s *Socket, e *Event) {
			if string(e.Name) == "wait" {
				<-gate
			}
			answers(s, e)
		}}, Config{})
		c, _ := w.join(t, transport)
		c.Send(`420["a",0]`, `421["a",1]`, `422["wait",2]`)
		c.Expect("430[0]", "431[1]")
		close(gate)
		c.Expect("432[2]")
	})
}

func TestASlowReceiverSlowsItsSender(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		const n, room = 1000, 4
		var l atomic.Pointer[link]
		most := 0
		served := 0
		r := &scene{connected: func(s *Socket) { l.Store(s.link) }}
		r.event = func(s *Socket, e *Event) {
			x := l.Load()
			x.mu.Lock()
			most = max(most, x.queue.len)
			x.mu.Unlock()
			if want := fmt.Sprint(served); string(e.Args) != want {
				t.Errorf("want %s, got %s", want, e.Args)
			}
			served++
			if served < 20 { // until all that may wait does
				for range 1000 {
					x.mu.Lock()
					full := x.queue.len >= room && x.spaceFreed != nil
					x.mu.Unlock()
					if full {
						break
					}
				}
			}
			if served == n {
				_ = s.Emit("all")
			}
		}
		w := serve(t, r, Config{Inbound: room})
		c, _ := w.join(t, transport)
		require.NoError(t, c.Post(burst("e", n)...), "nothing is refused")
		c.Expect(`42["all"]`)
		require.LessOrEqual(t, most, room)
	})
}

func TestWaitingEventsAreBoundedInBytesToo(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		gate := make(chan struct{})
		r := &scene{event: func(*Socket, *Event) { <-gate }}
		w := serve(t, r, Config{InboundBytes: 10_000})
		c, _ := w.join(t, transport)
		l := r.one(t).link
		go c.Send(strings.Split(strings.TrimSuffix(strings.Repeat(`42["m","`+strings.Repeat("x", 1000)+`"] `, 100), " "), " ")...)
		require.Eventually(t, func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.spaceFreed != nil
		}, wiretest.Patience, tick)
		l.mu.Lock()
		require.LessOrEqual(t, l.queue.bytes, 10_000)
		require.Greater(t, l.queue.bytes, 8_000)
		l.mu.Unlock()
		close(gate)
		alive := func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.queue.bytes == 0 && !l.isServing
		}
		require.Eventually(t, alive, wiretest.Patience, tick)
	})
}

// When a client leaves while the reader waits for room in the queue, its events are not served any
// more.
func TestLeavingWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	r := &scene{event: func(*Socket, *Event) { <-gate }}
	w := serve(t, r, Config{Inbound: 2, Engine: engineio.Config{}})
	c, _ := w.join(t, "websocket")
	s := r.one(t)
	c.Send(burst("e", 50)...)
	require.Eventually(t, func() bool {
		s.link.mu.Lock()
		defer s.link.mu.Unlock()
		return s.link.spaceFreed != nil
	}, wiretest.Patience, tick)
	s.Disconnect(true) // from our side: nobody reads the client's close
	require.Equal(t, []string{"41"}, c.Rest())
	close(gate)
	w.quiet(t)
}

func TestBroadcastsAreCompleteAndInOrder(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		const n = 2000
		clients := map[string]int{"websocket": 50, "polling": 8}[transport]
		w := serve(t, &scene{connected: func(s *Socket) { s.Join("zone") }}, Config{})
		results := make(chan error, clients)
		for range clients {
			c, _ := w.join(t, transport)
			go func() { results <- numbers(c, "b", n) }()
		}
		require.Eventually(t, func() bool { here, _ := w.main.counts(); return here == clients }, wiretest.Patience, tick)
		for i := range n {
			require.Equal(t, clients, w.Of("/").CastArgs("zone", "", "b", Args{JSON: fmt.Append(nil, i)}))
		}
		for range clients {
			require.NoError(t, <-results)
		}
	})
}

func TestABroadcastIsFramedOnce(t *testing.T) {
	t.Parallel()
	w := serve(t, &scene{connected: func(s *Socket) { s.Join("zone") }}, Config{})
	for range 20 {
		w.join(t, "websocket")
	}
	require.Eventually(t, func() bool { here, _ := w.main.counts(); return here == 20 }, wiretest.Patience, tick)
	framed := 0
	reached := w.Of("/").Cast("zone", "b", func(dst []byte) []byte {
		framed++
		return append(dst, "{}"...)
	})
	require.Equal(t, 20, reached)
	require.Equal(t, 1, framed)
}
