package redisconn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/redisconn"
)

// change is one call of OnChange.
type change struct {
	from, to redisconn.State
	why      string
}

// watch runs a monitor until the test ends and tells its changes.
func watch(t *testing.T, client redis.UniversalClient, cfg redisconn.MonitorConfig) (*redisconn.Monitor, <-chan change) {
	t.Helper()
	changes := make(chan change, 100)
	cfg.OnChange = func(from, to redisconn.State, why string) { changes <- change{from, to, why} }
	m := redisconn.NewMonitor(client, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return m, changes
}

// becomes waits for a state and fails when it takes longer than is promised.
func becomes(t *testing.T, changes <-chan change, want redisconn.State) change {
	t.Helper()
	start := time.Now()
	for {
		select {
		case c := <-changes:
			if c.to == want {
				t.Logf("%v after %v", want, time.Since(start))
				require.Less(t, time.Since(start), within+250*time.Millisecond, want)
				return c
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("never %v", want)
		}
	}
}

func TestMonitorFollowsRedis(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t)
	c := open(t, s.URL())
	m, changes := watch(t, c, redisconn.MonitorConfig{})
	require.Equal(t, redisconn.Up, m.State())

	s.Kill()
	require.Equal(t, "connection refused", becomes(t, changes, redisconn.Down).why)
	require.Equal(t, redisconn.Down, m.State())
	s.Restart()
	require.Equal(t, redisconn.Down, becomes(t, changes, redisconn.Up).from)
	require.NoError(t, c.Ping(ctx).Err(), "up means that the client works")

	s.Pause()
	require.Equal(t, "no answer in time", becomes(t, changes, redisconn.Down).why)
	s.Resume()
	becomes(t, changes, redisconn.Up)

	require.NoError(t, c.Do(ctx, "replicaof", "127.0.0.1", "1").Err())
	require.Equal(t, "Redis is read-only", becomes(t, changes, redisconn.ReadOnly).why)
	require.NoError(t, c.Do(ctx, "replicaof", "no", "one").Err())
	becomes(t, changes, redisconn.Up)
	require.Zero(t, c.DBSize(ctx).Val(), "asking writes nothing")
}

func TestMonitorSeesASlowRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t, "--enable-debug-command", "yes")
	c := s.Client()
	_, changes := watch(t, c, redisconn.MonitorConfig{Patience: 5 * time.Second})
	busy := redis.NewClient(&redis.Options{Addr: s.Addr(), ReadTimeout: time.Minute, MaxRetries: -1})
	defer busy.Close()
	require.NoError(t, busy.Do(context.Background(), "debug", "sleep", "1").Err())
	require.Equal(t, change{redisconn.Up, redisconn.Slow, ""}, becomes(t, changes, redisconn.Slow))
	require.Equal(t, change{redisconn.Slow, redisconn.Up, ""}, becomes(t, changes, redisconn.Up), "it was never down")
}

func TestMonitorStartsWithRedisDown(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	s.Kill()
	_, changes := watch(t, s.Client(), redisconn.MonitorConfig{})
	becomes(t, changes, redisconn.Down)
	s.Restart()
	becomes(t, changes, redisconn.Up)
}

// TestMonitorIsWokenByAFailingCommand has a monitor that asks once an hour.
func TestMonitorIsWokenByAFailingCommand(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t)
	c := s.Client()
	m, changes := watch(t, c, redisconn.MonitorConfig{Every: time.Hour})
	require.Eventually(t, func() bool { // it has asked
		return strings.Contains(c.ClientList(ctx).Val(), "cmd=set ")
	}, 5*time.Second, 10*time.Millisecond)
	s.Kill()
	require.Equal(t, redisconn.Up, m.State())
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Get(ctx, "k").Err() })
	require.Error(t, err)
	becomes(t, changes, redisconn.Down)
}

func TestMonitorIsNotFooledByABusyPool(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := redistest.Server(t)
	c, err := redisconn.Open(ctx, s.URL(), redisconn.Config{PoolSize: 1, ReadTimeout: 5 * time.Second})
	require.NoError(t, err)
	defer c.Close()
	_, changes := watch(t, c, redisconn.MonitorConfig{Every: 10 * time.Millisecond})
	require.ErrorIs(t, c.BLPop(ctx, time.Second, "nothing").Err(), redis.Nil)
	select {
	case got := <-changes:
		t.Fatalf("%v", got)
	default:
	}
}

func TestMonitorOnMiniredis(t *testing.T) {
	t.Parallel()
	e := embedded(t, redisconn.EmbeddedConfig{InProcess: true})
	_, changes := watch(t, open(t, e.URL()), redisconn.MonitorConfig{})
	require.NoError(t, e.Close())
	require.Equal(t, redisconn.Up, becomes(t, changes, redisconn.Down).from)
}

func TestMonitorMetrics(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	m, changes := watch(t, s.Client(), redisconn.MonitorConfig{})
	reg := prometheus.NewRegistry()
	require.NoError(t, m.Metrics(reg))
	require.Error(t, m.Metrics(reg), "twice")
	s.Kill()
	becomes(t, changes, redisconn.Down)
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Equal(t, "gateway_redis_state", families[0].GetName())
	require.Len(t, families[0].Metric, 5)
	for _, metric := range families[0].Metric {
		want := 0.0
		if metric.Label[0].GetValue() == "down" {
			want = 1
		}
		require.Equal(t, want, metric.Gauge.GetValue(), metric.Label[0].GetValue())
	}
}
