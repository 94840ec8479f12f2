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

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// A Holding is a lock that is held, as its servers report it.
type Holding struct {
	Name string
	// Fence is the highest counter of all servers. On a quorum that is the fence of the lease, or a
	// higher one that a server handed out too late.
	Fence int64
	// Left is how long until the lock has expired on all servers. It is negative if it never
	// expires on one of them: then it is no lock of this package.
	Left time.Duration
	// AgreeingServers is how many servers name the same holder. If that is no majority of Servers,
	// nobody holds the lock.
	AgreeingServers int
	// Servers is how many servers there are.
	Servers int
	// Holder is who has it, as far as its value says.
	Holder Holder
}

// List returns all locks that are held on any server, by name. It scans all keys, so it is for
// operators. If a server does not answer, List returns what the others say, and an error that
// wraps ErrUnavailable.
func (m *Manager) List(ctx context.Context) ([]Holding, error) {
	list, err := m.collectHoldings(ctx, scanLockNames)
	if err != nil {
		err = fmt.Errorf("list locks: %w", err)
	}
	return list, err
}

// Show returns one lock. ok is false if no server that answers has it. The error is that of List.
func (m *Manager) Show(ctx context.Context, name string) (h Holding, ok bool, err error) {
	list, err := m.collectHoldings(ctx, func(context.Context, redis.UniversalClient) ([]string, error) { return []string{name}, nil })
	if err != nil {
		err = fmt.Errorf("show %s: %w", name, err)
	}
	if len(list) == 0 {
		return h, false, err
	}
	return list[0], true, err
}

// collectHoldings asks each server for the locks that namesOn returns for it, and merges the
// answers.
func (m *Manager) collectHoldings(ctx context.Context, namesOn func(context.Context, redis.UniversalClient) ([]string, error)) (list []Holding, err error) {
	found := map[string]*Holding{}
	votes := map[[2]string]int{} // servers by name and holder
	for _, c := range m.clients {
		all, failed := namesOn(ctx, c)
		for _, name := range all {
			here, holder, ok, err := readHolding(ctx, c, name)
			if failed = err; err != nil {
				break
			}
			if !ok {
				continue
			}
			h := found[name]
			if h == nil {
				h = &Holding{Name: name, Left: here.Left, Servers: len(m.clients)}
				found[name] = h
			}
			h.Fence = max(h.Fence, here.Fence)
			if h.Left >= 0 && here.Left >= 0 {
				h.Left = max(h.Left, here.Left)
			} else {
				h.Left = -1
			}
			votes[[2]string{name, holder}]++
			if n := votes[[2]string{name, holder}]; n > h.AgreeingServers {
				h.AgreeingServers, h.Holder = n, parseHolder(holder)
			}
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

// readHolding returns a lock as one server knows it, and the value of its holder. ok is false if
// nobody holds it there.
func readHolding(ctx context.Context, client redis.UniversalClient, name string) (h Holding, holder string, ok bool, err error) {
	pipe := client.Pipeline()
	left, value, fence := pipe.PTTL(ctx, keys.Lock(name)), pipe.Get(ctx, keys.Lock(name)), pipe.Get(ctx, keys.LockFence(name))
	_, _ = pipe.Exec(ctx) // GET fails on a key that another program wrote with another type; PTTL still works
	if err := left.Err(); err != nil {
		return h, "", false, err
	}
	h.Left = left.Val()
	h.Fence, _ = fence.Int64() // 0 if there is none
	return h, value.Val(), h.Left != -2, nil
}

// scanLockNames returns the names of all locks on one server, or on all masters of a Cluster,
// sorted.
func scanLockNames(ctx context.Context, client redis.UniversalClient) ([]string, error) {
	var mu sync.Mutex
	var all []string // guarded by mu
	prefix := keys.Lock("")
	err := redisx.ForEachMaster(ctx, client, func(ctx context.Context, master redis.UniversalClient) error {
		it := master.Scan(ctx, 0, prefix+"*", 500).Iterator()
		for it.Next(ctx) {
			mu.Lock()
			all = append(all, strings.TrimPrefix(it.Val(), prefix))
			mu.Unlock()
		}
		return it.Err()
	})
	slices.Sort(all)
	return slices.Compact(all), err
}

// Cleanup removes locks that never expire, on each server, and returns how many it removed. This
// package makes no such locks, but another program may have, and nobody could ever acquire the
// name again. If a server does not answer, Cleanup cleans the others, and the error wraps
// ErrUnavailable.
func (m *Manager) Cleanup(ctx context.Context) (removed int, err error) {
	for _, c := range m.clients {
		n, failed := cleanupServer(ctx, c)
		if removed += n; failed != nil {
			err = errors.Join(err, fmt.Errorf("clean up locks: %w: %w", ErrUnavailable, failed))
		}
	}
	return removed, err
}

func cleanupServer(ctx context.Context, client redis.UniversalClient) (removed int, err error) {
	names, err := scanLockNames(ctx, client)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		n, err := cleanupScript.Do(ctx, client, []string{keys.Lock(name)}).Int()
		if err != nil {
			return removed, err
		}
		removed += n
	}
	return removed, nil
}

// cleanupScript takes the lock as KEYS[1], removes it if it never expires, and returns how many
// keys it removed.
var cleanupScript = redisx.NewScript("if redis.call('PTTL', KEYS[1]) == -1 then return redis.call('DEL', KEYS[1]) end return 0")
