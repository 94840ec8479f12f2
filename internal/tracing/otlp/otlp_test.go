package otlp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// A collector that takes spans, or refuses them.
type collector struct {
	*httptest.Server
	status atomic.Int64
	bodies chan []byte
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{bodies: make(chan []byte, 100)}
	c.status.Store(http.StatusOK)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(int(c.status.Load()))
		c.bodies <- b
	}))
	t.Cleanup(c.Close)
	return c
}

// The spans arrive in the form of OTLP. deploy/check reads the same with the collector's own code.
func TestSpansAreSent(t *testing.T) {
	c := newCollector(t)
	e, err := New(Config{Endpoint: c.URL, Share: 1, Node: "n1", Version: "v1", Every: time.Millisecond})
	require.NoError(t, err)
	span := e.Tracer.Begin("chat:message", nil)
	span.Set("user.id", "ann")
	child := span.Call("redis batch")
	child.FailWith(errors.New("secret"))
	child.End()
	span.Fail("TIMEOUT")
	span.End()
	e.Close()

	spans := map[string]spanData{}
	for len(c.bodies) > 0 {
		body := <-c.bodies
		require.NotContains(t, string(body), "secret")
		require.Contains(t, string(body), `"service.instance.id","value":{"stringValue":"n1"}`)
		var data traceData
		require.NoError(t, json.Unmarshal(body, &data))
		for _, s := range data.ResourceSpans[0].ScopeSpans[0].Spans {
			spans[s.Name] = s
		}
	}
	event, redis := spans["chat:message"], spans["redis batch"]
	require.Equal(t, span.TraceID(), event.TraceID)
	require.Equal(t, event.SpanID, redis.ParentSpanID)
	require.Equal(t, []int{2, 3}, []int{event.Kind, redis.Kind})
	require.Equal(t, statusData{"TIMEOUT", 2}, event.Status)
	require.Equal(t, []keyValue{{"user.id", textValue{"ann"}}}, event.Attributes)
	require.Len(t, event.Start, 19, "nanoseconds since 1970")
}

// A collector that is away is told once, and once again when it is back. Nobody waits for it.
func TestACollectorThatIsAway(t *testing.T) {
	c := newCollector(t)
	c.status.Store(http.StatusServiceUnavailable)
	changes := make(chan error, 100)
	e, err := New(Config{Endpoint: c.URL + "/", Share: 1, Every: time.Millisecond, OnChange: func(err error) { changes <- err }})
	require.NoError(t, err)
	defer e.Close()
	trace := func() {
		e.Tracer.Begin("x", nil).End()
		<-c.bodies
	}
	trace()
	require.ErrorContains(t, <-changes, "503")
	trace()
	c.status.Store(http.StatusOK)
	trace()
	require.NoError(t, <-changes)
	require.Empty(t, changes)
	registry, counts := prometheus.NewRegistry(), map[string]float64{}
	require.NoError(t, registry.Register(e))
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Equal(t, "gateway_trace_spans_total", families[0].GetName())
	for _, m := range families[0].GetMetric() {
		counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	require.Equal(t, map[string]float64{"ended": 3, "exported": 1, "failed": 2}, counts)
}

// While a collector does not answer, at most 2,048 spans wait for it and 512 are on their way; all
// others are dropped. No span waits for the collector to end: 20,000 end during its first request.
func TestACollectorThatHangs(t *testing.T) {
	t.Parallel()
	asked, release, sent := make(chan struct{}, 1000), make(chan struct{}), atomic.Int64{}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- struct{}{}
		select {
		case <-release:
			sent.Add(int64(strings.Count(string(body), `"spanId"`)))
		case <-r.Context().Done():
		}
	}))
	defer collector.Close()
	e, err := New(Config{Endpoint: collector.URL, Share: 1, Every: time.Millisecond})
	require.NoError(t, err)
	e.Tracer.Begin("first", nil).End()
	<-asked
	for range 20_000 {
		e.Tracer.Begin("x", nil).End()
	}
	require.Empty(t, asked, "the first request is still unanswered")
	require.Zero(t, sent.Load())
	require.EqualValues(t, 20_001, e.ended.count.Load())
	close(release)
	e.Close() // sends what waited
	require.Equal(t, sent.Load(), e.counted.exported.Load())
	// The SDK takes up to 512 spans out of its queue for the next request, so up to 511 waited there.
	require.GreaterOrEqual(t, sent.Load(), int64(1+2048))
	require.LessOrEqual(t, sent.Load(), int64(1+2048+512))
}

// Closing the exporter waits two seconds at most for a collector that does not answer.
func TestClosingDoesNotWaitForACollectorThatHangs(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer collector.Close()
	e, err := New(Config{Endpoint: collector.URL, Share: 1})
	require.NoError(t, err)
	e.Tracer.Begin("x", nil).End()
	begun := time.Now()
	e.Close()
	require.Less(t, time.Since(begun), exportTimeout-time.Second)
	require.Zero(t, e.counted.exported.Load())
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"http://127.0.0.1:4318": "http://127.0.0.1:4318/v1/traces", "https://c.example/": "https://c.example/v1/traces", "http://c/otlp/v1/traces": "http://c/otlp/v1/traces",
		"127.0.0.1:4318": "", "": "", "ftp://c": "", "http://": "", "http://user:password@c": "", "http://c?x=y": "", "http://c\n": "",
	} {
		got, err := ParseEndpoint(endpoint)
		require.Equal(t, want, got, endpoint)
		require.Equal(t, want == "", err != nil, endpoint)
	}
}

// A collector may take everything and warn, refuse a part, or name another address, which gets
// nothing.
func TestWhatACollectorAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("spans went to another address") }))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		status  int
		answer  string
		refused string // a part of the error; "" where everything was taken
	}{
		"nothing":      {200, "", ""},
		"a warning":    {200, `{"partialSuccess":{"errorMessage":"old"}}`, ""},
		"a warning, 0": {200, `{"partialSuccess":{"rejectedSpans":"0","errorMessage":"old"}}`, ""},
		"a part":       {200, `{"partialSuccess":{"rejectedSpans":"1","errorMessage":"full"}}`, `refuses 1 spans: "full"`},
		"a number":     {200, `{"partialSuccess":{"rejectedSpans":1}}`, "refuses 1 spans"},
		"no JSON":      {200, "OK", ""},
		"elsewhere":    {307, "", "307"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", elsewhere.URL)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			}))
			defer answers.Close()
			e, err := New(Config{Endpoint: answers.URL, Share: 1, Every: time.Hour})
			require.NoError(t, err)
			defer e.Close()
			span := e.Tracer.Begin("x", nil)
			span.End()
			var said error
			e.counted.onChange = func(err error) { said = err }
			require.NoError(t, e.provider.ForceFlush(t.Context()))
			if c.refused == "" {
				require.NoError(t, said)
				require.EqualValues(t, 1, e.counted.exported.Load())
				return
			}
			require.ErrorContains(t, said, c.refused)
			require.EqualValues(t, 1, e.counted.failed.Load())
		})
	}
}
