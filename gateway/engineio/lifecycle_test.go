package engineio

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quick are short times, with which a test sees several heartbeats.
func quick() Config {
	return Config{PingInterval: 50 * time.Millisecond, PingTimeout: 300 * time.Millisecond}
}

// Hostile ends are in the tables of hostile input, which assert the same.
func TestClosedIsCalledOnceForEachEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	reset := func(w *socket) { // no FIN but a RST
		require.NoError(t, w.Conn.(interface{ SetLinger(int) error }).SetLinger(0))
		require.NoError(t, w.Close())
	}
	for _, c := range []struct {
		name      string
		polling   func(p *poller)
		websocket func(w *socket)
		reason    string
	}{
		{"1", func(p *poller) { p.post("1") }, func(w *socket) { w.send("1") }, ReasonTransportClose},
		{"a close frame", nil, func(w *socket) { w.raw(frameOf(flagFin|opClose, "\x03\xe8")) }, ReasonTransportClose},
		{"the end of TCP", nil, func(w *socket) { require.NoError(t, w.Close()) }, ReasonTransportClose},
		{"the end of TCP in a frame", nil, func(w *socket) { w.raw([]byte{flagFin}); require.NoError(t, w.Close()) }, ReasonTransportClose},
		{"a reset", nil, reset, ReasonTransportError},
		{"a bad packet", func(p *poller) { p.post("x") }, func(w *socket) { w.send("x") }, ReasonParseError},
		{"Shut", func(p *poller) { p.conn().Shut("why") }, func(w *socket) { w.conn().Shut("why") }, "why"},
		{"Abort", func(p *poller) { p.conn().Abort("why") }, func(w *socket) { w.conn().Abort("why") }, "why"},
		{
			"Shut and Abort",
			func(p *poller) { c := p.conn(); c.Shut("why"); c.Abort("again") },
			func(w *socket) { c := w.conn(); c.Shut("why"); c.Abort("again") }, "why",
		},
		{"the library's Close", func(p *poller) { p.conn().Close(false) }, func(w *socket) { w.conn().Close(true) }, ReasonForcedClose},
	} {
		check := func(t *testing.T, c *Conn, h *recorder, reason string) {
			require.Equal(t, reason, h.ends(t))
			c.Abort("once more")
			c.Shut("once more")
			c.finishNow()
			require.False(t, c.Open())
			require.False(t, c.Push(NewText()))
			require.Equal(t, int32(1), h.closes.Load())
			require.Eventually(t, func() bool { return s.findConn(c.ID()) == nil }, patience, time.Millisecond)
		}
		if c.polling != nil {
			t.Run(c.name+", polling", func(t *testing.T) {
				p := s.poller(t)
				conn, h := p.conn(), p.recorder()
				c.polling(p)
				check(t, conn, h, c.reason)
			})
		}
		t.Run(c.name+", websocket", func(t *testing.T) {
			w := s.socket(t)
			conn, h := w.conn(), w.recorder()
			c.websocket(w)
			check(t, conn, h, c.reason)
		})
		t.Run(c.name+", upgraded", func(t *testing.T) {
			_, w := s.upgraded(t)
			conn, h := w.conn(), w.recorder()
			require.Eventually(t, func() bool { return conn.TransportName() == "websocket" }, patience, time.Millisecond)
			c.websocket(w)
			check(t, conn, h, c.reason)
		})
	}
	require.Eventually(t, func() bool { return s.Count() == 0 }, patience, time.Millisecond)
}

func TestManyEndsAtOnceAreOne(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	for i := range 50 {
		w := s.socket(t)
		c, h := w.conn(), w.recorder()
		for _, end := range []func(){
			func() { c.Shut("a") }, func() { c.Abort("b") }, func() { _, _ = w.Write(frameOf(flagFin|opText, "1")) }, func() { c.Close(true) }, c.handleTimer,
		} {
			go end()
		}
		h.ends(t)
		w.status()
		require.Eventually(t, func() bool { return s.Count() == 0 }, patience, time.Millisecond)
		require.Equal(t, int32(1), h.closes.Load(), i)
	}
}

// gated is a handler that waits in Message until it is let go.
func gated() (o option, entered *atomic.Int32, open func()) {
	gate, entered := make(chan struct{}), new(atomic.Int32)
	open = sync.OnceFunc(func() { close(gate) })
	return onMessage(func(c *Conn, _ bool, data []byte) error {
		entered.Add(1)
		<-gate
		m := NewText().Append(string(data))
		c.Push(m)
		m.Free()
		return nil
	}), entered, open
}

func TestWhileAHandlerBlocksTheWebsocketWaits(t *testing.T) {
	t.Parallel()
	o, entered, open := gated()
	defer open()
	s := serve(t, quick(), o)
	w := s.socket(t)
	h := w.recorder()
	w.send("4a")
	w.send("4b")
	require.Eventually(t, func() bool { return entered.Load() == 1 }, patience, time.Millisecond)
	stuck := make(chan bool)
	go func() { // a sender is slowed by TCP
		big := frameOf(flagFin|opText, "3"+strings.Repeat("x", 20_000))
		for range 400 {
			if _, err := w.Write(big); err != nil {
				break
			}
		}
		close(stuck)
	}()
	select { // three times the ping timeout
	case reason := <-h.closed:
		require.FailNow(t, "ended while its handler was busy", reason)
	case <-stuck:
		require.FailNow(t, "8 MB were read meanwhile")
	case <-time.After(time.Second):
	}
	require.Equal(t, int32(1), entered.Load())
	require.Equal(t, "2", w.text(), "pings go out meanwhile")
	open()
	require.Equal(t, "4a", w.message())
	require.Equal(t, "4b", w.message())
	<-stuck
	require.Equal(t, ReasonPingTimeout, h.ends(t), "the timeout counts again")
}

func TestWhileAHandlerBlocksAPostWaits(t *testing.T) {
	t.Parallel()
	o, entered, open := gated()
	defer open()
	s := serve(t, quick(), o)
	p := s.poller(t)
	h, c := p.recorder(), p.conn()
	posted := make(chan int, 1)
	go func() {
		status, _ := p.post("4a\x1e4b")
		posted <- status
	}()
	require.Eventually(t, func() bool { return entered.Load() == 1 }, patience, time.Millisecond)
	_, body := p.get()
	require.Equal(t, "2", body)
	for began := time.Now(); time.Since(began) < 600*time.Millisecond; { // polling goes on, past the ping timeout
		waiting := p.getLater()
		require.True(t, c.Push(NewText().Append("news")))
		require.Equal(t, answer{200, "4news"}, <-waiting)
	}
	require.Empty(t, posted)
	require.Empty(t, h.closed)
	require.Equal(t, int32(1), entered.Load())
	open()
	require.Equal(t, 200, <-posted)
	_, body = p.get()
	require.True(t, strings.HasPrefix(body, "4a\x1e4b"), body) // and perhaps a ping
}

func TestHeartbeatsWhileAHandlerWorksElsewhere(t *testing.T) {
	t.Parallel()
	type job struct {
		c    *Conn
		text string
	}
	jobs, gate, done := make(chan job, 10), make(chan struct{}), make(chan struct{})
	s := serve(t, Config{PingInterval: 50 * time.Millisecond, PingTimeout: patience}, onMessage(func(c *Conn, _ bool, data []byte) error {
		jobs <- job{c, string(data)}
		return nil
	}))
	go func() {
		defer close(done)
		<-gate
		for j := range jobs {
			j.c.Push(NewText().Append(j.text))
		}
	}()
	w := s.socket(t)
	w.send("4a")
	w.send("4b")
	w.raw(frameOf(flagFin|opPing, "p"))
	for op := byte(opText); op != opPong; { // a ping of ours may come first
		var err error
		op, _, err = w.next()
		require.NoError(t, err)
	}
	for range 3 {
		require.Equal(t, "2", w.text())
		w.send("3")
	}
	close(gate)
	require.Equal(t, "4a", w.message())
	require.Equal(t, "4b", w.message())
	close(jobs)
	<-done
}

func TestShutDeliversWhatWasSentBefore(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{OutboundQueue: 64 << 20, Linger: patience})
	const messages, size = 800, 10_000 // more than the kernel takes
	m := NewText().Append(strings.Repeat("x", size)).Seal()
	end := func(c *Conn) {
		for range messages {
			require.True(t, c.Push(m))
		}
		c.Shut("done")
		require.False(t, c.Push(m))
	}
	for name, w := range map[string]*socket{"websocket": s.socket(t), "upgraded": func() *socket { _, w := s.upgraded(t); return w }()} {
		t.Run(name, func(t *testing.T) {
			c, h := w.conn(), w.recorder()
			require.Eventually(t, func() bool { return c.TransportName() == "websocket" }, patience, time.Millisecond)
			end(c)
			for range messages {
				require.Len(t, w.text(), size+1)
			}
			require.Equal(t, closeNormal, w.status())
			require.Equal(t, "done", h.ends(t))
		})
	}
	t.Run("polling", func(t *testing.T) {
		p := s.poller(t)
		c := p.conn()
		end(c)
		_, body := p.get()
		require.Len(t, strings.Split(body, "\x1e"), messages)
		_, body = p.get()
		require.Equal(t, "1", body)
	})
	require.Eventually(t, func() bool { return s.Count() == 0 }, patience, time.Millisecond)
}

func TestShutLingersNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Linger: 100 * time.Millisecond})
	w, p := s.socket(t), s.poller(t)
	began := time.Now()
	w.conn().Shut("done") // and the client neither reads nor leaves
	p.conn().Shut("done")
	require.Eventually(t, func() bool { return s.Count() == 0 }, patience, time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond)
}

func TestAbortEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Linger: time.Hour})
	w, p := s.socket(t), s.poller(t)
	waiting := p.getLater()
	w.conn().Abort("now")
	p.conn().Abort("now")
	require.Zero(t, s.Count())
	require.Zero(t, w.status())
	require.Equal(t, answer{400, `{"code":3,"message":"Bad request"}`}, <-waiting)
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := newSite(Config{Linger: 300 * time.Millisecond})
	s.web.Start()
	w, p, idle := s.socket(t), s.poller(t), s.poller(t)
	_, upgraded := s.upgraded(t)
	require.Eventually(t, func() bool { return upgraded.conn().TransportName() == "websocket" }, patience, time.Millisecond)
	waiting := p.getLater()
	recorders := []*recorder{w.recorder(), p.recorder(), idle.recorder(), upgraded.recorder()}
	require.True(t, w.conn().Push(NewText().Append("before")))
	s.Stop()
	require.Zero(t, s.Count())
	require.Equal(t, "4before", w.text())
	require.Equal(t, closeNormal, w.status())
	require.Equal(t, closeNormal, upgraded.status())
	require.Equal(t, answer{200, "1"}, <-waiting)
	for _, h := range recorders {
		require.Equal(t, "server shutting down", h.ends(t))
		require.Equal(t, int32(1), h.closes.Load())
	}
	status, _ := s.do(t, http.MethodGet, "EIO=4&transport=polling", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	s.end() // Stop may be called again
}

// silent is a site whose connections are not confirmed.
func silent(t *testing.T, cfg Config, made func(c *Conn)) (*site, *recorder) {
	h := newRecorder()
	cfg.Handler = func(c *Conn, _ *http.Request) Handler {
		if made != nil {
			made(c)
		}
		return h
	}
	return serve(t, cfg), h
}

func TestAClientThatNeverSaysWhatItCameFor(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"before the first ping":      {ConnectTimeout: 200 * time.Millisecond},
		"while a pong is waited for": {ConnectTimeout: 200 * time.Millisecond, PingInterval: 50 * time.Millisecond, PingTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, h := silent(t, cfg, nil)
			began := time.Now()
			w := s.socket(t)
			w.send("4a")
			require.Equal(t, ReasonNoConnect, h.ends(t))
			require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
			require.Equal(t, closeNormal, w.status())

			p := s.poller(t)
			require.Equal(t, ReasonNoConnect, h.ends(t))
			status, body := 200, ""
			for ; status == 200 && body != "1"; status, body = p.get() {
			}
		})
	}
}

func TestConfirmAndExpect(t *testing.T) {
	t.Parallel()
	conns := make(chan *Conn, 1)
	s, h := silent(t, Config{ConnectTimeout: 100 * time.Millisecond, PingInterval: 30 * time.Millisecond}, func(c *Conn) { conns <- c })
	w := s.socket(t)
	c := <-conns
	c.Confirm()
	for range 6 { // longer than the timeout
		require.Equal(t, "2", w.text())
		w.send("3")
	}
	require.Empty(t, h.closed)
	c.Expect()
	w.status()
	require.Equal(t, ReasonNoConnect, h.ends(t))
	c.Expect()
	require.Equal(t, int32(1), h.closes.Load())
}

// The answer to a websocket's handshake and OPEN leave in one packet, and everything that the
// handler sends comes after them.
func TestTheHandshakeIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Handler: func(c *Conn, _ *http.Request) Handler {
		c.Confirm()
		m := NewText()
		m.SetBuffer(append(m.Buffer(), "early"...))
		c.Push(m)
		m.Free()
		c.Flush()
		return newRecorder()
	}})
	w := s.dial(t, "EIO=4&transport=websocket")
	require.Positive(t, w.br.Buffered(), "came with the answer")
	require.NotEmpty(t, parseOpening(t, w.text()).Sid)
	require.Equal(t, "4early", w.text())
}
