package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinels is a master, a replica of it, and three sentinels that watch them. A master
// that does not answer for a second is failed over.
type Sentinels struct {
	t         testing.TB
	servers   []*Instance // the first is the first master
	sentinels []*Instance
}

// MasterName is what the sentinels call the master.
const MasterName = "main"

// StartSentinel starts them for this test, and waits until the sentinels have seen each
// other and the replica, about three seconds. args go to both servers.
func StartSentinel(t testing.TB, args ...string) *Sentinels {
	t.Helper()
	master := Server(t, args...)
	replica := Server(t, append([]string{"--replicaof", "127.0.0.1 " + fmt.Sprint(master.node.port)}, args...)...)
	waitUntil(t, 20*time.Second, "the replica to follow", func(ctx context.Context) bool {
		return strings.Contains(replica.Client().Info(ctx, "replication").Val(), "master_link_status:up")
	})
	s := &Sentinels{t: t, servers: []*Instance{master, replica}}
	config := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 2\nsentinel down-after-milliseconds %[1]s 1000\n"+
		"sentinel failover-timeout %[1]s 3000\nsentinel parallel-syncs %[1]s 1\n", MasterName, master.node.port)
	for range 3 {
		n, err := startSentinel(config)
		if err != nil {
			t.Fatalf("redistest: sentinel: %v", err)
		}
		t.Cleanup(n.killAndRemove)
		s.sentinels = append(s.sentinels, &Instance{t: t, node: n})
	}
	for _, i := range s.sentinels {
		c := redis.NewSentinelClient(withTimeouts(&redis.Options{Addr: i.Addr()}, time.Second))
		waitUntil(t, 20*time.Second, "the sentinels to meet", func(ctx context.Context) bool {
			m := c.Master(ctx, MasterName).Val()
			return m["num-slaves"] == "1" && m["num-other-sentinels"] == "2"
		})
		_ = c.Close() // it only asked
	}
	return s
}

// URL is the redis+sentinel:// URL.
func (s *Sentinels) URL() string {
	return "redis+sentinel://" + joinAddresses(s.sentinels) + "/" + MasterName
}

// Master is the server that most of the sentinels that answer call master. After a
// failover they learn of it one after the other, within about two seconds.
func (s *Sentinels) Master() *Instance {
	s.t.Helper()
	votes := make(map[string]int)
	for _, i := range s.sentinels {
		c := redis.NewSentinelClient(withTimeouts(&redis.Options{Addr: i.Addr()}, time.Second))
		at, err := c.GetMasterAddrByName(context.Background(), MasterName).Result()
		_ = c.Close() // it only asked
		if err == nil {
			votes[strings.Join(at, ":")]++
		}
	}
	var master *Instance
	for _, server := range s.servers {
		if n := votes[server.Addr()]; n > 0 && (master == nil || n > votes[master.Addr()]) {
			master = server
		}
	}
	if master == nil {
		s.t.Fatal("redistest: no sentinel knows a master")
	}
	return master
}

// KillMaster kills the master with kill -9 and returns it. It can be Restarted, and then
// follows the new one.
func (s *Sentinels) KillMaster() *Instance {
	s.t.Helper()
	m := s.Master()
	m.Kill()
	return m
}

// Sentinel is one of the three, by its index.
func (s *Sentinels) Sentinel(i int) *Instance { return s.sentinels[i] }

func joinAddresses(list []*Instance) string {
	var all []string
	for _, i := range list {
		all = append(all, i.Addr())
	}
	return strings.Join(all, ",")
}

// waitUntil asks again every 20 ms until ok, and fails the test after limit.
func waitUntil(t testing.TB, limit time.Duration, what string, ok func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("redistest: waited %v for %s", limit, what)
		}
	}
}
