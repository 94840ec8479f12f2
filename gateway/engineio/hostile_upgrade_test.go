package engineio

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echoes asserts that polling works.
func (p *poller) echoes() {
	p.t.Helper()
	status, _ := p.post("4still polling")
	require.Equal(p.t, 200, status)
	for {
		status, body := p.get()
		require.Equal(p.t, 200, status)
		if body != "6" { // a poll that a probe released
			require.Equal(p.t, "4still polling", body)
			return
		}
	}
}

func (p *poller) unprobed() {
	p.t.Helper()
	c := p.conn()
	require.Eventually(p.t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.isUpgrading }, patience, time.Millisecond)
}

// completes takes the connection to the websocket and asserts that it works.
func (w *socket) completes() {
	w.t.Helper()
	w.send("5")
	w.send("4hello")
	require.Equal(w.t, "4hello", w.text())
}

func TestAFailedUpgradeChangesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	for name, frames := range map[string][]byte{
		"it leaves at once":         nil,
		"it leaves after the probe": frameOf(flagFin|opText, "2probe"),
		"a close frame":             frameOf(flagFin|opClose, "\x03\xe8"),
		"another probe":             frameOf(flagFin|opText, "2prove"),
		"a binary probe":            frameOf(flagFin|opBinary, "2probe"),
		"two probes":                join(frameOf(flagFin|opText, "2probe"), frameOf(flagFin|opText, "2probe")),
		"5 without a probe":         frameOf(flagFin|opText, "5"),
		"5 and more":                join(frameOf(flagFin|opText, "2probe"), frameOf(flagFin|opText, "5x")),
		"a message":                 frameOf(flagFin|opText, "4hello"),
		"a message after the probe": join(frameOf(flagFin|opText, "2probe"), frameOf(flagFin|opText, "4hello")),
		"a violation":               {flagFin | opText, 0},
		"an empty frame":            frameOf(flagFin|opText, ""),
		"too much":                  head(flagFin|opText, 1e9),
	} {
		t.Run(name, func(t *testing.T) {
			p := s.poller(t)
			w := s.dial(t, "EIO=4&transport=websocket&sid="+p.sid)
			w.raw(frames)
			if strings.HasPrefix(name, "it leaves") {
				require.NoError(t, w.Close())
			} else {
				w.status()
			}
			p.unprobed()
			p.echoes()
			p.probe().completes() // and another may be tried
			chats()
		})
	}
}

func TestTwoUpgradesOfOneSession(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	p := s.poller(t)
	first := p.probe()
	second := s.dial(t, "EIO=4&transport=websocket&sid="+p.sid)
	second.status()
	p.echoes()
	first.completes()
	third := s.dial(t, "EIO=4&transport=websocket&sid="+p.sid)
	third.status()
	first.send("4hello")
	require.Equal(t, "4hello", first.text())
	require.Empty(t, p.recorder().closed)
}

func TestASlowUpgradeIsCut(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{UpgradeTimeout: 150 * time.Millisecond})
	p := s.poller(t)
	for _, say := range []string{"", "2probe"} {
		w := s.dial(t, "EIO=4&transport=websocket&sid="+p.sid)
		if say != "" {
			w.send(say)
		}
		w.raw([]byte{flagFin | opText}) // the first byte of a frame that never comes
		w.status()
		p.unprobed()
		p.echoes()
	}
}

func TestAnUpgradeEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{UpgradeTimeout: time.Hour})
	p := s.poller(t)
	w := p.probe()
	p.conn().Abort("test")
	w.status()
	require.Equal(t, "test", p.recorder().ends(t))
}

func TestAProbeThatNeverReadsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{UpgradeTimeout: 3 * time.Second})
	p := s.poller(t)
	c := p.conn()
	w := p.probe()
	flood := []byte(strings.Repeat(string(frameOf(flagFin|opPing, strings.Repeat("p", 125))), 500))
	require.NoError(t, w.SetDeadline(time.Now().Add(time.Second)))
	for {
		if _, err := w.Write(flood); err != nil {
			break // the server waits for us to read its pongs
		}
	}
	began := time.Now()
	m := NewText().Append("hello")
	require.True(t, c.Push(m))
	require.Less(t, time.Since(began), 2*time.Second, "the upgrade may take three")
	p.unprobed()
	p.echoesAfter("4hello")
}

// echoesAfter asserts that polling works, after a message that waits.
func (p *poller) echoesAfter(waiting string) {
	p.t.Helper()
	status, body := p.get()
	require.Equal(p.t, 200, status)
	require.Equal(p.t, waiting, body)
	p.echoes()
}

func TestAnUpgradeRacingAGoodbye(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	chats := s.neighbour(t)
	for range 100 {
		p := s.poller(t)
		h := p.recorder()
		w := p.probe()
		var both sync.WaitGroup
		both.Go(func() { w.send("5") })
		both.Go(func() { p.post("1") })
		both.Wait()
		if c := s.findConn(p.sid); c != nil && c.Open() { // the POST came too late: it was refused
			w.send("4hello")
			require.Equal(t, "4hello", w.text())
			w.send("1")
		}
		w.status()
		require.Equal(t, ReasonTransportClose, h.ends(t))
		require.Equal(t, int32(1), h.closes.Load())
	}
	chats()
}

func TestAPostAndTheWebsocketNeverSpeakAtOnce(t *testing.T) {
	t.Parallel()
	var inside, most atomic.Int32
	var order []string // no lock: Message is called by one goroutine at a time
	gate := make(chan struct{})
	s := serve(t, Config{}, onMessage(func(_ *Conn, _ bool, data []byte) error {
		most.Store(max(most.Load(), inside.Add(1)))
		if string(data) == "post" {
			<-gate
		}
		order = append(order, string(data))
		inside.Add(-1)
		return nil
	}))
	p := s.poller(t)
	c := p.conn()
	posted := make(chan int, 1)
	go func() {
		status, _ := p.post("4post\x1e4post again")
		posted <- status
	}()
	require.Eventually(t, func() bool { return inside.Load() == 1 }, patience, time.Millisecond)
	w := p.probe()
	w.send("5")
	w.send("4websocket")
	select { // the server must not have read on
	case <-posted:
		require.FailNow(t, "the POST was answered while its message is handled")
	case <-time.After(50 * time.Millisecond):
	}
	require.Equal(t, "polling", c.TransportName())
	close(gate)
	require.Equal(t, 200, <-posted)
	require.Eventually(t, func() bool { c.inbound.Lock(); defer c.inbound.Unlock(); return c.TransportName() == "websocket" }, patience, time.Millisecond)
	w.raw(frameOf(flagFin|opClose, ""))
	require.Equal(t, ReasonTransportClose, p.recorder().ends(t))
	require.Equal(t, []string{"post", "post again", "websocket"}, order)
	require.Equal(t, int32(1), most.Load())
}

func TestPollingOnAWebsocketsSession(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{})
	w := s.socket(t)
	p := &poller{t, s, w.sid}
	for _, method := range []string{"GET", "POST"} {
		status, body := s.do(t, method, p.query(), nil)
		require.Equal(t, 400, status)
		require.Equal(t, `{"code":3,"message":"Bad request"}`, body)
	}
	s.dial(t, "EIO=4&transport=websocket&sid="+w.sid).status()
	w.send("4hello")
	require.Equal(t, "4hello", w.text())
}

func TestPollingOnAClosedSession(t *testing.T) {
	t.Parallel()
	s := serve(t, Config{Linger: time.Hour})
	p := s.poller(t)
	p.conn().Shut("test")
	late := func() { // what the client sent before it heard: taken, and nobody looks at it
		status, body := p.post("4a")
		require.Equal(t, 200, status)
		require.Equal(t, "ok", body)
		s.dial(t, "EIO=4&transport=websocket&sid="+p.sid).status()
	}
	late()
	status, body := p.get()
	require.Equal(t, 200, status)
	require.Equal(t, "1", body)
	late()
	status, body = p.get()
	require.Equal(t, 200, status)
	require.Equal(t, "1", body)
	require.Equal(t, "test", p.recorder().ends(t))
}
