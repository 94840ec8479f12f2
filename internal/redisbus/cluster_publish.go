package redisbus

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of the search for a slot that is moving.
const (
	moveTries = 6
	moveWait  = 30 * time.Millisecond
)

// sendToMasters publishes to a Redis Cluster: each sharded message to the master of its slot, all
// others to the master of the home key's. What a master refuses because the slot has moved is sent
// again before everything that comes later, so the order within a channel is kept.
func (p *publisher) sendToMasters(ctx context.Context, messages []queuedMessage, payloads []byte) (ok bool) {
	for try := 0; len(messages) > 0; try++ {
		if try == moveTries {
			p.dropMessages(messages, ErrNotTaken)
			return ok
		}
		if try > 0 {
			p.cluster.ReloadState(ctx) // it only begins to
			time.Sleep(moveWait)
		}
		var mu sync.Mutex
		var moved []queuedMessage // guarded by mu
		var all sync.WaitGroup
		for node, part := range p.groupByMaster(ctx, messages) {
			all.Go(func() {
				movedHere, okHere := p.publishOver(ctx, node, part, payloads)
				mu.Lock()
				defer mu.Unlock()
				moved = append(moved, movedHere...)
				ok = ok || okHere
			})
		}
		all.Wait()
		messages = moved
	}
	return ok
}

// groupByMaster groups messages by the master that takes them, in order. It drops those whose
// master is unknown.
func (p *publisher) groupByMaster(ctx context.Context, messages []queuedMessage) map[*redis.Client][]queuedMessage {
	parts := map[*redis.Client][]queuedMessage{}
	for i, m := range messages {
		key := p.homeKey
		if m.isSharded {
			key = m.channel
		}
		node, err := p.cluster.MasterForKey(ctx, key)
		if err != nil {
			p.dropMessages(messages[i:i+1], err)
			continue
		}
		parts[node] = append(parts[node], m)
	}
	return parts
}
