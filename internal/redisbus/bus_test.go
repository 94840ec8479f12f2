package redisbus

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/aeturnis/realtime/internal/redistest"
)

// TestMain checks that no goroutine is left when all buses have been closed.
func TestMain(m *testing.M) {
	redis.SetLogger(new(logging.VoidLogger)) // else it logs every failed dial
	// go-redis dials a server that was killed once a second, and so notices a second late that its
	// client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const (
	patience = 20 * time.Second // for what must happen
	tick     = time.Millisecond
)

// testBus is a bus whose messages can be awaited.
type testBus struct {
	*Bus
	messages chan string  // "owner: payload"
	ups      atomic.Int64 // calls of OnUp
}

func startBus(t testing.TB, client redis.UniversalClient, queueBytes int) *testBus {
	t.Helper()
	b := &testBus{messages: make(chan string, 1<<16)}
	b.Bus = New(Config{
		Redis: client, HomeKey: "home", QueueBytes: queueBytes, MaxMessage: 1 << 20, Linger: 50 * time.Millisecond,
		OnMessage: func(owner any, payload []byte) { b.messages <- fmt.Sprint(owner, ": ", string(payload)) },
		OnUp:      func(any) { b.ups.Add(1) },
	})
	b.Subscribe(Channel{Name: "anchor", Owner: "anchor", IsAnchor: true})
	b.Start()
	t.Cleanup(b.Close)
	b.waitFor(t, "anchor")
	return b
}

func (b *testBus) waitFor(t testing.TB, channel string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, b.WaitSubscribed(ctx, channel))
}

func (b *testBus) next(t testing.TB) string {
	t.Helper()
	select {
	case m := <-b.messages:
		return m
	case <-time.After(patience):
		require.Fail(t, "no message came")
		return ""
	}
}

func TestMessagesArriveInOrderWithTheirOwner(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	from, to := startBus(t, r.Client(), 1<<20), startBus(t, r.Client(), 1<<20)
	to.Subscribe(Channel{Name: "a", Owner: "first"})
	to.Subscribe(Channel{Name: "a", Owner: "second"})
	to.Subscribe(Channel{Name: "b", Owner: 7})
	to.waitFor(t, "a")
	to.waitFor(t, "b")
	const n = 1000
	for i := range n {
		from.Publish(Message{Channel: "a", Payload: fmt.Append(nil, i)})
		from.Publish(Message{Channel: "nobody listens", Payload: fmt.Append(nil, i)})
		from.Publish(Message{Channel: "b", Payload: fmt.Append(nil, i)})
	}
	for i := range n {
		require.Equal(t, fmt.Sprint("first: ", i), to.next(t))
		require.Equal(t, fmt.Sprint("7: ", i), to.next(t))
	}
	require.Eventually(t, func() bool { return from.Stats().Published == 3*n }, patience, tick) // counted after the reply
	require.Zero(t, from.Stats().Unpublished)
	require.EqualValues(t, 2*n, to.Stats().Received)
	require.EqualValues(t, 1, to.ups.Load())

	counted := make(chan [2]int64, 1)
	from.Publish(Message{Channel: "a", CountAlso: "anchor", OnPublished: func(receivers, alsoCounted int64, err error) {
		require.NoError(t, err)
		counted <- [2]int64{receivers, alsoCounted}
	}})
	require.Equal(t, [2]int64{1, 2}, <-counted)
	counts, err := from.CountSubscribers(t.Context(), "a", "nobody listens", "anchor")
	require.NoError(t, err)
	require.Equal(t, []int64{1, 0, 2}, counts)

	to.Unsubscribe("a") // one wish is left
	to.Unsubscribe("b")
	require.Eventually(t, func() bool { return to.Stats().Channels == 2 }, patience, tick)
	to.waitFor(t, "a")
}

// A message that a pattern and a channel both match is passed on once, while channels are
// subscribed to and given up all the time, on one server and on a Cluster.
func TestAPatternHearsOnceWhatItsChannelsDoNot(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]redis.UniversalClient{
		"one server": redistest.Server(t).Client(), "a Cluster": clusterClient(t, redistest.StartCluster(t)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := startBus(t, client, 1<<20), startBus(t, client, 1<<20)
			to.Subscribe(Channel{Name: "room*", Owner: "any", IsPattern: true})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, to.classic.waitConfirmed(ctx, channelKey{"room*", true}))
			const messages, messagesPerChange = 3000, 300 // a change takes effect within the linger time: 50 ms
			go func() {
				for i := range messages {
					from.Publish(Message{Channel: "room", Payload: fmt.Append(nil, i)})
					switch i % (2 * messagesPerChange) {
					case 0:
						to.Subscribe(Channel{Name: "room", Owner: "its own"})
					case messagesPerChange:
						to.Unsubscribe("room")
					}
					if i%3 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			}()
			owners := map[string]int{}
			for i := range messages {
				owner, payload, _ := strings.Cut(to.next(t), ": ")
				require.Equal(t, fmt.Sprint(i), payload, "each is heard once, in order")
				owners[owner]++
			}
			require.Positive(t, owners["any"], "came by the pattern alone")
			require.Positive(t, owners["its own"])
			to.UnsubscribePattern("room*")
			require.Eventually(t, func() bool {
				n, err := client.PubSubNumPat(t.Context()).Result()
				return err == nil && n == 0
			}, patience, tick)
			require.Empty(t, to.messages)
		})
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	const bound = 64 << 10
	b := startBus(t, r.Client(), bound)
	r.Pause()
	errs := make(chan error, 300)
	for range cap(errs) {
		b.Publish(Message{Channel: "a", Payload: make([]byte, 1000), OnPublished: func(_, _ int64, err error) { errs <- err }})
		b.publisher.mu.Lock()
		require.LessOrEqual(t, len(b.publisher.payloads)+b.publisher.sendingBytes, bound)
		b.publisher.mu.Unlock()
	}
	for range cap(errs) - bound/1000 {
		require.ErrorIs(t, <-errs, ErrQueueFull)
	}
	require.EqualValues(t, cap(errs)-bound/1000, b.Stats().Unpublished)
	b.Publish(Message{Channel: "a", Payload: make([]byte, 1000), IsUncounted: true})
	require.EqualValues(t, cap(errs)-bound/1000, b.Stats().Unpublished)
	r.Resume()
}

func TestSubscriptionsComeBack(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	b := startBus(t, r.Client(), 1<<20)
	b.Subscribe(Channel{Name: "a", Owner: "a"})
	b.waitFor(t, "a")
	r.Kill()
	require.Eventually(t, func() bool { return !b.IsConnected() }, patience, tick)
	b.Subscribe(Channel{Name: "late", Owner: "late"})
	lost := make(chan error, 1)
	b.Publish(Message{Channel: "a", OnPublished: func(_, _ int64, err error) { lost <- err }})
	require.Error(t, <-lost)
	r.Restart()
	b.waitFor(t, "a")
	b.waitFor(t, "late")
	require.Eventually(t, func() bool { return b.IsConnected() && b.ups.Load() == 2 }, patience, tick)
	require.Eventually(t, func() bool {
		b.Publish(Message{Channel: "late", Payload: []byte("1")})
		return len(b.messages) > 0
	}, patience, 10*tick)
	require.Equal(t, "late: 1", b.next(t))
}

// A channel that is silent for too long is replaced: Redis is hung, or a firewall has forgotten it.
func TestSilentConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	b := startBus(t, r.Client(), 1<<20)
	r.Pause()
	require.Eventually(t, func() bool {
		b.CheckConnections(50 * time.Millisecond)
		return b.Stats().Restarts > 0
	}, patience, 10*tick)
	require.False(t, b.IsConnected())
	r.Resume()
	require.Eventually(t, func() bool {
		b.CheckConnections(time.Second)
		return b.IsConnected()
	}, patience, 10*tick)
}

func clusterClient(t testing.TB, c *redistest.Cluster) redis.UniversalClient {
	t.Helper()
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestBusOnRedisCluster(t *testing.T) {
	t.Parallel()
	client := clusterClient(t, redistest.StartCluster(t))
	b := startBus(t, client, 1<<20)
	require.True(t, b.IsCluster())
	channels := strings.Split("abcdef", "")
	for _, name := range channels {
		b.Subscribe(Channel{Name: name, Owner: name, IsSharded: true})
		b.waitFor(t, name)
	}
	require.True(t, b.HasShardedChannels())
	b.shards.mu.Lock()
	require.Len(t, b.shards.byAddr, 3, "a connection to each shard")
	b.shards.mu.Unlock()
	for _, name := range channels {
		b.Publish(Message{Channel: name, Payload: []byte("sharded"), IsSharded: true})
		require.Equal(t, name+": sharded", b.next(t))
		b.Publish(Message{Channel: name, Payload: []byte("classic")})
		require.Equal(t, name+": classic", b.next(t))
	}
	counts, err := b.CountSubscribers(t.Context(), "anchor", "a")
	require.NoError(t, err)
	require.Equal(t, []int64{1, 1}, counts)
	for _, name := range channels {
		b.Unsubscribe(name)
	}
	require.Eventually(t, func() bool { return b.Stats().Channels == 1 }, patience, tick)
}
