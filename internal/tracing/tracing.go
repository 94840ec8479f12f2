// Package tracing has the spans of events, handshakes and requests, of which some are chosen by
// chance. It uses the API of OpenTelemetry alone; package otlp sends the spans.
//
// A nil *Tracer chooses nothing, and a nil *Span is what was not chosen: its methods do nothing and
// allocate nothing. So callers need no conditions, and pay a comparison where nothing is traced.
//
//	span := tracer.Begin("chat:message", remote)
//	defer span.End()
//	child := span.Child("limits")
//	err := spend(child.Context(ctx))
//	child.End()
//
// Whether something is traced is decided here and by chance. The flag of a client's traceparent is
// not believed: every player could have everything traced.
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

// A Tracer chooses what is traced. Its methods may be called from any goroutine.
type Tracer struct {
	tracer    trace.Tracer
	threshold atomic.Uint64 // something is chosen when a random number of 63 bits is below it
}

// tracers counts the tracers of the process: while there is none, FromContext does not look.
var tracers atomic.Int64

// New makes a tracer that chooses a share of what begins, from 0 to 1. The caller must Close it.
func New(provider trace.TracerProvider, share float64) *Tracer {
	tracers.Add(1)
	t := &Tracer{tracer: provider.Tracer(scope)}
	t.SetShare(share)
	return t
}

// SetShare changes the share of what begins that is chosen.
func (t *Tracer) SetShare(share float64) {
	if t != nil {
		t.threshold.Store(uint64(max(0, min(1, share)) * (1 << 63)))
	}
}

// Close says that nothing begins any more.
func (t *Tracer) Close() {
	if t != nil {
		tracers.Add(-1)
	}
}

// Begin begins the span of something that a client asked for, unless chance decides against it.
// remote is where the client's own trace is; nil begins a trace.
func (t *Tracer) Begin(name string, remote *Remote) *Span {
	if t == nil || rand.Uint64()>>1 >= t.threshold.Load() {
		return nil
	}
	return t.begin(name, remote, trace.SpanKindServer)
}

// Continue begins the span of what belongs to a span of another node of ours, which has chosen.
// traceparent is that of the other span; a malformed one is ignored.
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

// A Remote is a span of somebody else.
type Remote struct{ context trace.SpanContext }

// parentLength is how long a traceparent of version 00 is.
const parentLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// ReadParent reads a traceparent (W3C Trace Context, version 00). It returns nil for none, and for
// a malformed one: anybody may have sent it.
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

// A Span is a part of a trace; nil is what is not traced.
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

// Child begins a span within the span.
func (s *Span) Child(name string) *Span { return s.childOf(name, trace.SpanKindInternal) }

// Call begins a span within the span, of a call of another program.
func (s *Span) Call(name string) *Span { return s.childOf(name, trace.SpanKindClient) }

// Send begins a span within the span, of what other nodes receive.
func (s *Span) Send(name string) *Span { return s.childOf(name, trace.SpanKindProducer) }

func (s *Span) childOf(name string, kind trace.SpanKind) *Span {
	if s == nil {
		return nil
	}
	_, span := s.tracer.Start(trace.ContextWithSpan(context.Background(), s.span), name, trace.WithSpanKind(kind))
	return &Span{s.tracer, span}
}

// Set gives the span a text, which must not be a secret.
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

// Fail says that what the span is of failed, and with which code.
func (s *Span) Fail(code string) {
	if s != nil {
		s.span.SetStatus(codes.Error, code)
	}
}

// FailWith is Fail with an error that may be nil. The text of the error is not sent: it may have
// been made of a client's.
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
