package redisconn_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/redisconn"
)

// A movingClient is a client with a monitor of moves, and what it told.
type movingClient struct {
	redis.UniversalClient
	moves     *redisconn.MoveMonitor
	changes   chan redisconn.ServerChange
	unsettled chan bool
	metrics   *prometheus.Registry
}

// openMoving opens a client whose moves are watched until the test ends.
func openMoving(t *testing.T, url string, cfg redisconn.MoveConfig) *movingClient {
	t.Helper()
	c := &movingClient{
		changes: make(chan redisconn.ServerChange, 100), unsettled: make(chan bool, 100), metrics: prometheus.NewRegistry(),
	}
	cfg.OnChange = func(change redisconn.ServerChange) { c.changes <- change }
	cfg.OnUnsettled = func(isUnsettled bool) { c.unsettled <- isUnsettled }
	c.moves = redisconn.NewMoveMonitor(cfg)
	require.NoError(t, c.moves.Metrics(c.metrics))
	client, err := redisconn.Open(context.Background(), url, redisconn.Config{Name: "moving", Moves: c.moves})
	require.NoError(t, err)
	c.UniversalClient = client
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.moves.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, client.Close())
	})
	return c
}

// next waits for a change.
func (c *movingClient) next(t *testing.T, limit time.Duration) redisconn.ServerChange {
	t.Helper()
	select {
	case change := <-c.changes:
		return change
	case <-time.After(limit):
		t.Fatalf("no change within %v", limit)
		return redisconn.ServerChange{}
	}
}

// countedChanges returns the metric of the changes, by kind.
func (c *movingClient) countedChanges(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := c.metrics.Gather()
	require.NoError(t, err)
	counts := make(map[string]float64)
	for _, f := range families {
		if f.GetName() == "gateway_redis_server_changes_total" {
			for _, m := range f.GetMetric() {
				counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return counts
}

// countOurs returns how many connections with our name a server has.
func countOurs(t *testing.T, s *redistest.Instance) int {
	t.Helper()
	list, err := s.Client().ClientList(context.Background()).Result()
	require.NoError(t, err)
	return strings.Count(list, "name=moving")
}

// promotedReplica starts a replica that has all data of the server, and promotes it while the
// server stays up.
func promotedReplica(t *testing.T, s *redistest.Instance) *redistest.Instance {
	t.Helper()
	ctx := context.Background()
	_, port, _ := strings.Cut(s.Addr(), ":")
	replica := redistest.Server(t, "--replicaof", "127.0.0.1 "+port)
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Client().Info(ctx, "replication").Val(), "master_link_status:up")
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, replica.Client().Do(ctx, "replicaof", "no", "one").Err())
	return replica
}

// TestServerMoves moves the address, under load from 20 callers and with a subscription, to another
// server while the former one stays up. Within two seconds of the first fresh dial nothing of ours
// is connected to the former one, and no write reaches it after the first that reached the other.
func TestServerMoves(t *testing.T) {
	t.Parallel()
	for name, another := range map[string]func(*testing.T, *redistest.Instance) *redistest.Instance{
		"to a promoted replica":         promotedReplica,
		"to a server with its own data": func(t *testing.T, _ *redistest.Instance) *redistest.Instance { return redistest.Server(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			former := redistest.Server(t)
			relay := redistest.NewRelay(t, former)
			c := openMoving(t, relay.URL(), redisconn.MoveConfig{})
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			defer func() { cancel(); running.Wait() }()
			for i := range 20 {
				running.Go(func() {
					for ctx.Err() == nil {
						_ = c.Incr(ctx, fmt.Sprint("n", i)).Err() // it may fail while the server moves
					}
				})
			}
			up := make(chan struct{}, 100)
			running.Go(func() {
				redisx.Subscribe(ctx, c, "news", redisx.SubscriptionHandlers{OnUp: func() { up <- struct{}{} }})
			})
			<-up
			later := another(t, former)
			require.Eventually(t, func() bool { // a server that began only now could be the former one, restarted
				return regexp.MustCompile(`uptime_in_seconds:([4-9]|\d\d)`).MatchString(later.Client().Info(ctx, "server").Val())
			}, 20*time.Second, 10*time.Millisecond)

			seen := make(chan time.Time, 1) // when a fresh dial reached the other server
			go func() {
				for relay.Open(later) == 0 {
					time.Sleep(time.Millisecond) // between two looks
				}
				seen <- time.Now()
			}()
			relay.PointTo(later)
			change := c.next(t, 5*time.Second)
			require.Equal(t, redisconn.Moved, change.Kind, "%v", change)
			first := <-seen
			require.Eventually(t, func() bool { return countOurs(t, former) == 0 }, 2*time.Second-time.Since(first), 5*time.Millisecond,
				"within two seconds of the first fresh dial")
			t.Logf("writes waited %v, all connections were made anew after %v", change.Paused, time.Since(first))
			<-up
			require.NoError(t, c.Publish(ctx, "news", "x").Err())
			require.Zero(t, former.Client().PubSubNumSub(ctx, "news").Val()["news"])

			at := former.Client().MGet(ctx, "n0", "n7", "n19").Val()
			require.NoError(t, c.Set(ctx, "k", "v", 0).Err())
			require.Equal(t, "v", later.Client().Get(ctx, "k").Val())
			require.Equal(t, at, former.Client().MGet(ctx, "n0", "n7", "n19").Val(), "nothing is written to the former server any more")
			require.Empty(t, c.moves.PauseReason())
			require.Equal(t, map[string]float64{"restart": 0, "failover": 0, "move": 1}, c.countedChanges(t))
		})
	}
}

// A server that is started again on its address has not moved: nothing can be acknowledged by the
// one before any more.
func TestARestartIsNoMove(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"without its data": nil, "with its data": {"--appendonly", "yes"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Server(t, args...)
			c := openMoving(t, s.URL(), redisconn.MoveConfig{})
			for range 2 { // and no bound holds up the second one
				s.Restart()
				back := time.Now()
				require.Equal(t, redisconn.Restarted, c.next(t, 5*time.Second).Kind)
				require.Less(t, time.Since(back), 2*within)
				require.NoError(t, c.Set(context.Background(), "k", "v", 0).Err())
			}
		})
	}
}

// A failover that sentinels carry out is no move, whether the former master is dead or will only be
// demoted.
func TestASentinelFailoverIsNoMove(t *testing.T) {
	t.Parallel()
	for name, failOver := range map[string]func(*testing.T, *redistest.Sentinels){
		"the master died": func(_ *testing.T, s *redistest.Sentinels) { s.KillMaster() },
		"the master is demoted": func(t *testing.T, s *redistest.Sentinels) {
			c := redis.NewSentinelClient(&redis.Options{Addr: s.Sentinel(0).Addr()})
			defer c.Close()
			require.NoError(t, c.Failover(context.Background(), redistest.MasterName).Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.StartSentinel(t)
			c := openMoving(t, s.URL(), redisconn.MoveConfig{})
			require.NoError(t, c.Set(context.Background(), "k", "v", 0).Err())
			former := s.Master()
			failOver(t, s)
			require.Equal(t, redisconn.FailedOver, c.next(t, 30*time.Second).Kind)
			eventually(t, 10*time.Second, func() error { return c.Set(context.Background(), "k", "w", 0).Err() })
			require.Equal(t, "w", s.Master().Client().Get(context.Background(), "k").Val())
			require.NotEqual(t, former.Addr(), s.Master().Addr())
			require.Empty(t, c.changes, "one change, and no move")
		})
	}
}

// TestTwoServersAtOneAddress has an address behind which two servers answer in turn, for 25 s.
// There is at most one change in ten seconds, and between them the client refuses and says why.
func TestTwoServersAtOneAddress(t *testing.T) {
	t.Parallel()
	const gap, observed = 10 * time.Second, 25 * time.Second
	a, b := redistest.Server(t), redistest.Server(t)
	relay := redistest.NewRelay(t, a)
	c := openMoving(t, relay.URL(), redisconn.MoveConfig{})
	relay.PointTo(a, b)
	begun := time.Now()
	var changes []time.Time
	refused, served := 0, 0
	for time.Since(begun) < observed {
		select {
		case <-c.changes:
			changes = append(changes, time.Now())
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		switch err := c.Set(ctx, "k", "v", 0).Err(); {
		case err == nil:
			served++
		case c.moves.PauseReason() == redisx.ErrServersAlternate.Error():
			require.True(t, redisconn.IsUnavailable(err), "%v", err)
			refused++
		}
		cancel()
		time.Sleep(10 * time.Millisecond) // the client is asked a hundred times a second
	}
	t.Logf("%d changes; %d commands served, %d refused", len(changes), served, refused)
	require.LessOrEqual(t, len(changes), 1+int(observed/gap))
	for i, at := range changes[min(1, len(changes)):] {
		require.GreaterOrEqual(t, at.Sub(changes[i]), gap-100*time.Millisecond)
	}
	require.Greater(t, refused, served, "between the changes it refuses")
	require.True(t, <-c.unsettled, "and says so")

	relay.PointTo(b)
	require.Eventually(t, func() bool {
		return c.moves.PauseReason() == "" && c.Set(context.Background(), "k", "v", 0).Err() == nil
	}, gap+5*time.Second, 10*time.Millisecond, "one server alone is followed")
}

// Where INFO is not allowed, a key of ours tells one server from another, and from its copy.
func TestServerMovesWithoutInfo(t *testing.T) {
	t.Parallel()
	for name, another := range map[string]func(*testing.T, *redistest.Instance) *redistest.Instance{
		"to a promoted replica":         promotedReplica,
		"to a server with its own data": func(t *testing.T, _ *redistest.Instance) *redistest.Instance { return redistest.Server(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			former := redistest.Server(t)
			withoutInfo := func(s *redistest.Instance) {
				require.NoError(t, s.Client().Do(ctx, "acl", "setuser", "ann", "on", ">secret", "~*", "&*", "+@all", "-info").Err())
			}
			withoutInfo(former)
			relay := redistest.NewRelay(t, former)
			c := openMoving(t, "redis://ann:secret@"+relay.Addr(), redisconn.MoveConfig{})
			require.Eventually(t, func() bool { return len(relay.Dials()) > 2 }, 5*time.Second, 5*time.Millisecond, "it dials afresh")
			later := another(t, former)
			withoutInfo(later)
			relay.PointTo(later)
			require.Equal(t, redisconn.Moved, c.next(t, 5*time.Second).Kind)
			require.NoError(t, c.Set(ctx, "k", "v", 0).Err())
			require.Equal(t, "v", later.Client().Get(ctx, "k").Val())
			require.Zero(t, countOurs(t, former))
		})
	}
}
