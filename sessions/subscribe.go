package sessions

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// listenForRevocations hears of revocations until ctx ends. go-redis subscribes again by itself;
// what was missed meanwhile is found by asking for all sessions.
func (t *Tracker) listenForRevocations(ctx context.Context) {
	listen := func() (*redis.PubSub, <-chan any) {
		sub := t.store.rdb.Subscribe(ctx, keys.Revocations)
		return sub, sub.ChannelWithSubscriptions(redis.WithChannelSize(1024), redis.WithChannelSendTimeout(10*time.Second))
	}
	sub, events := listen()
	var anew <-chan time.Time // when to subscribe again
	for {
		select {
		case <-ctx.Done():
			_ = sub.Close()
			if anew == nil {
				for range events { // until its goroutine has ended
				}
			}
			return
		case <-anew:
			_ = sub.Close() // it has ended
			sub, events = listen()
			anew = nil
		case e, ok := <-events:
			switch e := e.(type) {
			case *redis.Message:
				t.applyMessage(e.Payload)
			case *redis.Subscription:
				t.recheckAll()
				t.wake(t.wakeCatchUp)
				t.metrics.subscribed.Inc()
				t.markReady(&t.isSubscribed)
			}
			if !ok { // the client under it was closed, as of a node that left a Cluster
				events, anew = nil, time.After(time.Second)
			}
		}
	}
}

// applyMessage ends the sessions that a message of the channel names.
func (t *Tracker) applyMessage(payload string) {
	rev, err := parseRevocation(payload)
	if err != nil {
		t.metrics.dropped.Inc()
		return
	}
	t.metrics.heard.Inc()
	t.mu.Lock()
	now := t.sinceBase()
	var doomed []*trackedSession
	if rev.SessionID != "" {
		t.recent.add(revocationKey{session: rev.SessionID}, rev, now)
		if l := t.sessions[rev.SessionID]; l != nil {
			doomed = append(doomed, l)
		}
	} else {
		t.recent.add(revocationKey{user: rev.UserID}, rev, now)
		for _, l := range t.sessions {
			if l.userID == rev.UserID {
				doomed = append(doomed, l)
			}
		}
	}
	for _, l := range doomed {
		l.isAlive.Store(false)
		t.untrackSession(l)
	}
	t.mu.Unlock()
	for _, l := range doomed {
		t.endSession(l, rev)
	}
	if len(doomed) > 0 {
		t.latencies.recordRevocation(t, rev)
	}
}
