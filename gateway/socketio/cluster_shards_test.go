package socketio

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/redistest"
)

// shardedPair starts two nodes on a Redis Cluster.
func shardedPair(t *testing.T, heartbeat time.Duration) (c *redistest.Cluster, client func() redis.UniversalClient, w []*world) {
	c = redistest.StartCluster(t)
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	client = func() redis.UniversalClient {
		return universal(t, &redis.UniversalOptions{IsClusterMode: true, Addrs: addrs})
	}
	return c, client, two(t, client, heartbeat)
}

// TestClusterOnRedisCluster casts to rooms on all shards. The casts arrive in order, and only over
// the shard of their room.
func TestClusterOnRedisCluster(t *testing.T) {
	t.Parallel()
	c, client, w := shardedPair(t, 0)
	rooms := []string{"r", "a", "b", "c", "d", "e"}
	here, _ := w[0].member(t, "r")
	there, _ := w[1].member(t, rooms...)
	const n = 500
	for i := range n {
		w[0].IO.To("r").Emit("b", i)
	}
	require.NoError(t, numbers(here, "b", n))
	require.NoError(t, numbers(there, "b", n))
	for _, r := range rooms[1:] {
		require.Equal(t, [2]int{1, 0}, w[0].castCount(t.Context(), r, r))
		there.Expect(fmt.Sprintf(`42[%q,1]`, r))
	}
	require.Equal(t, [2]int{2, 0}, w[1].castCount(t.Context(), "r", "all"))
	here.Expect(`42["all",1]`)
	there.Expect(`42["all",1]`)
	members, missing := w[0].Of("/").Members(t.Context(), "r")
	require.Equal(t, [2]int{2, 0}, [2]int{members, missing})

	homes := map[string]int{} // masters by channel
	for _, node := range c.Nodes {
		for _, name := range node.Client().PubSubShardChannels(t.Context(), "*").Val() {
			homes[name]++
		}
	}
	for _, r := range rooms {
		require.Equal(t, 1, homes[w[1].Of("/").cluster.roomChannel(socket.Room(r))], r)
	}
	require.Zero(t, w[0].ClusterStats().Unpublished+w[1].ClusterStats().Unpublished)

	// A Node server subscribes to classic channels only, and its emitter publishes to those.
	node := client().PSubscribe(t.Context(), "socket.io#/#*")
	t.Cleanup(func() { _ = node.Close() })
	require.NoError(t, node.Subscribe(t.Context(), "socket.io-request#/#"))
	for _, x := range w {
		x.knows(t, 3)
	}
	w[0].IO.To("a").Emit("to both kinds")
	there.Expect(`42["to both kinds"]`)
	// Heartbeats come too, and what was published before: servers of a Cluster pass it on to each
	// other without waiting, so a subscriber of another server may hear an earlier message.
	for channel := ""; channel != w[0].Of("/").cluster.roomChannel("a"); {
		m, err := node.ReceiveMessage(t.Context())
		require.NoError(t, err)
		channel = m.Channel
	}
	event := "\x93\xa1u\x83\xa4type\x02\xa4data\x91\xa4emit\xa3nsp\xa1/\x81\xa5rooms\x91\xa1a"
	require.NoError(t, client().Publish(t.Context(), w[0].Of("/").cluster.roomChannel("a"), event).Err())
	there.Expect(`42["emit"]`)
}

// TestClusterFollowsItsSlots moves the slot of a room, and then kills its master, in the middle of
// traffic. Casts arrive again by themselves, in order and never twice.
func TestClusterFollowsItsSlots(t *testing.T) {
	t.Parallel()
	const heartbeat = 10 * time.Second // nothing here is mended by waiting for it
	c, _, w := shardedPair(t, heartbeat)
	there, _ := w[1].member(t, "r")
	sent := 0
	cast := func() {
		w[0].Of("/").Cast("r", "b", func(d []byte) []byte { return fmt.Append(d, sent) })
		sent++
	}
	heard := make(chan error, 1)
	numbers := make(chan int, 1<<16)
	go func() {
		last := -1
		for {
			p, err := there.Next()
			if err != nil || p == `42["end",1]` {
				heard <- err
				return
			}
			var n int
			if _, err := fmt.Sscanf(p, `42["b",%d]`, &n); err != nil || n <= last {
				heard <- fmt.Errorf("%q after %d: %w", p, last, err)
				return
			}
			last = n
			numbers <- n
		}
	}()
	// again casts until a cast from now on arrives.
	again := func(why string) {
		from := sent
		require.Eventually(t, func() bool {
			cast()
			for {
				select {
				case n := <-numbers:
					if n >= from {
						return true
					}
				default:
					return false
				}
			}
		}, 2*heartbeat, tick, why)
	}
	again("at first")
	channel := w[0].Of("/").cluster.roomChannel("r")
	for i := range 3 {
		for range 200 {
			cast()
		}
		from, to := c.MoveSlot(channel)
		again(fmt.Sprint("move ", i))
		require.Empty(t, from.Client().PubSubShardChannels(t.Context(), channel).Val())
		require.NotEmpty(t, to.Client().PubSubShardChannels(t.Context(), channel).Val())
	}
	_, to := c.MoveSlot(channel)
	again("the last move")
	to.Kill()
	again("the master died")
	require.Eventually(t, func() bool { return w[0].castCount(t.Context(), "r", "end") == [2]int{1, 0} }, time.Minute, tick)
	require.NoError(t, <-heard)
}
