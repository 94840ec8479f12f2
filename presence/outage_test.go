package presence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/presence"
)

// The keys of one scope are in one slot of a Cluster; those of different scopes need not be.
func TestOnACluster(t *testing.T) {
	t.Parallel()
	c, h := redistest.StartCluster(t), &hall{}
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs, ReadTimeout: 5 * time.Second, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = rdb.Close() })
	cfg := presence.Config{Grace: short}
	one, two := start(t, rdb, h, cfg), start(t, rdb, h, cfg)
	var want []string
	var there []event.Player
	for i := range 40 {
		channel := fmt.Sprint("zone:", i)
		one.come("ann", fmt.Sprint(i), channel)
		there = append(there, two.come("bob", fmt.Sprint(i), channel))
		want = append(want, "joined "+channel+" ann", "joined "+channel+" bob", "left "+channel+" bob")
	}
	require.Eventually(t, func() bool { return len(h.heard()) == 80 }, soon, tick)
	one.online("ann", "bob")
	for _, p := range there {
		two.Disconnected(p)
	}
	h.says(t, want...)
	one.online("ann")
	seen, err := one.Seen(t.Context(), event.Player{}, presence.Names{Users: []string{"bob", "ann"}})
	require.NoError(t, err)
	require.NotZero(t, seen.Users[0].LastSeenAt)
	require.True(t, seen.Users[1].Online)
}

// If Redis loses its data, every user who is here is added again within one renewal of the lease.
func TestRedisLosesItsData(t *testing.T) {
	t.Parallel()
	rdb, h := redistest.Client(t), &hall{}
	n := start(t, rdb, h, presence.Config{Lease: time.Second})
	n.come("ann", "1", "zone:1")
	n.online("ann")
	require.NoError(t, rdb.FlushDB(t.Context()).Err())
	n.online("ann")
	require.Eventually(t, func() bool { return fmt.Sprint(n.ids("zone:1", 0)) == "[ann]" }, soon, tick)
}

// While Redis does not answer, questions are UNAVAILABLE. When it answers again, the changes since
// then are broadcast.
func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	server, h := redistest.Server(t), &hall{}
	rdb := redis.NewClient(&redis.Options{
		Addr: server.Addr(), DialTimeout: 300 * time.Millisecond, ReadTimeout: 300 * time.Millisecond, MaxRetries: 1, DialerRetries: 1,
		ContextTimeoutEnabled: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer rdb.Close()
	n := start(t, rdb, h, presence.Config{Lease: 2 * time.Second, Grace: short})
	ann, bob := n.come("ann", "1", "zone:1"), n.come("bob", "1", "zone:1")
	n.online("ann", "bob")
	server.Pause()
	n.Disconnected(bob)
	n.come("cat", "1", "zone:1")
	n.Joined(ann, "zone:2")
	for name, call := range map[string]func() error{
		"list":  func() error { _, err := n.List(t.Context(), ann, presence.Query{Channel: "zone:1"}); return err },
		"count": func() error { _, err := n.Count(t.Context(), ann, presence.Place{}); return err },
		"seen":  func() error { _, err := n.Seen(t.Context(), ann, presence.Names{Users: []string{"bob"}}); return err },
	} {
		err := call()
		require.ErrorIs(t, err, fault.ErrUnavailable, name)
		require.Equal(t, "presence", fault.Of(err).Detail("feature"))
	}
	server.Resume()
	n.online("ann", "cat")
	require.Eventually(t, func() bool { return fmt.Sprint(n.ids("zone:1", 0)) == "[ann cat]" }, soon, tick)
}

// A node with very many changes is not taken for dead while it sends them.
func TestMuchToTell(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	n := start(t, rdb, &hall{}, presence.Config{Lease: time.Second})
	name := func() string {
		all, err := rdb.ZRange(t.Context(), keys.PresenceNodes, 0, -1).Result()
		require.NoError(t, err)
		return fmt.Sprint(all)
	}
	n.come("ann", "phone")
	n.online("ann")
	first := name()
	const users, each = 300, 50
	for i := range users {
		channels := make([]string, each)
		for j := range channels {
			channels[j] = fmt.Sprint("zone:", i*each+j)
		}
		n.come(fmt.Sprint("u", i), "phone", channels...)
	}
	require.Eventually(t, func() bool { // three keys for each channel, and the index of this node
		size, err := rdb.DBSize(t.Context()).Result()
		require.NoError(t, err)
		return size >= 4*users*each
	}, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, first, name())
}
