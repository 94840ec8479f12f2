package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// A tracedSpan is a span that a collector has received.
type tracedSpan struct {
	TraceID, SpanID, ParentSpanID, Name string
	Status                              struct{ Message string }
	node                                string
}

// A traceCollector is a server of OTLP.
type traceCollector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []tracedSpan // guarded by mu
	text  string       // everything that was received; guarded by mu
}

func collectTraces(t *testing.T) *traceCollector {
	t.Helper()
	c := &traceCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			ResourceSpans []struct {
				Resource struct {
					Attributes []struct {
						Key   string
						Value struct{ StringValue string }
					}
				}
				ScopeSpans []struct{ Spans []tracedSpan }
			}
		}
		text := &strings.Builder{}
		err := json.NewDecoder(io.TeeReader(r.Body, text)).Decode(&body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.text += text.String()
		if err != nil {
			return
		}
		for _, s := range body.ResourceSpans[0].ScopeSpans[0].Spans {
			for _, a := range body.ResourceSpans[0].Resource.Attributes {
				if a.Key == "service.instance.id" {
					s.node = a.Value.StringValue
				}
			}
			c.spans = append(c.spans, s)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// paths returns each span of a trace as its node and the names from its root, "ann's" for the
// client's own span.
func (c *traceCollector) paths(traceID, root string) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID, paths := map[string]tracedSpan{}, map[string]bool{}
	for _, s := range c.spans {
		byID[s.SpanID] = s
	}
	for _, s := range c.spans {
		if s.TraceID != traceID {
			continue
		}
		path := ""
		for at := s; ; {
			path = " > " + at.Name + path
			if at.ParentSpanID == root {
				paths[s.node+": the client"+path] = true
				break
			}
			parent, ok := byID[at.ParentSpanID]
			if !ok {
				paths[s.node+": ?"+path] = true
				break
			}
			at = parent
		}
	}
	return paths
}

// awaitPaths waits until a trace has these spans, and returns all.
func (c *traceCollector) awaitPaths(t *testing.T, traceID, root string, want ...string) map[string]bool {
	t.Helper()
	var paths map[string]bool
	require.Eventually(t, func() bool {
		paths = c.paths(traceID, root)
		for _, path := range want {
			if !paths[path] {
				return false
			}
		}
		return true
	}, patience, 5*tick, "wanted: %q", want)
	return paths
}

// One trace has everything that a message caused: from the client's own span over the limits, the
// handler and Redis to the other node. The same over HTTP. What no client may choose is not chosen:
// with --trace-sample 0 nothing is traced, whatever the traceparent says.
func TestAMessageIsOneTrace(t *testing.T) {
	t.Parallel()
	collector, url := collectTraces(t), redistest.URL(t)
	node := func(name string, more ...string) *gate {
		return serve(t, append([]string{"--redis", url, "--dev", "--node", name, "--otlp-endpoint", collector.URL, "--trace-sample", "1", patientLimits}, more...)...)
	}
	a, b := node("a"), node("b")
	const root = "b7ad6b7169203331"
	traceID := func(n int) string { return fmt.Sprintf("0af7651916cd43dd8448eb211c80%04d", n) }
	parent := func(n int) string { return "00-" + traceID(n) + "-" + root + "-00" }

	session := a.guest("ann")
	conn, _, err := dial(t, a)
	require.NoError(t, err)
	conn.send(fmt.Sprintf(`40{"sessionId":%q,"traceparent":%q}`, session, parent(1)))
	conn.event("limits")
	conn.ok("chat:join", `{"channel":"zone:1"}`)
	hearer := b.connect(b.guest("bob"))
	hearer.ok("chat:join", `{"channel":"zone:1"}`)
	conn.ok("chat:message", `{"channel":"zone:1","text":"hello"}`)
	hearer.event("chat:message")
	conn.refused("chat:join", `{"channel":7}`)
	paths := collector.awaitPaths(t, traceID(1), root,
		"a: the client > connect",
		"a: the client > chat:message",
		"a: the client > chat:message > limits",
		"a: the client > chat:message > limits > redis batch",
		"a: the client > chat:message > handler",
		"a: the client > chat:message > handler > cast chat:message",
		"b: the client > chat:message > handler > cast chat:message > deliver chat:message",
	)
	require.NotContains(t, fmt.Sprint(paths), "?", "no span has lost its parent")
	a.logged(1, "event refused", map[string]any{"trace": traceID(1), "event": "chat:join", "code": "INVALID"})
	a.logged(1, "connection opened", map[string]any{"trace": traceID(1)})

	answer := do(t, "POST", a.public+"/chat/message", `{"channel":"zone:1","text":"again"}`, append(bearer(session), "Traceparent", parent(2))...)
	require.Equal(t, 200, answer.status, "%s", answer.body)
	hearer.event("chat:message")
	collector.awaitPaths(t, traceID(2), root,
		"a: the client > POST /chat/message",
		"a: the client > POST /chat/message > handler",
		"b: the client > POST /chat/message > handler > cast chat:message > deliver chat:message",
	)

	metrics := do(t, "GET", a.admin+"/metrics", "", "Accept", "application/openmetrics-text")
	require.Contains(t, string(metrics.body), `# {trace_id="`+traceID(1)+`"}`, "an exemplar leads to a trace")
	require.NotContains(t, string(do(t, "GET", a.admin+"/metrics", "").body), "# {")

	// A handshake of a client that sends no traceparent begins a trace of its own.
	require.Eventually(t, func() bool {
		collector.mu.Lock()
		defer collector.mu.Unlock()
		for _, s := range collector.spans {
			if s.Name == "handshake" && s.node == "b" && s.ParentSpanID == "" {
				return true
			}
		}
		return false
	}, patience, 5*tick)

	// Hostile ones change nothing, and no secret has left.
	require.Equal(t, 200, do(t, "POST", a.public+"/chat/message", `{"channel":"zone:1","text":"x"}`, append(bearer(session), "Traceparent", strings.Repeat("0", 55))...).status)
	require.NoError(t, a.stop())
	require.NoError(t, b.stop())
	collector.mu.Lock()
	defer collector.mu.Unlock()
	require.NotContains(t, collector.text, session)
	require.NotContains(t, collector.text, "hello")
	require.NotContains(t, collector.text, strings.Repeat("0", 32))
}

func TestNothingIsTracedUnasked(t *testing.T) {
	t.Parallel()
	collector := collectTraces(t)
	const flagged = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, args := range [][]string{{"--otlp-endpoint", collector.URL, "--trace-sample", "0"}, {}} {
		g := serve(t, append([]string{"--redis", redistest.URL(t), "--dev"}, args...)...)
		session := g.guest("ann")
		require.Equal(t, 200, do(t, "POST", g.public+"/chat/message", `{"channel":"zone:1","text":"x"}`, append(bearer(session), "Traceparent", flagged)...).status)
		g.connect(session).ok("session:ping", "")
		require.Equal(t, len(args) > 0, strings.Contains(string(do(t, "GET", g.admin+"/metrics", "").body), `gateway_trace_spans_total{what="ended"} 0`))
		require.NoError(t, g.stop())
	}
	require.Empty(t, collector.text)
}

func TestTracesAreConfigured(t *testing.T) {
	t.Parallel()
	for flag, value := range map[string]string{"--otlp-endpoint": "127.0.0.1:4318", "--trace-sample": "1.5"} {
		_, errs, code := command(t, "serve", "--redis", "redis://127.0.0.1:1", flag, value)
		require.Equal(t, 2, code)
		require.Contains(t, errs, flag)
	}
}
