package engineio

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The cases of the official Engine.IO 4 suite, with its constants:
// https://github.com/socketio/socket.io/tree/main/docs/engine.io-protocol/v4-test-suite

func official() Config {
	return Config{PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond, MaxPayload: 1e6}
}

func TestHandshakeTellsWhatTheClientMustKnow(t *testing.T) {
	t.Parallel()
	s := serve(t, official())
	want := opening{PingInterval: 300, PingTimeout: 200, MaxPayload: 1e6}

	status, body := s.do(t, http.MethodGet, "EIO=4&transport=polling", nil)
	require.Equal(t, http.StatusOK, status)
	got := parseOpening(t, body)
	want.Sid, want.Upgrades = got.Sid, []string{"websocket"}
	require.Equal(t, want, got)

	got = parseOpening(t, s.dial(t, "EIO=4&transport=websocket").text())
	require.NotEqual(t, want.Sid, got.Sid)
	want.Sid, want.Upgrades = got.Sid, []string{}
	require.Equal(t, want, got)
}

func TestHandshakeIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, official())
	for _, c := range []struct{ name, method, query string }{
		{"polling without a version", "GET", "transport=polling"},
		{"polling with a wrong version", "GET", "EIO=abc&transport=polling"},
		{"no transport", "GET", "EIO=4"},
		{"a transport that does not exist", "GET", "EIO=4&transport=abc"},
		{"a POST", "POST", "EIO=4&transport=polling"},
		{"a PUT", "PUT", "EIO=4&transport=polling"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _ := s.do(t, c.method, c.query, nil)
			require.Equal(t, http.StatusBadRequest, status)
		})
	}
	for _, query := range []string{
		"transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc",
	} {
		t.Run("websocket with "+query, func(t *testing.T) {
			require.Equal(t, http.StatusBadRequest, s.knock(t, query).StatusCode)
		})
	}
	require.Zero(t, s.Count())
}

func TestPollingEchoes(t *testing.T) {
	t.Parallel()
	s := serve(t, official())
	for name, payload := range map[string]string{
		"one text":        "4hello",
		"several texts":   "4test1\x1e4test2\x1e4test3",
		"text and binary": "4hello\x1ebAQIDBA==",
	} {
		t.Run(name, func(t *testing.T) {
			p := s.poller(t)
			status, body := p.post(payload)
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "ok", body)
			status, body = p.get()
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, payload, body)
		})
	}
}

func TestPollingEndsOnAPacketThatIsNone(t *testing.T) {
	t.Parallel()
	p := serve(t, official()).poller(t)
	h := p.recorder()
	status, _ := p.post("abc")
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = p.get()
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, ReasonParseError, h.ends(t))
}

func TestTwoPollsAtOnceEndTheSession(t *testing.T) {
	t.Parallel()
	p := serve(t, official()).poller(t)
	h := p.recorder()
	first := p.getLater()
	status, _ := p.get()
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, answer{http.StatusOK, "1"}, <-first)
	status, _ = p.get()
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, ReasonTransportError, h.ends(t))
}

func TestAnAbortedPollEndsTheSession(t *testing.T) {
	t.Parallel()
	s := serve(t, official())
	p := s.poller(t)
	h, c := p.recorder(), p.conn()
	ctx, abort := context.WithCancel(context.Background())
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(p.query()), nil)
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() {
		r, err := s.client.Do(q)
		if err == nil {
			_ = r.Body.Close()
		}
		failed <- err
	}()
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.waitingPoll != nil
	}, patience, time.Millisecond)
	abort()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.Equal(t, ReasonTransportError, h.ends(t))
	status, _ := p.get()
	require.Equal(t, http.StatusBadRequest, status)
}

func TestWebsocketEchoes(t *testing.T) {
	t.Parallel()
	w := serve(t, official()).socket(t)
	w.send("4hello")
	require.Equal(t, "4hello", w.text())
	w.bytes("\x01\x02\x03\x04")
	op, data, err := w.next()
	require.NoError(t, err)
	require.Equal(t, byte(opBinary), op)
	require.Equal(t, []byte{1, 2, 3, 4}, data)
}

func TestWebsocketEndsOnAPacketThatIsNone(t *testing.T) {
	t.Parallel()
	w := serve(t, official()).socket(t)
	h := w.recorder()
	w.send("abc")
	w.status()
	require.Equal(t, ReasonParseError, h.ends(t))
}

func TestHeartbeatKeepsPollingAlive(t *testing.T) {
	t.Parallel()
	p := serve(t, official()).poller(t)
	for range 3 {
		began := time.Now()
		status, body := p.get()
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "2", body)
		require.Less(t, time.Since(began), 300*time.Millisecond+patience/10)
		status, _ = p.post("3")
		require.Equal(t, http.StatusOK, status)
	}
}

func TestHeartbeatKeepsAWebsocketAlive(t *testing.T) {
	t.Parallel()
	w := serve(t, official()).socket(t)
	for range 3 {
		require.Equal(t, "2", w.text())
		w.send("3")
	}
	w.send("4still here")
	require.Equal(t, "4still here", w.text())
}

func TestSilenceEndsTheSession(t *testing.T) {
	t.Parallel()
	s := serve(t, official())

	began := time.Now()
	p := s.poller(t)
	require.Equal(t, ReasonPingTimeout, p.recorder().ends(t))
	require.GreaterOrEqual(t, time.Since(began), 500*time.Millisecond)
	status, _ := p.get()
	require.Equal(t, http.StatusBadRequest, status)

	began = time.Now()
	w := s.socket(t)
	h := w.recorder()
	w.status()
	require.Equal(t, ReasonPingTimeout, h.ends(t))
	require.GreaterOrEqual(t, time.Since(began), 500*time.Millisecond)
}

func TestTheClientLeaves(t *testing.T) {
	t.Parallel()
	s := serve(t, official())

	p := s.poller(t)
	h := p.recorder()
	waiting := p.getLater()
	status, _ := p.post("1")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, answer{http.StatusOK, "6"}, <-waiting)
	status, _ = p.get()
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, ReasonTransportClose, h.ends(t))

	p = s.poller(t) // and when the poll comes after the goodbye
	status, _ = p.post("1")
	require.Equal(t, http.StatusOK, status)
	status, body := p.get()
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "6", body)
	status, _ = p.get()
	require.Equal(t, http.StatusBadRequest, status)

	w := s.socket(t)
	h = w.recorder()
	w.send("1")
	w.status()
	require.Equal(t, ReasonTransportClose, h.ends(t))
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := serve(t, official())
	p := s.poller(t)
	w := p.probe()
	status, body := p.get()
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "6", body)
	w.send("5")
	w.send("4hello")
	require.Equal(t, "4hello", w.text())
}

func TestAfterAnUpgradePollingIsRefused(t *testing.T) {
	t.Parallel()
	p, w := serve(t, official()).upgraded(t)
	require.Eventually(t, func() bool { return p.conn().TransportName() == "websocket" }, patience, time.Millisecond)
	status, _ := p.get()
	require.Equal(t, http.StatusBadRequest, status)
	status, _ = p.post("4lost")
	require.Equal(t, http.StatusBadRequest, status)
	w.send("4hello")
	require.Equal(t, "4hello", w.text())
}

func TestAfterAnUpgradeASecondWebsocketIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, official())
	p, w := s.upgraded(t)
	second := s.dial(t, "EIO=4&transport=websocket&sid="+p.sid)
	second.status()
	w.send("4hello")
	require.Equal(t, "4hello", w.text())
}

// knock asks for a websocket and returns the refusal.
func (s *site) knock(t testing.TB, query string) *http.Response {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, s.url(query), strings.NewReader(""))
	require.NoError(t, err)
	q.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"MDEyMzQ1Njc4OWFiY2RlZg=="},
	}
	r, err := s.client.Do(q)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Body.Close() })
	return r
}
