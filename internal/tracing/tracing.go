// Package tracing makes spans of a random sample of the events, handshakes and requests. It uses
// the API of OpenTelemetry alone; package otlp sends the spans.
//
// A nil *Tracer samples nothing. An event that is not sampled has a nil *Span, whose methods do
// nothing and allocate nothing. So callers need no conditions, and without tracing they pay for one
// comparison.
//
//	span := tracer.Begin("chat:message", remote)
//	defer span.End()
//	child := span.Child("limits")
//	err := spend(child.Context(ctx))
//	child.End()
//
// Only this package's random choice decides what is sampled. The sampled flag in a client's
// traceparent is ignored, because with it any player could have all events traced.
package tracing

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// scope names the instrumentation in each span.
const scope = "github.com/aeturnis/realtime"

// A Tracer samples events and makes their spans. Its methods may be called from any goroutine.
type Tracer struct {
	tracer    trace.Tracer
	threshold atomic.Uint64 // an event is sampled when a random number of 63 bits is below it
}

// tracers counts the open tracers of the process. While there is none, FromContext returns at once.
var tracers atomic.Int64

// New makes a tracer that samples a share of the events, from 0 to 1. The caller must Close it.
func New(provider trace.TracerProvider, share float64) *Tracer {
	tracers.Add(1)
	t := &Tracer{tracer: provider.Tracer(scope)}
	t.SetShare(share)
	return t
}

// SetShare changes the share of the events that is sampled.
func (t *Tracer) SetShare(share float64) {
	if t != nil {
		t.threshold.Store(uint64(max(0, min(1, share)) * (1 << 63)))
	}
}

// Close closes the tracer. The caller begins no span after it.
func (t *Tracer) Close() {
	if t != nil {
		tracers.Add(-1)
	}
}

// Begin begins the span of a client's event or request. It returns nil if that is not sampled. The
// parent of the span is remote, the client's own span; with nil a new trace begins.
func (t *Tracer) Begin(name string, remote *Remote) *Span {
	if t == nil || rand.Uint64()>>1 >= t.threshold.Load() {
		return nil
	}
	return t.begin(name, remote, trace.SpanKindServer)
}

// Continue begins a span whose parent is a span of another node of this gateway. It samples always,
// because that node has sampled already. It returns nil for a malformed traceparent.
func (t *Tracer) Continue(name, traceparent string) *Span {
	if t == nil {
		return nil
	}
	remote := ReadParent(traceparent)
	if remote == nil {
		return nil
	}
	return t.begin(name, remote, trace.SpanKindConsumer)
}

func (t *Tracer) begin(name string, remote *Remote, kind trace.SpanKind) *Span {
	ctx := context.Background()
	if remote != nil {
		ctx = trace.ContextWithRemoteSpanContext(ctx, remote.context)
	}
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind))
	return &Span{t.tracer, span}
}

// A Remote is a span of another program: the client or another node.
type Remote struct{ context trace.SpanContext }

// parentLength is how long a traceparent of version 00 is.
const parentLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// ReadParent reads a traceparent (W3C Trace Context, version 00). It returns nil for an empty and
// for a malformed one, because clients may send anything.
func ReadParent(text string) *Remote {
	if len(text) != parentLength || !strings.HasPrefix(text, "00-") || text[35] != '-' || text[52] != '-' {
		return nil
	}
	var traceID trace.TraceID
	var spanID trace.SpanID
	var flags [1]byte
	if !readHex(traceID[:], text[3:35]) || !readHex(spanID[:], text[36:52]) || !readHex(flags[:], text[53:]) {
		return nil
	}
	c := trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled, Remote: true})
	if !c.IsValid() { // an id of zeros
		return nil
	}
	return &Remote{c}
}

// readHex reads lower-case hexadecimal digits, as the specification has them.
func readHex(dst []byte, digits string) bool {
	if strings.ToLower(digits) != digits {
		return false
	}
	n, err := hex.Decode(dst, []byte(digits))
	return err == nil && n == len(dst)
}

// A Span is a part of a trace. A nil *Span is valid: its methods do nothing.
type Span struct {
	tracer trace.Tracer
	span   trace.Span
}

// FromContext returns the span of a context, or nil.
func FromContext(ctx context.Context) *Span {
	if tracers.Load() == 0 {
		return nil
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return nil
	}
	return &Span{span.TracerProvider().Tracer(scope), span}
}

// ParentOf returns the traceparent of the span of a context, also when that has ended, or "".
func ParentOf(ctx context.Context) string {
	if tracers.Load() == 0 {
		return ""
	}
	if c := trace.SpanContextFromContext(ctx); c.IsValid() {
		return formatParent(c)
	}
	return ""
}

// Context returns a context with the span, or ctx.
func (s *Span) Context(ctx context.Context) context.Context {
	if s == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s.span)
}

// Child begins a child of the span.
func (s *Span) Child(name string) *Span { return s.childOf(name, trace.SpanKindInternal) }

// Call begins a child of the span for a call to another program.
func (s *Span) Call(name string) *Span { return s.childOf(name, trace.SpanKindClient) }

// Send begins a child of the span for a cast that other nodes receive.
func (s *Span) Send(name string) *Span { return s.childOf(name, trace.SpanKindProducer) }

func (s *Span) childOf(name string, kind trace.SpanKind) *Span {
	if s == nil {
		return nil
	}
	_, span := s.tracer.Start(trace.ContextWithSpan(context.Background(), s.span), name, trace.WithSpanKind(kind))
	return &Span{s.tracer, span}
}

// Set sets an attribute of the span. The value must not be a secret.
func (s *Span) Set(name, value string) {
	if s != nil {
		s.span.SetAttributes(attribute.String(name, value))
	}
}

// Rename gives the span another name.
func (s *Span) Rename(name string) {
	if s != nil {
		s.span.SetName(name)
	}
}

// Fail marks the span as failed, with an error code.
func (s *Span) Fail(code string) {
	if s != nil {
		s.span.SetStatus(codes.Error, code)
	}
}

// FailWith marks the span as failed unless err is nil. It does not record the error's text, which
// may contain a client's data.
func (s *Span) FailWith(err error) {
	if s != nil && err != nil {
		s.span.SetStatus(codes.Error, "failed")
	}
}

// End ends the span. A second End does nothing.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}

// TraceID returns the id of the trace in 32 hexadecimal digits, or "".
func (s *Span) TraceID() string {
	if s == nil {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// Traceparent returns the span as another node or program has it as a parent, or "".
func (s *Span) Traceparent() string {
	if s == nil {
		return ""
	}
	return formatParent(s.span.SpanContext())
}

func formatParent(c trace.SpanContext) string {
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-01"
}
