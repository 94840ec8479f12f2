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

// listenForDeletions hears which keys are deleted and which ran out, until ctx ends, where the
// operator has switched keyspace events on (notify-keyspace-events with E, g and x). They tell
// within a second of a session that another program deletes without publishing that, and whether a
// session that is gone early was deleted or had a shorter expiry. Where they are off, or our Redis
// user may not hear them, nothing comes, and the tracker asks for each session once per touch
// interval. Keyspace events are each server's own, so it subscribes on each master of a Cluster.
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
	var wg sync.WaitGroup
	for event, apply := range map[string]func(key string){"del": t.applyDeletion, "expired": t.applyExpiry} {
		wg.Go(func() {
			for ctx.Err() == nil {
				subscription, stop := context.WithCancel(ctx)
				redisx.Subscribe(subscription, server, fmt.Sprintf("__keyevent@%d__:%s", database, event), redisx.SubscriptionHandlers{
					OnDown: func(err error) {
						if errors.Is(err, redisx.ErrSubscriptionRefused) { // it is a help only, and may be forbidden
							stop()
						}
					},
					OnMessage: apply,
				})
				stop()
				sleepContext(ctx, refusedEventsPause)
			}
		})
	}
	wg.Wait()
}

// applyDeletion has Redis asked about the session whose key was deleted. Most deletions are those
// of our own scripts, whose message follows and gives the reason.
func (t *Tracker) applyDeletion(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tracked := t.sessions[idOfKey(key)]; tracked != nil && tracked.revocation == nil && !tracked.mustAskRedis {
		t.metrics.deletions.Inc()
		t.askRedisNow(tracked)
	}
}

// applyExpiry notes that the key of a session ran out by its own TTL, and has Redis asked about it.
// Another program may have shortened that TTL, so this process may have expected it to live.
func (t *Tracker) applyExpiry(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tracked := t.sessions[idOfKey(key)]
	if tracked == nil {
		return
	}
	tracked.hasRunOut = true
	if tracked.revocation == nil {
		t.askRedisNow(tracked)
	} else if !tracked.isReasonKnown && tracked.revocation.Code == Revoked { // the listeners were not told yet
		rev := *tracked.revocation
		rev.Code, rev.Reason = Expired, ranOut
		tracked.revocation = &rev
	}
}

// idOfKey returns the id of the session with the key, or "" when it is the key of something else.
func idOfKey(key string) string {
	if id, isOurs := strings.CutPrefix(key, keys.Session("")); isOurs {
		return id
	}
	if sid, isExpress := strings.CutPrefix(key, keys.ExpressSession("")); isExpress {
		return ExpressID(sid)
	}
	return ""
}

// askRedisNow has Redis asked about a session. The caller holds mu.
func (t *Tracker) askRedisNow(tracked *trackedSession) {
	tracked.mustAskRedis = true
	t.checks.reschedule(tracked, t.sinceBase())
	t.checkMoved.Notify()
}
