package sessions_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/sessions"
)

// metric returns the value of gateway_session_touches_total for that result.
func metric(t *testing.T, tracker *sessions.Tracker, result string) float64 {
	t.Helper()
	return value(t, tracker, "gateway_session_touches_total", result)
}

// value returns the value of a counter. label is the value of its only label, "" when it has none.
func value(t *testing.T, c prometheus.Collector, name, label string) float64 {
	t.Helper()
	for _, f := range gather(t, c) {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	require.FailNow(t, "no metric "+name)
	return 0
}

func gauge(t *testing.T, c prometheus.Collector, name string) float64 {
	t.Helper()
	for _, f := range gather(t, c) {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.FailNow(t, "no gauge "+name)
	return 0
}

func gather(t *testing.T, c prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(c))
	families, err := r.Gather()
	require.NoError(t, err)
	return families
}

func TestRevocationLatencyIsMeasured(t *testing.T) {
	t.Parallel()
	store := sessions.New(redistest.Client(t), sessions.Config{})
	tracker := sessions.NewTracker(store, sessions.TrackerConfig{})
	follow(t, tracker)
	onEnd, ends := end()
	s := create(t, store, sessions.Options{})
	tracker.Open(s, sessions.Listener{Ended: onEnd})
	require.NoError(t, store.Destroy(t.Context(), s.ID, sessions.Revoked, ""))
	told(t, ends)
	require.Eventually(t, func() bool {
		for _, f := range gather(t, tracker) {
			if f.GetName() == "gateway_session_revocation_seconds" {
				return f.GetMetric()[0].GetHistogram().GetSampleCount() == 1
			}
		}
		return false
	}, soon, tick)
}

// pipelines counts the pipelines of a client.
type pipelines struct{ n atomic.Int64 }

func (p *pipelines) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}
func (p *pipelines) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *pipelines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		p.n.Add(1)
		return next(ctx, cmds)
	}
}
