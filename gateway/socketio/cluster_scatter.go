package socketio

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// classicKey is where all that is not sharded is published on a Cluster, which passes it on
// to all its nodes: one node for all, for the order.
const classicKey = "socket.io"

// Bounds of the search for a slot that is moving.
const (
	moves    = 6
	moveWait = 30 * time.Millisecond
)

// scatter publishes to a Redis Cluster: each sharded message to the master of its slot. What
// a master does not take because the slot has moved is sent again, before all that comes
// later, so the order in a channel is kept.
func (p *publisher) scatter(ctx context.Context, client *redis.ClusterClient, batch []publication, arena []byte) (ok bool) {
	for try := 0; len(batch) > 0; try++ {
		if try == moves {
			p.drop(batch, errRedisAway)
			return ok
		}
		if try > 0 {
			client.ReloadState(ctx) // begins to
			time.Sleep(moveWait)
		}
		var mu sync.Mutex
		var moved []publication // guarded by mu
		var all sync.WaitGroup
		for node, part := range p.byMaster(ctx, client, batch) {
			all.Go(func() {
				again, good := p.exchange(ctx, node, part, arena)
				mu.Lock()
				defer mu.Unlock()
				moved = append(moved, again...)
				ok = ok || good
			})
		}
		all.Wait()
		batch = moved
	}
	return ok
}

// byMaster sorts messages by who takes them, in order. Those whose master nobody knows are
// dropped.
func (p *publisher) byMaster(ctx context.Context, client *redis.ClusterClient, batch []publication) map[*redis.Client][]publication {
	parts := map[*redis.Client][]publication{}
	for i, m := range batch {
		key := classicKey
		if m.sharded {
			key = m.channel
		}
		node, err := client.MasterForKey(ctx, key)
		if err != nil {
			p.drop(batch[i:i+1], err)
			continue
		}
		parts[node] = append(parts[node], m)
	}
	return parts
}
