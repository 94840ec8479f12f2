package lock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// A Holding is a lock that somebody holds, as Redis has it.
type Holding struct {
	Name  string
	Fence int64
	Left  time.Duration // until it runs out; negative when it never does, since it is not ours
}

// List finds all locks that are held, by name, on the first server of a quorum. It walks the whole keyspace, so
// it is for operators.
func (m *Manager) List(ctx context.Context) ([]Holding, error) {
	all, err := names(ctx, m.clients[0])
	if err != nil {
		return nil, fmt.Errorf("lock: list: %w: %w", ErrUnavailable, err)
	}
	list := []Holding{}
	for _, name := range all {
		h, ok, err := m.Show(ctx, name)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, h)
		}
	}
	return list, nil
}

// names are those of all locks on one server, sorted; on a Cluster of all its masters.
func names(ctx context.Context, client redis.UniversalClient) ([]string, error) {
	var mu sync.Mutex
	var all []string // guarded by mu
	prefix := keys.Lock("")
	scan := func(ctx context.Context, rdb redis.Cmdable) error {
		it := rdb.Scan(ctx, 0, prefix+"*", 500).Iterator()
		for it.Next(ctx) {
			mu.Lock()
			all = append(all, strings.TrimPrefix(it.Val(), prefix))
			mu.Unlock()
		}
		return it.Err()
	}
	var err error
	if c, ok := client.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return scan(ctx, master) })
	} else {
		err = scan(ctx, client)
	}
	slices.Sort(all)
	return slices.Compact(all), err
}

// Show tells of one lock; ok is false when nobody holds it.
func (m *Manager) Show(ctx context.Context, name string) (h Holding, ok bool, err error) {
	pipe := m.clients[0].Pipeline()
	left := pipe.PTTL(ctx, keys.Lock(name))
	fence := pipe.Get(ctx, keys.LockFence(name))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return h, false, fmt.Errorf("lock %s: show: %w: %w", name, ErrUnavailable, err)
	}
	h = Holding{Name: name, Left: left.Val()}
	h.Fence, _ = fence.Int64() // 0 when there is none
	if h.Left == -2 {
		return h, false, nil
	}
	return h, true, nil
}

// Cleanup removes locks that never run out, on each server of a quorum: no lease of ours is like that, and nobody
// would ever get the name again. It returns how many these were. A server that does not answer does not keep it
// from the others; then the error is ErrUnavailable.
func (m *Manager) Cleanup(ctx context.Context) (removed int, err error) {
	for _, c := range m.clients {
		n, failed := cleanup(ctx, c)
		if removed += n; failed != nil {
			err = errors.Join(err, fmt.Errorf("lock: clean up: %w: %w", ErrUnavailable, failed))
		}
	}
	return removed, err
}

func cleanup(ctx context.Context, client redis.UniversalClient) (removed int, err error) {
	all, err := names(ctx, client)
	if err != nil {
		return 0, err
	}
	for _, name := range all {
		n, err := cleanupScript.Run(ctx, client, []string{keys.Lock(name)}).Int()
		if err != nil {
			return removed, err
		}
		removed += n
	}
	return removed, nil
}

// KEYS[1] the lock; returns how many keys went: one that runs out stays.
var cleanupScript = redis.NewScript("if redis.call('PTTL', KEYS[1]) == -1 then return redis.call('DEL', KEYS[1]) end return 0")
