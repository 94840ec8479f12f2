package check_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/aeturnis/realtime/internal/tracing/otlp"
)

// The receiver of a real OpenTelemetry collector takes our spans, and has of them what we said.
func TestARealCollectorTakesSpans(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	require.NoError(t, free.Close())
	factory, sink := otlpreceiver.NewFactory(), &consumertest.TracesSink{}
	cfg := factory.CreateDefaultConfig()
	settings := map[string]any{"protocols": map[string]any{"http": map[string]any{"endpoint": addr}}}
	require.NoError(t, confmap.NewFromStringMap(settings).Unmarshal(cfg))
	receiver, err := factory.CreateTraces(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, sink)
	require.NoError(t, err)
	require.NoError(t, receiver.Start(t.Context(), componenttest.NewNopHost()))
	defer func() { require.NoError(t, receiver.Shutdown(context.Background())) }()

	changes := make(chan error, 10)
	exporter, err := otlp.New(otlp.Config{Endpoint: "http://" + addr, Share: 1, Node: "n1", Version: "v1.2.3", Every: time.Millisecond, OnChange: func(err error) { changes <- err }})
	require.NoError(t, err)
	begun := time.Now()
	event := exporter.Tracer.Begin("chat:message", nil)
	event.Set("user.id", `an"n`)
	limits := event.Child("limits")
	limits.End()
	event.Fail("TIMEOUT")
	event.End()
	exporter.Close()
	require.Empty(t, changes, "nothing was refused")
	require.Eventually(t, func() bool { return sink.SpanCount() == 2 }, 10*time.Second, 10*time.Millisecond)

	spans := map[string]ptrace.Span{}
	for _, batch := range sink.AllTraces() {
		resource := batch.ResourceSpans().At(0).Resource().Attributes().AsRaw()
		require.Equal(t, map[string]any{"service.name": "gateway", "service.instance.id": "n1", "service.version": "v1.2.3"}, resource)
		all := batch.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
		for i := range all.Len() {
			spans[all.At(i).Name()] = all.At(i)
		}
	}
	root, child := spans["chat:message"], spans["limits"]
	require.Equal(t, event.TraceID(), root.TraceID().String())
	require.Equal(t, root.SpanID(), child.ParentSpanID())
	require.Equal(t, ptrace.SpanKindServer, root.Kind())
	require.Equal(t, ptrace.StatusCodeError, root.Status().Code())
	require.Equal(t, "TIMEOUT", root.Status().Message())
	require.Equal(t, map[string]any{"user.id": `an"n`}, root.Attributes().AsRaw())
	require.WithinDuration(t, begun, root.StartTimestamp().AsTime(), time.Second)
	require.False(t, root.EndTimestamp().AsTime().Before(child.EndTimestamp().AsTime()))
}
