// Package otlp sends the spans of package tracing to a collector of OpenTelemetry, by OTLP over
// HTTP, in JSON. Nothing waits for the collector: at most 2,048 spans wait for it, and what does
// not fit is dropped and counted.
//
// OpenTelemetry's own exporter is not used, because it brings gRPC, and makes the binary 7 MB
// larger.
package otlp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/aeturnis/realtime/internal/tracing"
)

// Config of an Exporter. Endpoint is required.
type Config struct {
	// Endpoint is the collector's URL; without a path, /v1/traces is meant.
	Endpoint string
	Share    float64 // of what begins that is traced, from 0 to 1
	Node     string
	Version  string
	// OnChange, if not nil, is called when the collector takes no spans, with why, and with nil when
	// it takes them again.
	OnChange func(error)
	// Every is how often spans are sent; 2 s.
	Every time.Duration
}

// Bounds of what waits for the collector.
const (
	maxWaiting    = 2048 // spans
	maxBatch      = 512
	exportTimeout = 5 * time.Second
)

// ParseEndpoint returns the URL to which spans are sent. It must be one of http or https, without a
// query.
func ParseEndpoint(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("%q is no URL such as http://127.0.0.1:4318", endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// An Exporter has a tracer, and sends what it traces. It is a prometheus.Collector.
type Exporter struct {
	// Tracer begins the spans.
	Tracer   *tracing.Tracer
	provider *sdktrace.TracerProvider
	counted  *countedExporter
	ended    *countedSpans
	// closeExports ends the exports that are under way, and lets later ones fail at once.
	closeExports context.CancelFunc
}

// New makes an exporter. The collector need not be there. The caller must Close it.
func New(cfg Config) (*Exporter, error) {
	endpoint, err := ParseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if cfg.Every <= 0 {
		cfg.Every = 2 * time.Second
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(error) {}
	}
	closed, closeExports := context.WithCancel(context.Background())
	sender := &sender{endpoint: endpoint, closed: closed, client: &http.Client{
		Timeout: exportTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // spans go to the endpoint alone
	}}
	counted := &countedExporter{SpanExporter: sender, onChange: cfg.OnChange, closed: closed}
	ended := &countedSpans{SpanProcessor: sdktrace.NewBatchSpanProcessor(counted,
		sdktrace.WithMaxQueueSize(maxWaiting), sdktrace.WithMaxExportBatchSize(maxBatch), sdktrace.WithBatchTimeout(cfg.Every), sdktrace.WithExportTimeout(exportTimeout))}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // tracing.Tracer chooses
		sdktrace.WithSpanProcessor(ended),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "gateway"), attribute.String("service.instance.id", cfg.Node), attribute.String("service.version", cfg.Version))),
	)
	return &Exporter{tracing.New(provider, cfg.Share), provider, counted, ended, closeExports}, nil
}

// Close sends what waits, for two seconds at most.
func (e *Exporter) Close() {
	if e == nil {
		return
	}
	e.Tracer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = e.provider.Shutdown(ctx) // the last spans are worth no longer wait
	e.closeExports()
}

// countedSpans counts the spans that ended.
type countedSpans struct {
	sdktrace.SpanProcessor
	count atomic.Int64
}

// OnEnd implements sdktrace.SpanProcessor.
func (c *countedSpans) OnEnd(s sdktrace.ReadOnlySpan) {
	c.count.Add(1)
	c.SpanProcessor.OnEnd(s)
}

// countedExporter counts what the collector takes, and tells changes.
type countedExporter struct {
	sdktrace.SpanExporter
	onChange         func(error)
	exported, failed atomic.Int64
	isFailing        bool // only ExportSpans uses it, and its calls never overlap
	closed           context.Context
}

// ExportSpans implements sdktrace.SpanExporter. Its error is always nil: OpenTelemetry would write
// it to standard error.
func (c *countedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		c.exported.Add(int64(len(spans)))
	} else {
		c.failed.Add(int64(len(spans)))
	}
	if isFailing := err != nil; isFailing != c.isFailing && c.closed.Err() == nil {
		c.isFailing = isFailing
		c.onChange(err)
	}
	return nil
}

var spansDesc = prometheus.NewDesc("gateway_trace_spans_total", "Spans of traces: ended, exported to the collector, failed to be. What was dropped, or waits, is the rest of ended.", []string{"what"}, nil)

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) { ch <- spansDesc }

// Collect implements prometheus.Collector.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	for what, n := range map[string]int64{"exported": e.counted.exported.Load(), "failed": e.counted.failed.Load(), "ended": e.ended.count.Load()} {
		ch <- prometheus.MustNewConstMetric(spansDesc, prometheus.CounterValue, float64(n), what)
	}
}
