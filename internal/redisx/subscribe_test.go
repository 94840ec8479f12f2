package redisx_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/redisx"
)

// A listener notes what Subscribe tells it.
type listener struct {
	up       chan struct{}
	down     chan error
	messages chan string
	stop     context.CancelFunc
	ended    chan struct{}
}

func listenTo(t *testing.T, rdb redis.UniversalClient, channel string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{make(chan struct{}, 100), make(chan error, 100), make(chan string, 100), cancel, make(chan struct{})}
	go func() {
		defer close(l.ended)
		redisx.Subscribe(ctx, rdb, channel, redisx.SubscriptionHandlers{
			OnUp:      func() { l.up <- struct{}{} },
			OnDown:    func(err error) { l.down <- err },
			OnMessage: func(payload string) { l.messages <- payload },
		})
	}()
	t.Cleanup(func() { cancel(); <-l.ended })
	return l
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(2 * waitFor):
		require.Fail(t, "nothing came", what)
	}
	return v
}

// A message arrives when it is published after the subscription is in force. When the context ends,
// no goroutine is left.
func TestSubscription(t *testing.T) {
	// Not parallel: it counts goroutines.
	rdb := redistest.Server(t).Client()
	require.NoError(t, rdb.Ping(t.Context()).Err())
	before := goleak.IgnoreCurrent()
	l := listenTo(t, rdb, "news")
	receive(t, l.up, "in force")
	for _, payload := range []string{"one", "two"} {
		require.NoError(t, rdb.Publish(t.Context(), "news", payload).Err())
		require.Equal(t, payload, receive(t, l.messages, payload))
	}
	l.stop()
	receive(t, l.ended, "the end")
	goleak.VerifyNone(t, before)
	require.Empty(t, l.down, "an end is no outage")
	require.Empty(t, l.up)
}

// A subscription that is lost is reported once, however long that takes, and comes back.
func TestLostSubscription(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	l := listenTo(t, server.Client(), "news")
	receive(t, l.up, "in force")
	for range 2 {
		server.Kill()
		require.ErrorIs(t, receive(t, l.down, "lost"), redisx.ErrSubscriptionLost)
		require.Never(t, func() bool { return len(l.down)+len(l.up) > 0 }, 500*time.Millisecond, 5*time.Millisecond)
		server.Restart()
		receive(t, l.up, "in force again")
		require.NoError(t, server.Client().Publish(t.Context(), "news", "back").Err())
		require.Equal(t, "back", receive(t, l.messages, "a message"))
	}
	require.Empty(t, l.down)
}

// A subscription that Redis refuses is reported once, with its answer, and tried until it is
// allowed.
func TestRefusedSubscription(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	admin := server.Client()
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "resetchannels", "&other").Err())
	l := listenTo(t, server.Client(), "news")
	err := receive(t, l.down, "refused")
	require.ErrorIs(t, err, redisx.ErrSubscriptionRefused)
	require.ErrorContains(t, err, "news")
	require.ErrorContains(t, err, "NOPERM")
	require.Never(t, func() bool { return len(l.down)+len(l.up) > 0 }, 500*time.Millisecond, 5*time.Millisecond)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "allchannels").Err())
	receive(t, l.up, "in force")
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "resetchannels").Err()) // Redis ends the connection
	for !errors.Is(receive(t, l.down, "an outage of its own, which becomes a refusal"), redisx.ErrSubscriptionRefused) {
		// the connection was lost before the subscription is refused
	}
}

// A peer that does not answer any more is given up, though its connection never breaks.
func TestSilentSubscription(t *testing.T) {
	t.Parallel()
	wire := redistest.Toxic(t, redistest.Server(t))
	l := listenTo(t, wire.Client(), "news")
	receive(t, l.up, "in force")
	require.Never(t, func() bool { return len(l.down) > 0 }, 1500*time.Millisecond, 5*time.Millisecond, "pings are answered")
	wire.BlackHole()
	require.ErrorIs(t, receive(t, l.down, "lost"), redisx.ErrSubscriptionLost)
	wire.Mend()
	receive(t, l.up, "in force again")
}

// A client that is closed, as that of a node that left a Cluster, does not end the subscription's
// tries.
func TestSubscriptionOfAClosedClient(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	l := listenTo(t, rdb, "news")
	receive(t, l.up, "in force")
	require.NoError(t, rdb.Close())
	require.ErrorIs(t, receive(t, l.down, "lost"), redisx.ErrSubscriptionLost)
	require.Never(t, func() bool { return len(l.down) > 0 }, 300*time.Millisecond, 5*time.Millisecond)
	l.stop()
	receive(t, l.ended, "the end")
}

// On a Cluster it moves to the new master when that of the channel's slot has died.
func TestSubscriptionOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{cluster.Nodes[0].Addr(), cluster.Nodes[1].Addr()}, ClusterStateReloadInterval: time.Second,
	})
	defer rdb.Close()
	l := listenTo(t, rdb, "news")
	receive(t, l.up, "in force")
	master, err := redisx.MasterForKey(t.Context(), rdb, "news")
	require.NoError(t, err)
	for _, node := range cluster.Nodes {
		if node.Addr() == redisx.SingleServer(master).Options().Addr {
			node.Kill()
		}
	}
	require.ErrorIs(t, receive(t, l.down, "lost"), redisx.ErrSubscriptionLost)
	receive(t, l.up, "in force again")
	require.Eventually(t, func() bool {
		return rdb.Publish(t.Context(), "news", "back").Err() == nil && len(l.messages) > 0
	}, waitFor, 50*time.Millisecond)
}
