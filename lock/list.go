package lock

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	Fence int64         // the highest counter of all servers: on a quorum the lease's, or one that it did not come to know
	Left  time.Duration // until it runs out everywhere; negative when it never does on some server, since that is not ours
	On    int           // how many servers say the same: nobody holds it unless that is a majority
	Of    int           // how many servers there are
}

// List finds all locks that are held, by name, on any server of a quorum. It walks the whole keyspace, so it is for
// operators. A server that does not answer does not hide what the others say; then the error is ErrUnavailable.
func (m *Manager) List(ctx context.Context) ([]Holding, error) {
	list, err := m.gather(ctx, names)
	if err != nil {
		err = fmt.Errorf("lock: list: %w", err)
	}
	return list, err
}

// Show tells of one lock; ok is false when no server that answers has it. The error is that of List.
func (m *Manager) Show(ctx context.Context, name string) (h Holding, ok bool, err error) {
	list, err := m.gather(ctx, func(context.Context, redis.UniversalClient) ([]string, error) { return []string{name}, nil })
	if err != nil {
		err = fmt.Errorf("lock %s: show: %w", name, err)
	}
	if len(list) == 0 {
		return h, false, err
	}
	return list[0], true, err
}

// gather asks each server for its names, and puts together what they say of them.
func (m *Manager) gather(ctx context.Context, names func(context.Context, redis.UniversalClient) ([]string, error)) (list []Holding, err error) {
	found := map[string]*Holding{}
	holders := map[[2]string]int{} // servers, by name and value
	for _, c := range m.clients {
		all, failed := names(ctx, c)
		for _, name := range all {
			here, value, ok, err := look(ctx, c, name)
			if failed = err; err != nil {
				break
			}
			if !ok {
				continue
			}
			h := found[name]
			if h == nil {
				h = &Holding{Name: name, Left: here.Left, Of: len(m.clients)}
				found[name] = h
			}
			h.Fence = max(h.Fence, here.Fence)
			if h.Left >= 0 && here.Left >= 0 {
				h.Left = max(h.Left, here.Left)
			} else {
				h.Left = -1
			}
			holders[[2]string{name, value}]++
			h.On = max(h.On, holders[[2]string{name, value}])
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", ErrUnavailable, failed))
		}
	}
	list = []Holding{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, *found[name])
	}
	return list, err
}

// look is what one server says of a lock, and who holds it there; ok is false when nobody does.
func look(ctx context.Context, client redis.UniversalClient, name string) (h Holding, value string, ok bool, err error) {
	pipe := client.Pipeline()
	left, who, fence := pipe.PTTL(ctx, keys.Lock(name)), pipe.Get(ctx, keys.Lock(name)), pipe.Get(ctx, keys.LockFence(name))
	_, _ = pipe.Exec(ctx) // what others wrote there may be no string: that it is there can be told all the same
	if err := left.Err(); err != nil {
		return h, "", false, err
	}
	h.Left = left.Val()
	h.Fence, _ = fence.Int64() // 0 when there is none
	return h, who.Val(), h.Left != -2, nil
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
