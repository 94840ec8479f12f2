package sessions

import (
	"context"
	"errors"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// listenForRevocations applies what is published on the revocation channel, until ctx ends. After
// each new subscription it has Redis asked for every session, since messages may have been missed.
func (t *Tracker) listenForRevocations(ctx context.Context) {
	redisx.Subscribe(ctx, t.store.rdb, keys.Revocations, redisx.SubscriptionHandlers{
		OnUp: func() {
			t.recheckAll()
			t.logGrown.Notify()
			t.metrics.subscribed.Inc()
			t.markReady(&t.isSubscribed)
		},
		OnDown: func(err error) {
			if errors.Is(err, redisx.ErrSubscriptionRefused) && t.cfg.SubscriptionRefused != nil {
				t.cfg.SubscriptionRefused(err)
			}
		},
		OnMessage: t.applyMessage,
	})
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
	var affected []*trackedSession
	if rev.SessionID != "" {
		t.recent.add(revocationKey{session: rev.SessionID}, rev, now)
		if tracked := t.sessions[rev.SessionID]; tracked != nil {
			affected = append(affected, tracked)
		}
	} else {
		t.recent.add(revocationKey{user: rev.UserID}, rev, now)
		for _, tracked := range t.sessions {
			if tracked.userID == rev.UserID {
				affected = append(affected, tracked)
			}
		}
	}
	for _, tracked := range affected {
		tracked.isAlive.Store(false)
		t.untrackSession(tracked)
	}
	t.mu.Unlock()
	for _, tracked := range affected {
		t.endSession(tracked, rev)
	}
	if len(affected) > 0 {
		t.latencies.recordRevocation(t, rev)
	}
}
