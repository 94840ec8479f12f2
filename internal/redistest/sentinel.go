package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinels is a master, a replica of it, and three sentinels that watch them. A master that does
// not answer for a second is failed over.
type Sentinels struct {
	t         testing.TB
	servers   []*Instance // the first one is the master at the start
	sentinels []*Instance
}

// MasterName is the name of the master for the sentinels.
const MasterName = "main"

// StartSentinel starts the servers and the sentinels for this test, and waits until the sentinels
// have found each other and the replica, which takes about three seconds. args are added to the
// command lines of both servers.
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
		_ = c.Close() // closing a client that was only used to ask cannot matter
	}
	return s
}

// URL returns the redis+sentinel:// URL.
func (s *Sentinels) URL() string {
	return "redis+sentinel://" + joinAddresses(s.sentinels) + "/" + MasterName
}

// Master returns the server that most of the answering sentinels call the master. After a failover
// they learn of the new one one after the other, within about two seconds.
func (s *Sentinels) Master() *Instance {
	s.t.Helper()
	votes := make(map[string]int)
	for _, i := range s.sentinels {
		c := redis.NewSentinelClient(withTimeouts(&redis.Options{Addr: i.Addr()}, time.Second))
		at, err := c.GetMasterAddrByName(context.Background(), MasterName).Result()
		_ = c.Close() // closing a client that was only used to ask cannot matter
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

// KillMaster kills the master with SIGKILL and returns it. After a Restart it follows the new
// master.
func (s *Sentinels) KillMaster() *Instance {
	s.t.Helper()
	m := s.Master()
	m.Kill()
	return m
}

// Sentinel returns one of the three sentinels by its index.
func (s *Sentinels) Sentinel(i int) *Instance { return s.sentinels[i] }

func joinAddresses(list []*Instance) string {
	var all []string
	for _, i := range list {
		all = append(all, i.Addr())
	}
	return strings.Join(all, ",")
}

// waitUntil calls ok every 20 ms until it returns true, and fails the test after limit.
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
