package sessions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

const (
	refusedEventsPause = time.Minute      // before a refused subscription to keyspace events is tried again
	mastersPause       = 10 * time.Second // between two looks for the masters of a Cluster
)

// listenForDeletions hears which keys are deleted, until ctx ends, where the operator has switched
// keyspace events on (notify-keyspace-events with E and g). They tell within a second of a session
// that another program deletes without publishing that. Where they are off, or our Redis user may
// not hear them, nothing comes, and the tracker asks for each session once per touch interval.
// Keyspace events are each server's own, so it subscribes on each master of a Cluster.
func (t *Tracker) listenForDeletions(ctx context.Context) {
	cluster := redisx.ClusterOf(t.store.rdb)
	if cluster == nil {
		database := 0
		if single := redisx.SingleServer(t.store.rdb); single != nil {
			database = single.Options().DB
		}
		t.listenForDeletionsOn(ctx, t.store.rdb, database)
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	listeners := make(map[*redis.Client]context.CancelFunc)
	for ctx.Err() == nil {
		var mu sync.Mutex
		masters := make(map[*redis.Client]bool) // guarded by mu
		err := cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			masters[master] = true
			return nil
		})
		for master := range masters {
			if listeners[master] == nil {
				ctx, cancel := context.WithCancel(ctx)
				listeners[master] = cancel
				wg.Go(func() { t.listenForDeletionsOn(ctx, master, 0) })
			}
		}
		for master, stop := range listeners {
			if err == nil && !masters[master] {
				stop()
				delete(listeners, master)
			}
		}
		sleepContext(ctx, mastersPause)
	}
	for _, stop := range listeners {
		stop()
	}
}

// listenForDeletionsOn hears the keyspace events of one server.
func (t *Tracker) listenForDeletionsOn(ctx context.Context, server redis.UniversalClient, database int) {
	for ctx.Err() == nil {
		subscription, stop := context.WithCancel(ctx)
		redisx.Subscribe(subscription, server, fmt.Sprintf("__keyevent@%d__:del", database), redisx.SubscriptionHandlers{
			OnDown: func(err error) {
				if errors.Is(err, redisx.ErrSubscriptionRefused) { // it is a help only, and may be forbidden
					stop()
				}
			},
			OnMessage: t.applyDeletion,
		})
		stop()
		sleepContext(ctx, refusedEventsPause)
	}
}

// applyDeletion has Redis asked about the session whose key was deleted. Most deletions are those
// of our own scripts, whose message follows and gives the reason.
func (t *Tracker) applyDeletion(key string) {
	id, isOurs := strings.CutPrefix(key, keys.Session(""))
	if !isOurs {
		sid, isExpress := strings.CutPrefix(key, keys.ExpressSession(""))
		if !isExpress {
			return
		}
		id = ExpressID(sid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tracked := t.sessions[id]
	if tracked == nil || tracked.revocation != nil || tracked.mustAskRedis {
		return
	}
	t.metrics.deletions.Inc()
	tracked.mustAskRedis = true
	t.checks.reschedule(tracked, t.sinceBase())
	t.checkMoved.Notify()
}
