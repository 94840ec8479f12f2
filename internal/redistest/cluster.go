package redistest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Cluster is three masters, which share the slots evenly, and one replica of each.
type Cluster struct {
	// Nodes are the first three masters, followed by their replicas in the same order. The order
	// does not change after a failover.
	Nodes []*Instance
}

// StartCluster starts a Redis Cluster for this test and waits until it serves, which takes about
// three seconds. A master that does not answer for a second is failed over. args are added to the
// command line of every node.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	ctx := context.Background()
	c := &Cluster{}
	var clients []redis.UniversalClient
	for range 6 {
		bus, err := findFreePort()
		if err != nil {
			t.Fatalf("redistest: %v", err)
		}
		i := Server(t, append([]string{
			"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus), "--cluster-node-timeout", "1000",
		}, args...)...)
		c.Nodes = append(c.Nodes, i)
		clients = append(clients, newTestClient(t, &redis.Options{Addr: i.Addr()}, 5*time.Second))
		requireOK(t, clients[0].Do(ctx, "cluster", "meet", "127.0.0.1", i.node.port, bus))
	}
	for i, slots := range [][2]int{{0, 5460}, {5461, 10922}, {10923, 16383}} {
		requireOK(t, clients[i].ClusterAddSlotsRange(ctx, slots[0], slots[1]))
	}
	waitUntil(t, 20*time.Second, "the nodes to meet", func(ctx context.Context) bool {
		for _, c := range clients {
			if n := c.ClusterNodes(ctx).Val(); strings.Count(n, "\n") != 6 || strings.Contains(n, "handshake") {
				return false
			}
		}
		return true
	})
	for i := range 3 {
		requireOK(t, clients[i+3].ClusterReplicate(ctx, clients[i].ClusterMyID(ctx).Val()))
	}
	waitUntil(t, 20*time.Second, "the Cluster to serve", func(ctx context.Context) bool {
		for i, c := range clients {
			if !strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_state:ok") ||
				strings.Count(c.ClusterNodes(ctx).Val(), " slave ")+strings.Count(c.ClusterNodes(ctx).Val(), "myself,slave ") != 3 {
				return false
			}
			if i >= 3 && !strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up") {
				return false
			}
		}
		return true
	})
	// CLUSTER SLOTS leaves out a replica to which nothing was ever written, and with it everybody who
	// is connected to it. No such Cluster stays so outside of tests.
	for i, key := range []string{"b", "c", "a"} { // their slots: 3300, 7365, 15495
		requireOK(t, clients[i].Set(ctx, key, "", 0))
		requireOK(t, clients[i].Del(ctx, key))
	}
	waitUntil(t, 20*time.Second, "the replicas to be listed", func(ctx context.Context) bool {
		for _, c := range clients {
			slots := c.ClusterSlots(ctx).Val()
			if len(slots) != 3 || slices.ContainsFunc(slots, func(s redis.ClusterSlot) bool { return len(s.Nodes) != 2 }) {
				return false
			}
		}
		return true
	})
	return c
}

func requireOK(t testing.TB, cmd redis.Cmder) {
	t.Helper()
	if err := cmd.Err(); err != nil {
		t.Fatalf("redistest: %v", err)
	}
}

// URL returns the redis+cluster:// URL with all nodes.
func (c *Cluster) URL() string { return "redis+cluster://" + joinAddresses(c.Nodes) }

// MoveSlot moves the slot of a key from its master to the next one, and returns both. The slot must
// hold no keys.
func (c *Cluster) MoveSlot(key string) (from, to *Instance) {
	t := c.Nodes[0].t
	t.Helper()
	ctx := context.Background()
	var masters []redis.UniversalClient
	var ids []string
	for _, i := range c.Nodes[:3] {
		m := newTestClient(t, &redis.Options{Addr: i.Addr()}, 5*time.Second)
		masters, ids = append(masters, m), append(ids, m.ClusterMyID(ctx).Val())
	}
	slot := masters[0].ClusterKeySlot(ctx, key).Val()
	source := -1
	for i, m := range masters {
		for _, owned := range m.ClusterSlots(ctx).Val() {
			if slot >= int64(owned.Start) && slot <= int64(owned.End) && owned.Nodes[0].ID == ids[i] {
				source = i
			}
		}
	}
	if source < 0 {
		t.Fatalf("redistest: no master has slot %d", slot)
	}
	target := (source + 1) % 3
	requireOK(t, masters[target].Do(ctx, "cluster", "setslot", slot, "importing", ids[source]))
	requireOK(t, masters[source].Do(ctx, "cluster", "setslot", slot, "migrating", ids[target]))
	for _, i := range []int{target, source, 3 - target - source} {
		requireOK(t, masters[i].Do(ctx, "cluster", "setslot", slot, "node", ids[target]))
	}
	return c.Nodes[source], c.Nodes[target]
}
