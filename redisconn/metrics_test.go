package redisconn_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// counts is how often each {command, outcome} was observed.
func counts(t *testing.T, reg *prometheus.Registry) map[[2]string]uint64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	m := make(map[[2]string]uint64)
	for _, f := range families {
		if f.GetName() != "gateway_redis_command_duration_seconds" {
			continue
		}
		for _, metric := range f.Metric {
			if n := metric.Histogram.GetSampleCount(); n > 0 {
				m[[2]string{metric.Label[0].GetValue(), metric.Label[1].GetValue()}] = n
			}
		}
	}
	return m
}

func TestMetricsCountCommandsByFamily(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t)
	c := open(t, s.URL())
	reg := prometheus.NewRegistry()
	require.NoError(t, redisconn.Metrics(reg, c))
	require.Error(t, redisconn.Metrics(reg, c), "twice")

	require.NoError(t, c.Set(ctx, "session:secret", "v", 0).Err())
	require.ErrorIs(t, c.Get(ctx, "nothing").Err(), redis.Nil)
	require.Error(t, c.LPush(ctx, "session:secret", "v").Err())
	require.Error(t, c.Do(ctx, "made:up:by:a:client").Err())
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "k", "v", 0).Err() })
	require.NoError(t, err)
	s.Kill()
	require.Error(t, c.HGet(ctx, "h", "f").Err())
	got := counts(t, reg)
	require.Equal(t, uint64(1), got[[2]string{"connect", "ok"}], "one greeting")
	require.NotZero(t, got[[2]string{"connect", "unavailable"}], "and those that nobody heard")
	delete(got, [2]string{"connect", "ok"})
	delete(got, [2]string{"connect", "unavailable"})
	require.Equal(t, map[[2]string]uint64{
		{"string", "ok"}: 2, {"list", "error"}: 1, {"other", "error"}: 1, {"pipeline", "ok"}: 1, {"hash", "unavailable"}: 1,
	}, got)
}

func TestMetricsOfThePool(t *testing.T) {
	t.Parallel()
	c := open(t, redistest.URL(t))
	reg := prometheus.NewRegistry()
	require.NoError(t, redisconn.Metrics(reg, c))
	require.NoError(t, c.Ping(context.Background()).Err())
	families, err := reg.Gather()
	require.NoError(t, err)
	got := make(map[string]float64)
	for _, f := range families {
		for _, metric := range f.Metric {
			if metric.Label[0].GetValue() != "main" {
				continue
			}
			name := f.GetName()
			if len(metric.Label) > 1 {
				name += "/" + metric.Label[1].GetValue()
			}
			got[name] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	require.Equal(t, map[string]float64{
		"gateway_redis_pool_connections/busy": 0, "gateway_redis_pool_connections/idle": 1, "gateway_redis_pool_hits_total": 1, "gateway_redis_pool_misses_total": 1,
		"gateway_redis_pool_timeouts_total": 0, "gateway_redis_pool_waits_total": 0, "gateway_redis_pool_wait_seconds_total": 0, "gateway_redis_pool_stale_total": 0,
	}, got)
}

func TestMeasuringCostsNothing(t *testing.T) {
	ctx := context.Background()
	plain, measured := open(t, redistest.URL(t)), open(t, redistest.URL(t))
	require.NoError(t, redisconn.Metrics(prometheus.NewRegistry(), measured))
	cost := func(c redis.UniversalClient) float64 {
		return testing.AllocsPerRun(100, func() { c.Ping(ctx) })
	}
	require.LessOrEqual(t, cost(measured), cost(plain)+1)
}

// TestLoggerIsSampled is not parallel: the logger is the process's.
func TestLoggerIsSampled(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	redisconn.SetLogger(zap.New(core))
	t.Cleanup(func() { redisconn.SetLogger(zap.NewNop()) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() { // hangs up on everybody, which fails a TLS dial
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	c := redis.NewClient(&redis.Options{ // ours logs no failed dial: it tells the monitor
		Addr: l.Addr().String(), PoolSize: 1000, MaxRetries: -1, DialerRetries: 1, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	})
	defer c.Close()
	start := time.Now()
	for range 100 {
		require.Error(t, c.Ping(context.Background()).Err())
	}
	limit := 5 * (2 + int(time.Since(start)/time.Second))
	require.Less(t, limit, 100, "too slow a machine to tell")
	require.NotZero(t, logs.Len())
	require.LessOrEqual(t, logs.Len(), limit, "five a second")
	e := logs.All()[0]
	require.Equal(t, "redis client", e.Message)
	require.Equal(t, zapcore.WarnLevel, e.Level)
	require.Contains(t, e.ContextMap()["detail"], "failed to dial")
}
