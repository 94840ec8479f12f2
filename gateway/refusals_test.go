package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// refusals returns gateway_connections_refused_total by code.
func (h *hall) refusals(t testing.TB) map[string]float64 {
	t.Helper()
	codes := map[string]float64{}
	for _, code := range []string{
		"TRANSPORT_UNKNOWN", "ORIGIN_REFUSED", "BAD_REQUEST", "SID_UNKNOWN", "BAD_METHOD", "VERSION_UNSUPPORTED", "UNAVAILABLE", "RATE_LIMITED",
		"NAMESPACE_UNKNOWN", "CONNECT_TIMEOUT", "PARSE_ERROR", "PAYLOAD_TOO_LARGE", "ABANDONED", "SESSION_REQUIRED", "SESSION_INVALID", "INTERNAL",
	} {
		var m dto.Metric
		require.NoError(t, h.metrics.refusals.WithLabelValues(code).Write(&m))
		if n := m.GetCounter().GetValue(); n > 0 {
			codes[code] = n
		}
	}
	return codes
}

// request sends a handshake by HTTP and returns its status.
func (h *hall) request(t testing.TB, method, query string, headers ...string) int {
	t.Helper()
	q, err := http.NewRequest(method, h.url+"?"+query, nil)
	require.NoError(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	r, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, r.Body)
	require.NoError(t, r.Body.Close())
	return r.StatusCode
}

// refusedOnce waits for one more refusal, and checks that the log and the metric have the same. It
// returns the line.
func (h *hall) refusedOnce(t testing.TB, code string, do func()) (line map[string]any) {
	t.Helper()
	before := h.refusals(t)
	h.logs.TakeAll()
	do()
	require.Eventually(t, func() bool {
		return h.logs.FilterMessage("connection refused").FilterField(zap.String("code", code)).Len() > 0
	}, wiretest.Patience, tick, code)
	for _, e := range h.logs.FilterMessage("connection refused").All() {
		fields := e.ContextMap()
		before[fields["code"].(string)]++
		if fields["code"] != "SID_UNKNOWN" || code == "SID_UNKNOWN" { // the client may poll once more after the end
			require.Nil(t, line)
			line = fields
		}
	}
	require.Equal(t, code, line["code"])
	require.Equal(t, "127.0.0.1", line["addr"])
	require.NotEmpty(t, line["reason"])
	require.Equal(t, before, h.refusals(t))
	return line
}

// Whatever a client dies of before it is connected, there is one line with a reason and the
// transport, and one count.
func TestEveryRefusalIsOneLineAndOneCount(t *testing.T) {
	t.Parallel()
	refuses := false
	h := open(t, func(c *Config) {
		c.Socket.Engine.ConnectTimeout = 300 * time.Millisecond
		c.Socket.Engine.MaxPayload = 1000
		c.Socket.Engine.AllowOrigin = func(r *http.Request) bool { return r.Header.Get("Origin") != "https://evil.example" }
		c.Socket.Engine.Admit = func(*http.Request) *engineio.Refusal {
			if refuses {
				return &engineio.Refusal{Status: 429, Message: "Slow down", RetryAfter: time.Second}
			}
			return nil
		}
	})
	for name, c := range map[string]struct {
		method, query string
		headers       []string
		status        int
		code, carrier string
	}{
		"EIO 3":                         {"GET", "EIO=3&transport=polling", nil, 400, "VERSION_UNSUPPORTED", "polling"},
		"an unknown transport":          {"GET", "EIO=4&transport=webtransport", nil, 400, "TRANSPORT_UNKNOWN", "webtransport"},
		"a long unknown transport":      {"GET", "EIO=4&transport=" + strings.Repeat("x", 5000), nil, 400, "TRANSPORT_UNKNOWN", strings.Repeat("x", 32)},
		"no transport":                  {"GET", "", nil, 400, "TRANSPORT_UNKNOWN", ""},
		"a POST":                        {"POST", "EIO=4&transport=polling", nil, 400, "BAD_METHOD", "polling"},
		"a websocket that is none":      {"GET", "EIO=4&transport=websocket", nil, 400, "BAD_REQUEST", "websocket"},
		"a websocket without a key":     {"GET", "EIO=4&transport=websocket", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 400, "BAD_REQUEST", "websocket"},
		"an unknown sid":                {"GET", "EIO=4&transport=polling&sid=x", nil, 400, "SID_UNKNOWN", "polling"},
		"a foreign page":                {"GET", "EIO=4&transport=polling", []string{"Origin", "https://evil.example"}, 403, "ORIGIN_REFUSED", "polling"},
		"a query that looks like a sid": {"GET", "EIO=3&transport=polling&xsid=1", nil, 400, "VERSION_UNSUPPORTED", "polling"},
	} {
		t.Run(name, func(t *testing.T) {
			line := h.refusedOnce(t, c.code, func() { require.Equal(t, c.status, h.request(t, c.method, c.query, c.headers...)) })
			require.EqualValues(t, c.status, line["status"])
			require.Equal(t, c.carrier, line["transport"])
		})
	}
	refuses = true
	h.refusedOnce(t, "RATE_LIMITED", func() { require.Equal(t, 429, h.request(t, "GET", "EIO=4&transport=polling&xsid=1")) })
	refuses = false

	for _, transport := range []string{"polling", "websocket"} {
		for name, c := range map[string]struct {
			code   string
			packet string // nothing is sent when it is empty
			reason string
		}{
			"no CONNECT":          {"CONNECT_TIMEOUT", "", "no CONNECT came within the connect timeout"},
			"the JSON parser":     {"PARSE_ERROR", `4{"type":0,"nsp":"/"}`, "malformed packet: unknown type, or a client with another parser, such as JSON"},
			"the msgpack parser":  {"PARSE_ERROR", "bg6R0eXBlAKNuc3ChLw==", "malformed packet: an attachment of nothing, or a client with another parser, such as msgpack"},
			"an event first":      {"PARSE_ERROR", `42["game:add"]`, "malformed packet: not connected"},
			"no packet":           {"PARSE_ERROR", "x", "engineio: malformed packet"},
			"too large":           {"PAYLOAD_TOO_LARGE", "4" + strings.Repeat("x", 1000), "engineio: message too large"},
			"it leaves":           {"ABANDONED", "1", "the client left before CONNECT was answered: transport close"},
			"a foreign namespace": {"NAMESPACE_UNKNOWN", "40/x,", `the namespace "/x" does not exist`},
			"no session":          {"SESSION_REQUIRED", "40", "No session provided"},
			"another session":     {"SESSION_INVALID", `40{"sessionId":"who"}`, "Invalid session"},
		} {
			t.Run(transport+", "+name, func(t *testing.T) {
				line := h.refusedOnce(t, c.code, func() {
					client := wiretest.Open(t, h.url, transport)
					if c.packet != "" {
						_ = client.Post(c.packet) // the answer may be a refusal
					}
					_, _ = client.Drain()
				})
				require.Equal(t, c.reason, line["reason"])
				require.Equal(t, transport, line["transport"])
				require.NotContains(t, line, "status")
			})
		}
	}

	c, _ := h.enter(t, "ann")
	before := h.refusals(t)
	c.Abort()
	h.lines(t, "connection closed", 1)
	require.Equal(t, before, h.refusals(t), "who was connected is not refused")

	h.Refuse()
	h.refusedOnce(t, "UNAVAILABLE", func() { require.Equal(t, 503, h.request(t, "GET", "EIO=4&transport=polling")) })
	h.refusedOnce(t, "UNAVAILABLE", func() {
		_, r, err := websocket.DefaultDialer.Dial(strings.Replace(h.url, "http", "ws", 1)+"?EIO=4&transport=websocket", nil)
		require.Error(t, err)
		require.NoError(t, r.Body.Close())
	})
}
