package socketio

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// universal makes a client of several servers, as redisconn does.
func universal(t *testing.T, o *redis.UniversalOptions) redis.UniversalClient {
	const limit = 500 * time.Millisecond
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = limit, limit, limit, limit
	o.DialerRetries, o.MaxRetries, o.ContextTimeoutEnabled = 1, 1, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	c := redis.NewUniversalClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// two starts two nodes with clients of their own.
func two(t *testing.T, client func() redis.UniversalClient, heartbeat time.Duration) (w []*world) {
	for range 2 {
		n := serve(t, &scene{event: echo}, Config{Cluster: &ClusterConfig{Redis: client(), Heartbeat: heartbeat}})
		n.heard(t, "")
		w = append(w, n)
	}
	for _, n := range w {
		n.knows(t, 2)
	}
	return w
}

func TestClusterOnSentinel(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t)
	w := two(t, func() redis.UniversalClient {
		return universal(t, &redis.UniversalOptions{MasterName: redistest.MasterName, Addrs: []string{s.Sentinel(0).Addr(), s.Sentinel(1).Addr(), s.Sentinel(2).Addr()}})
	}, 0)
	here, _ := w[0].member(t, "r")
	there, _ := w[1].member(t, "r")
	s.KillMaster()
	// Only the members on the casting node get the casts until there is a new master and both nodes
	// have found it.
	i := 0
	require.Eventually(t, func() bool {
		w[0].Of("/").Cast("r", "b", func(d []byte) []byte { return fmt.Append(d, i) })
		here.Expect(fmt.Sprintf(`42["b",%d]`, i))
		i++
		return w[0].ClusterStats().Nodes == 2 && w[0].Of("/").Heard(t.Context(), "r") == nil && w[1].Of("/").Heard(t.Context(), "r") == nil &&
			w[1].ClusterStats().Nodes == 2 && i > 10 && w[0].ClusterStats().Unpublished > 0
	}, time.Minute, 50*time.Millisecond)
	defer w[0].end("r")()
	last := -1
	for { // what was heard on the other node is in order, and nothing twice
		p := there.Read()
		if p == `42["end",1]` {
			break
		}
		var n int
		_, err := fmt.Sscanf(p, `42["b",%d]`, &n)
		require.NoError(t, err, p)
		require.Greater(t, n, last)
		last = n
	}
}

// end casts "end" to a room again and again until stop is called. While the publisher has no
// connection, what it sends may be lost.
func (w *world) end(room string) (stop func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			w.Of("/").Cast(room, "end", func(d []byte) []byte { return append(d, '1') })
			select {
			case <-ending:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(ending)
		<-ended
	}
}

// TestClusterLosesConnections has Redis close all connections again and again, in the middle of
// traffic. What was on its way may be lost, and is counted by one side or none. But nothing arrives
// twice or out of order, and in the end everything arrives again.
func TestClusterLosesConnections(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	w := nodes(t, r, 2)
	here, _ := w[0].member(t, "r")
	there, _ := w[1].member(t, "r")
	done := make(chan struct{})
	go func() {
		defer close(done)
		killer := r.Client()
		for range 10 {
			killer.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes")
			killer.ClientKillByFilter(t.Context(), "TYPE", "pubsub")
			time.Sleep(20 * time.Millisecond) // some traffic
		}
	}()
	sent := 0
	for going := true; going; {
		select {
		case <-done:
			going = false
		default:
		}
		w[0].Of("/").Cast("r", "b", func(d []byte) []byte { return fmt.Append(d, sent) })
		here.Expect(fmt.Sprintf(`42["b",%d]`, sent))
		sent++
	}
	for _, n := range w {
		n.heard(t, "")
		n.heard(t, "r")
	}
	defer w[0].end("r")()
	last, heard := -1, 0
	for {
		p := there.Read()
		if p == `42["end",1]` {
			break
		}
		var n int
		_, err := fmt.Sscanf(p, `42["b",%d]`, &n)
		require.NoError(t, err, p)
		require.Greater(t, n, last, "twice, or out of order")
		last = n
		heard++
	}
	t.Logf("sent %d, heard %d", sent, heard)
	require.Positive(t, heard)
}
