package socketio

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// Each end of a connection is reported with its reason. serve checks that it is reported once.
func TestDisconnectedIsToldOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		for name, end := range map[string]struct {
			reason string
			how    func(w *world, s *Socket, c *wiretest.Client)
		}{
			"the client says DISCONNECT":      {"client namespace disconnect", func(_ *world, _ *Socket, c *wiretest.Client) { c.Send("41") }},
			"the client closes its transport": {"transport close", func(_ *world, _ *Socket, c *wiretest.Client) { c.Send("1") }},
			"the client says both":            {"client namespace disconnect", func(_ *world, _ *Socket, c *wiretest.Client) { c.Send("41", "1") }},
			"the client falls silent":         {"ping timeout", func(_ *world, s *Socket, _ *wiretest.Client) { s.Conn().Abort("ping timeout") }},
			"a malformed packet":              {"parse error", func(_ *world, _ *Socket, c *wiretest.Client) { c.Send("42") }},
			"a panic":                         {"forced close", func(_ *world, _ *Socket, c *wiretest.Client) { c.Send(`42["panic"]`) }},
			"we disconnect it":                {"server namespace disconnect", func(_ *world, s *Socket, _ *wiretest.Client) { s.Disconnect(false) }},
			"we disconnect and close":         {"server namespace disconnect", func(_ *world, s *Socket, _ *wiretest.Client) { s.Disconnect(true) }},
			"we do so three times": {"server namespace disconnect", func(_ *world, s *Socket, _ *wiretest.Client) {
				s.Disconnect(true)
				s.Disconnect(false)
				s.Disconnect(true)
			}},
			"the library disconnects it":         {"server namespace disconnect", func(_ *world, s *Socket, _ *wiretest.Client) { s.Library().Disconnect(false) }},
			"the library disconnects and closes": {"server namespace disconnect", func(_ *world, s *Socket, _ *wiretest.Client) { s.Library().Disconnect(true) }},
			"the library disconnects all":        {"server namespace disconnect", func(w *world, _ *Socket, _ *wiretest.Client) { w.IO.DisconnectSockets(true) }},
			"we shut its connection":             {"a reason", func(_ *world, s *Socket, _ *wiretest.Client) { s.Conn().Shut("a reason") }},
			"the server closes":                  {engineio.ReasonShutdown, func(w *world, _ *Socket, _ *wiretest.Client) { w.Close() }},
			"its own event disconnects it":       {"server namespace disconnect", func(_ *world, _ *Socket, c *wiretest.Client) { c.Send(`42["kick"]`) }},
			"everybody at once": {"", func(_ *world, s *Socket, c *wiretest.Client) {
				var all sync.WaitGroup
				for _, f := range []func(){
					func() { s.Disconnect(true) }, func() { s.Library().Disconnect(false) }, func() { s.Library().Disconnect(true) },
					func() { s.Conn().Shut("x") }, func() { s.Conn().Abort("x") }, func() { c.Send("41", "1") },
				} {
					all.Go(f)
				}
				all.Wait()
			}},
		} {
			t.Run(name, func(t *testing.T) {
				r := &scene{event: func(s *Socket, e *Event) {
					switch string(e.Name) {
					case "panic":
						panic("boom")
					case "kick":
						s.Disconnect(true)
						s.Join("too late")
						require.Error(t, s.Emit("too late"))
					}
				}}
				w := serve(t, r, Config{})
				c, _ := w.join(t, transport)
				s := r.one(t)
				s.Join("somewhere")
				end.how(w, s, c)
				require.Eventually(t, func() bool { here, ended := r.counts(); return here == 0 && ended == 1 }, wiretest.Patience, tick)
				if end.reason != "" {
					require.Equal(t, end.reason, r.lastReason())
				}
				w.Of("/").rooms.mu.RLock()
				defer w.Of("/").rooms.mu.RUnlock()
				require.Empty(t, w.Of("/").rooms.members)
			})
		}
	})
}

func TestPingTimeoutIsTold(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		r := &scene{}
		w := serve(t, r, Config{Engine: engineio.Config{PingInterval: 50 * time.Millisecond, PingTimeout: 50 * time.Millisecond}})
		c, err := wiretest.Silent(t, w.url, transport)
		require.NoError(t, err)
		c.Send("40")
		require.Eventually(t, func() bool { _, ended := r.counts(); return ended == 1 }, wiretest.Patience, tick)
		require.Equal(t, engineio.ReasonPingTimeout, r.lastReason())
		w.quiet(t)
	})
}

// Clients that come and go at any moment leave nothing behind, also while Admit is slow.
func TestNoGhosts(t *testing.T) {
	t.Parallel()
	var opened, closed atomic.Int32
	r := &scene{
		admit: func(_ context.Context, s *Socket, _ []byte) error {
			time.Sleep(rand.N(3 * time.Millisecond))
			s.SetData("admitted")
			opened.Add(1)
			return nil
		},
		connected: func(s *Socket) {
			s.Join("zone")
			_ = s.Emit("welcome")
		},
		event: func(s *Socket, _ *Event) { s.Join("other") },
		disconnected: func(*Socket, string) {
			closed.Add(1)
		},
	}
	w := serve(t, r, Config{Engine: engineio.Config{PingInterval: time.Second, PingTimeout: time.Second, Linger: 100 * time.Millisecond}})
	const n, workers = 2000, 40
	var all sync.WaitGroup
	for k := range workers {
		all.Go(func() {
			for i := range n / workers {
				transport := "websocket"
				if (i+k)%10 == 0 {
					transport = "polling"
				}
				c, err := wiretest.Silent(t, w.url, transport)
				if err != nil {
					t.Error(err)
					return
				}
				c.Send("40", `42["a"]`)
				time.Sleep(rand.N(4 * time.Millisecond))
				switch i % 4 {
				case 0:
					c.Send("41")
				case 1:
					c.Send("1")
				}
				c.Abort()
			}
		})
	}
	all.Wait()
	w.quiet(t) // serve checks that nobody is left, and goleak that nothing runs
	require.Equal(t, opened.Load(), closed.Load(), "who was let in was seen off")
}

func TestRefusals(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		data := struct {
			Code         string `json:"code"`
			RetryAfterMs int64  `json:"retryAfterMs,omitzero"`
		}{Code: "SESSION_INVALID"}
		for name, c := range map[string]struct {
			err  error
			want string
		}{
			"with data":            {&Refusal{"Invalid session", data}, `44{"message":"Invalid session","data":{"code":"SESSION_INVALID"}}`},
			"wrapped":              {fmt.Errorf("auth: %w", &Refusal{Message: "no"}), `44{"message":"no"}`},
			"with strange letters": {&Refusal{Message: "\"<ä>\x00\""}, `44{"message":"\"<ä>\u0000\""}`},
			"with what is no JSON": {&Refusal{"no", make(chan int)}, `44{"message":"refused"}`},
			"with bytes":           {&Refusal{"no", []byte("x")}, `44{"message":"refused"}`},
		} {
			t.Run(name, func(t *testing.T) {
				r := &scene{event: echo}
				var refuse atomic.Bool
				refuse.Store(true)
				r.admit = func(context.Context, *Socket, []byte) error {
					if refuse.Load() {
						return c.err
					}
					return nil
				}
				w := serve(t, r, Config{})
				client := w.open(t, transport)
				client.Send("40")
				client.Expect(c.want)
				refuse.Store(false) // it may try again
				client.Connect("", "")
				alive(t, client)
				_, ended := r.counts()
				require.Zero(t, ended)
			})
		}
	})
}

func TestWhoCanNotBeJudgedIsClosedWithoutAnAnswer(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		r := &scene{admit: func(ctx context.Context, _ *Socket, _ []byte) error {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("no deadline")
			}
			return errors.New("redis: refused")
		}}
		c := serve(t, r, Config{}).open(t, transport)
		c.Send("40", `42["a"]`)
		require.Empty(t, c.Rest())

		r2 := &scene{admit: func(ctx context.Context, _ *Socket, _ []byte) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		c = serve(t, r2, Config{AdmitTimeout: 20 * time.Millisecond}).open(t, transport)
		c.Send("40")
		require.Empty(t, c.Rest())
	})
}

func TestGoodbyesArrive(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		r := &scene{}
		w := serve(t, r, Config{})
		n := map[string]int{"websocket": 500, "polling": 100}[transport]
		rests := make(chan []string, n)
		for range n {
			c, _ := w.join(t, transport)
			go func() {
				all, _ := c.Drain()
				rests <- all
			}()
		}
		require.Eventually(t, func() bool { here, _ := r.counts(); return here == n }, wiretest.Patience, tick)
		r.mu.Lock()
		all := make([]*Socket, 0, n)
		for s := range r.here {
			all = append(all, s)
		}
		r.mu.Unlock()
		for i, s := range all {
			require.NoError(t, s.Emit("session:revoked", i%7))
			if i%2 == 0 {
				s.Disconnect(true)
			} else {
				s.Library().Disconnect(true)
			}
		}
		for range n {
			rest := <-rests
			require.Len(t, rest, 2)
			require.True(t, strings.HasPrefix(rest[0], `42["session:revoked",`))
			require.Equal(t, "41", rest[1])
		}
	})
}

// A client gets a broadcast that races its CONNECT after the answer, or not at all.
func TestNothingComesBeforeTheAnswerToConnect(t *testing.T) {
	t.Parallel()
	p := gather(t, 1, Config{})
	a, lib := p.Of("/").rooms, p.sockets[0].Library()
	a.DelAll(lib.Id())
	lib.Join(socket.Room(lib.Id())) // what the library does first, before it answers
	_ = p.IO.Emit("early")
	require.Zero(t, p.Of("/").CastArgs(p.sockets[0].ID(), "", "early", Args{}))
	alive(t, p.clients[0])
	a.attachConn(lib.Id(), p.sockets[0].Conn(), nil)
	_ = p.IO.Emit("now")
	p.clients[0].Expect(`42["now"]`)

	stop := make(chan struct{})
	var casts sync.WaitGroup
	casts.Go(func() {
		for beat := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-stop:
				beat.Stop()
				return
			case <-beat.C:
				_ = p.IO.Emit("all")
			}
		}
	})
	for range 30 {
		c := p.open(t, "websocket")
		c.Send("40")
		require.True(t, strings.HasPrefix(c.Read(), "40{"))
		c.Expect(`42["all"]`)
		c.Abort()
	}
	close(stop)
	casts.Wait()
}

func TestAnotherMiddlewareMayRefuse(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		r := &scene{event: echo}
		w := serve(t, r, Config{})
		var asked atomic.Int32
		w.IO.Use(func(_ *socket.Socket, next func(*socket.ExtendedError)) {
			if asked.Add(1) == 1 {
				next(socket.NewExtendedError("full", map[string]any{"code": "FULL"}))
				return
			}
			next(nil)
		})
		c := w.open(t, transport)
		c.Send("40")
		require.JSONEq(t, `{"message":"full","data":{"code":"FULL"}}`, strings.TrimPrefix(c.Read(), "44"))
		require.Eventually(t, func() bool { _, ended := r.counts(); return ended == 1 }, wiretest.Patience, tick, "who was admitted is told")
		c.Connect("", "")
		alive(t, c)
	})
}

func TestCloseWaitsForReceivers(t *testing.T) {
	t.Parallel()
	begun, gate := make(chan struct{}), make(chan struct{})
	var left atomic.Bool
	r := &scene{
		event: func(*Socket, *Event) {
			close(begun)
			<-gate
		},
		disconnected: func(*Socket, string) { left.Store(true) },
	}
	w := serve(t, r, Config{Engine: engineio.Config{Linger: 50 * time.Millisecond}})
	c, _ := w.join(t, "websocket")
	c.Send(`42["a"]`)
	<-begun
	closed := make(chan struct{})
	go func() {
		w.Close()
		close(closed)
	}()
	c.Rest()
	select {
	case <-closed:
		require.Fail(t, "closed while a receiver was busy")
	case <-time.After(100 * time.Millisecond):
	}
	close(gate)
	<-closed
	require.True(t, left.Load())
}

// A receiver that never returns does not keep the server from closing.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	r := &scene{event: func(*Socket, *Event) { <-gate }}
	s := New(Config{AdmitTimeout: 50 * time.Millisecond, Namespaces: map[string]Receiver{"/": r}, Engine: engineio.Config{Linger: 50 * time.Millisecond}})
	w := listen(t, s)
	c, _ := w.join(t, "websocket")
	c.Send(`42["a"]`)
	begun := time.Now()
	s.Close()
	require.Less(t, time.Since(begun), 10*time.Second)
	close(gate)
	w.quiet(t)
}
