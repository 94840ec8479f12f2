package sessions

import (
	"context"
	"errors"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// listenForRevocations applies what is published on the revocation channel, until ctx ends. After
// each new subscription it has Redis asked for every session, since messages may have been missed.
// It subscribes once the end of the log was looked for, so that no revocation falls between the
// two.
func (t *Tracker) listenForRevocations(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-t.logTried:
	}
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

// applyMessage has Redis asked about the sessions that a message of the channel names.
func (t *Tracker) applyMessage(payload string) {
	rev, err := parseRevocation(payload)
	if err != nil {
		t.metrics.dropped.Inc()
		return
	}
	t.metrics.heard.Inc()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accuseSessions(rev)
}

// accuseSessions has Redis asked at once about the sessions that a revocation names, and remembers
// its reason. It ends none itself: channels are shared by all databases of a server, so the message
// may be about a session of another database, and an entry of the log may be older than a session
// that another program created with the same id. It returns how many sessions of this process may
// have ended without being told yet. The caller holds mu.
func (t *Tracker) accuseSessions(rev Revocation) (n int) {
	now := t.sinceBase()
	accuse := func(tracked *trackedSession) {
		switch {
		case tracked.revocation == nil:
			if !tracked.isAccused {
				n++
			}
			tracked.isAccused, tracked.mustAskRedis = true, true
		case !tracked.isReasonKnown: // the session is known to be gone; rev gives the reason
			why := rev
			why.SessionID, why.UserID = tracked.id, tracked.userID
			tracked.revocation, tracked.isReasonKnown = &why, true
			n++
		default:
			return
		}
		t.checks.reschedule(tracked, now)
		t.checkMoved.Notify()
	}
	if rev.SessionID != "" {
		t.recent.add(revocationKey{session: rev.SessionID}, rev, now)
		if tracked := t.sessions[rev.SessionID]; tracked != nil {
			accuse(tracked)
		}
	} else {
		t.recent.add(revocationKey{user: rev.UserID}, rev, now)
		for _, tracked := range t.sessions {
			if tracked.userID == rev.UserID {
				accuse(tracked)
			}
		}
	}
	return n
}
