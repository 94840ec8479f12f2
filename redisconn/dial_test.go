package redisconn_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/redisconn"
)

// idleGateway has what dials while nothing is asked of a gateway: a monitor, a pool and
// subscriptions. It ends with the test.
func idleGateway(t *testing.T, url string) *redisconn.Monitor {
	t.Helper()
	client, err := redisconn.New(url, redisconn.Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	m := redisconn.NewMonitor(client, redisconn.MonitorConfig{})
	running.Go(func() { _ = m.Run(ctx) })
	for _, channel := range []string{"a", "b", "c", "d"} {
		running.Go(func() { redisx.Subscribe(ctx, client, channel, redisx.SubscriptionHandlers{}) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		require.NoError(t, client.Close())
	})
	return m
}

// TestDialsBackOff has ten gateways whose Redis is away for seconds, behind a proxy that ends each
// connection at once. Each dials at most once a second and connection (a gateway has six here), not
// in step with the others, and each is there within a second after Redis is.
func TestDialsBackOff(t *testing.T) {
	t.Parallel()
	const gateways, connections, away = 10, 6, 5 * time.Second
	server := redistest.Server(t)
	relays := make([]*redistest.Relay, gateways)
	monitors := make([]*redisconn.Monitor, gateways)
	for i := range relays {
		relays[i] = redistest.NewRelay(t)
		monitors[i] = idleGateway(t, relays[i].URL())
	}
	begun := time.Now()
	<-time.After(away) // how long Redis is away is what is tested
	inStep, later := 0, 0
	for i, r := range relays {
		dials := r.Dials()
		require.LessOrEqual(t, len(dials), connections*int(away/time.Second), "gateway %d", i)
		require.GreaterOrEqual(t, len(dials), int(away/time.Second), "gateway %d goes on trying", i)
		for _, at := range dials {
			if at.Sub(begun) < 2*time.Second {
				continue // they began together
			}
			later++
			for _, other := range relays[i+1:] {
				for _, its := range other.Dials() {
					if its.Sub(at).Abs() < 5*time.Millisecond {
						inStep++
					}
				}
			}
		}
	}
	require.Less(t, inStep, later, "of %d dials, so many were in step with another gateway's", later)

	back := time.Now()
	for _, r := range relays {
		r.PointTo(server)
	}
	for i, m := range monitors {
		require.Eventually(t, func() bool { return m.State() == redisconn.Up }, 10*time.Second, 5*time.Millisecond)
		require.Less(t, time.Since(back), within+250*time.Millisecond, "gateway %d", i)
	}
}

// A refused connection is dialled as seldom as one that a proxy ends. Callers meanwhile learn why
// at once.
func TestCallersFailAtOnceWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	s, lag := redistest.Server(t), redistest.Lag(t)
	c := open(t, s.URL())
	s.Kill()
	require.Error(t, c.Ping(context.Background()).Err())
	for range 20 {
		start := time.Now()
		err := c.Ping(context.Background()).Err()
		require.Equal(t, "connection refused", redisx.UnavailableReason(err), "%v", err)
		require.Less(t, time.Since(start), 400*time.Millisecond+lag())
	}
	s.Restart()
	start := time.Now()
	require.Eventually(t, func() bool { return c.Ping(context.Background()).Err() == nil }, 10*time.Second, 5*time.Millisecond)
	require.Less(t, time.Since(start), within)
}

// A name service that takes 600 ms is slower than a dial may be. The name is resolved all the same,
// and is asked for again when it is used again later.
func TestSlowNameService(t *testing.T) {
	t.Parallel()
	s := redistest.Server(t)
	_, port, err := net.SplitHostPort(s.Addr())
	require.NoError(t, err)
	var lookups atomic.Int64
	client, err := redisconn.New("redis://redis.example:"+port, redisconn.Config{LookupHost: func(ctx context.Context, host string) ([]string, error) {
		lookups.Add(1)
		require.Equal(t, "redis.example", host)
		select {
		case <-time.After(600 * time.Millisecond):
			return []string{"127.0.0.1"}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	require.NoError(t, err)
	defer client.Close()
	start := time.Now()
	require.Eventually(t, func() bool { return client.Ping(context.Background()).Err() == nil }, 10*time.Second, 5*time.Millisecond)
	require.Less(t, time.Since(start), 600*time.Millisecond+within)
	require.Equal(t, int64(1), lookups.Load(), "one lookup, which outlived the dial that began it")
}

func TestNameThatIsNotFound(t *testing.T) {
	t.Parallel()
	client, err := redisconn.New("redis://redis.example:6379", redisconn.Config{LookupHost: func(_ context.Context, host string) ([]string, error) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}})
	require.NoError(t, err)
	defer client.Close()
	err = client.Ping(context.Background()).Err()
	require.Equal(t, "the host is not found", redisx.UnavailableReason(err), "%v", err)
}

// Connections of the pool are dialled anew at least every 30 minutes, and not all at once.
func TestConnectionsHaveALife(t *testing.T) {
	t.Parallel()
	client, err := redisconn.New("redis://127.0.0.1:1", redisconn.Config{})
	require.NoError(t, err)
	defer client.Close()
	o := client.(*redis.Client).Options()
	require.Positive(t, o.ConnMaxLifetimeJitter)
	require.LessOrEqual(t, o.ConnMaxLifetime+o.ConnMaxLifetimeJitter, 30*time.Minute)
}
