package tracing

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// A traceparent that is not one is ignored: anybody may have sent it.
func TestAHostileTraceparentIsIgnored(t *testing.T) {
	t.Parallel()
	require.NotNil(t, ReadParent(parent))
	require.NotNil(t, ReadParent(strings.TrimSuffix(parent, "01")+"00"))
	for name, text := range map[string]string{
		"none":             "",
		"no trace":         "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01",
		"no span":          "00-0af7651916cd43dd8448eb211c80319c-" + strings.Repeat("0", 16) + "-01",
		"upper case":       strings.ToUpper(parent),
		"another version":  "01" + parent[2:],
		"version ff":       "ff" + parent[2:],
		"longer":           parent + "-00",
		"much longer":      parent + strings.Repeat("x", 1<<20),
		"shorter":          parent[:54],
		"no hexadecimal":   strings.Replace(parent, "a", "g", 1),
		"flags":            parent[:53] + "zz",
		"a line break":     parent[:54] + "\n",
		"other separators": strings.ReplaceAll(parent, "-", "_"),
		"two":              parent[:27] + "," + parent[:27],
		"not UTF-8":        strings.Replace(parent, "af", "\xff\xfe", 1),
		"JSON":             `00-{"a":"0af7651916cd43dd84","b":"b7ad6b7169203331"}-01`,
	} {
		require.Nil(t, ReadParent(text), name)
	}
}

func TestSpansAreOneTrace(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), 1)
	defer tracer.Close()
	event := tracer.Begin("chat:message", ReadParent(parent))
	ctx := event.Context(t.Context())
	limits := FromContext(ctx).Child("limits")
	limits.Call("redis batch").End()
	limits.End()
	sent := FromContext(context.WithoutCancel(ctx)).Send("cast chat:message")
	elsewhere := tracer.Continue("deliver", sent.Traceparent())
	elsewhere.End()
	sent.End()
	event.Fail("TIMEOUT")
	event.End()
	require.Equal(t, event.Traceparent(), ParentOf(ctx), "also when it has ended")
	require.Nil(t, FromContext(ctx), "it has ended")

	parents := map[string]string{}
	ids := map[string]string{"b7ad6b7169203331": "the client's"}
	for _, s := range recorder.Ended() {
		ids[s.SpanContext().SpanID().String()] = s.Name()
	}
	for _, s := range recorder.Ended() {
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", s.SpanContext().TraceID().String())
		parents[s.Name()] = ids[s.Parent().SpanID().String()]
	}
	require.Equal(t, map[string]string{
		"chat:message": "the client's", "limits": "chat:message", "redis batch": "limits", "cast chat:message": "chat:message", "deliver": "cast chat:message",
	}, parents)
	require.Nil(t, tracer.Continue("deliver", "none"))
}

// Chance decides, and the flag of a client's traceparent does not.
func TestAShareIsTraced(t *testing.T) {
	tracer := New(sdktrace.NewTracerProvider(), 0.1)
	defer tracer.Close()
	count := func() (n int) {
		for range 10_000 {
			if span := tracer.Begin("x", ReadParent(parent)); span != nil {
				n++
				span.End()
			}
		}
		return n
	}
	require.InDelta(t, 1000, count(), 250)
	tracer.SetShare(0)
	require.Zero(t, count())
	tracer.SetShare(1)
	require.Equal(t, 10_000, count())
}

// An event that is not traced costs no allocation, whether tracing is off or chance has decided.
func TestAllocationsOfWhatIsNotTraced(t *testing.T) {
	ctx := t.Context()
	perEvent := func(tracer *Tracer) float64 {
		return testing.AllocsPerRun(1000, func() {
			span := tracer.Begin("chat:message", nil)
			limits := span.Child("limits")
			_ = FromContext(limits.Context(ctx)).Call("redis")
			limits.FailWith(nil)
			limits.End()
			_, _ = span.TraceID(), span.Traceparent()
			span.Set("user.id", "ann")
			span.Fail("TIMEOUT")
			span.End()
		})
	}
	require.Zero(t, perEvent(nil))
	tracer := New(sdktrace.NewTracerProvider(), 0)
	defer tracer.Close()
	require.Zero(t, perEvent(tracer))
}
