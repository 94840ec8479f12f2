package tracing

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// BenchmarkAnEventAndItsCommand measures what tracing adds to an event that spends limits, is
// handled and sends Redis a command: without our calls, with tracing off, with a tracer that does
// not sample the event, and with one that does. None of them does anything else.
func BenchmarkAnEventAndItsCommand(b *testing.B) {
	work := func(ctx context.Context, cmd redis.Cmder) error { return ctx.Err() }
	cmd, hooked := redis.NewStatusCmd(b.Context(), "set", "k", "v"), RedisHook{}.ProcessHook(work)
	traced := func(tracer *Tracer) error {
		span := tracer.Begin("chat:message", nil)
		defer span.End()
		ctx := span.Context(b.Context())
		limits := FromContext(ctx).Child("limits")
		err := hooked(limits.Context(ctx), cmd)
		limits.End()
		span.FailWith(err)
		return err
	}
	b.Run("without tracing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if work(b.Context(), cmd) != nil {
				b.Fatal("it failed")
			}
		}
	})
	for name, share := range map[string]float64{"off": -1, "not sampled": 0, "sampled": 1} {
		b.Run(name, func(b *testing.B) {
			var tracer *Tracer
			if share >= 0 {
				tracer = New(sdktrace.NewTracerProvider(), share)
				defer tracer.Close()
			}
			b.ReportAllocs()
			for b.Loop() {
				if traced(tracer) != nil {
					b.Fatal("it failed")
				}
			}
		})
	}
}
