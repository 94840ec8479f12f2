package sessions

import (
	"container/heap"
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// catchUpFromLog reads the new entries of the revocation log, every CatchUp and after each new
// subscription, until ctx ends. A message of the channel may be lost; an entry of the log is not.
func (t *Tracker) catchUpFromLog(ctx context.Context) {
	cursor := "" // the id of the last entry that was read; "" while it is unknown
	timer := time.NewTimer(t.cfg.CatchUp)
	defer timer.Stop()
	for ctx.Err() == nil {
		if cursor = t.readRevocationLog(ctx, cursor); cursor != "" {
			t.markReady(&t.hasLogCursor)
		}
		timer.Reset(t.cfg.CatchUp)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.logGrown.C():
		}
	}
}

// readRevocationLog reads from the cursor to the end of the log, and returns the new cursor. If the
// entry at the cursor is gone, the log was cut there or is another server's, and nobody knows what
// was missed: then it has Redis asked for every session.
func (t *Tracker) readRevocationLog(ctx context.Context, cursor string) string {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	if cursor == "" {
		last, err := t.store.rdb.XRevRangeN(ctx, keys.RevocationLog, "+", "-", 1).Result()
		switch {
		case err != nil:
			return ""
		case len(last) == 0:
			return streamStart
		}
		return last[0].ID
	}
	for {
		page, err := t.store.rdb.XRangeN(ctx, keys.RevocationLog, cursor, "+", pipelineSize).Result()
		if err != nil {
			return cursor
		}
		if cursor != streamStart {
			if len(page) == 0 || page[0].ID != cursor {
				t.recheckAll()
				return t.readRevocationLog(ctx, "")
			}
			page = page[1:]
		}
		if len(page) == 0 {
			return cursor
		}
		t.applyLogEntries(page)
		cursor = page[len(page)-1].ID
	}
}

// streamStart is an id before every entry of a stream.
const streamStart = "0-0"

// applyLogEntries applies entries of the log. An entry may be old, and another program may have
// created a session with the same id since: so Redis is asked whether the session lives, and the
// entry only gives the reason.
func (t *Tracker) applyLogEntries(page []redis.XMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.sinceBase()
	applyTo := func(tracked *trackedSession, why Revocation) {
		switch {
		case tracked.revocation == nil:
			tracked.mustAskRedis, tracked.checkAt = true, now
			t.metrics.recovered.Inc()
		case !tracked.isReasonKnown: // the session is known to be gone; the entry gives the reason
			why.SessionID, why.UserID = tracked.id, tracked.userID
			tracked.revocation, tracked.isReasonKnown, tracked.checkAt = &why, true, now
			t.metrics.recovered.Inc()
		}
	}
	for _, entry := range page {
		text, _ := entry.Values["message"].(string)
		rev, err := parseRevocation(text)
		if err != nil {
			t.metrics.dropped.Inc()
			continue
		}
		if rev.SessionID != "" {
			if tracked := t.sessions[rev.SessionID]; tracked != nil {
				t.recent.add(revocationKey{session: rev.SessionID}, rev, now)
				applyTo(tracked, rev)
			}
			continue
		}
		t.recent.add(revocationKey{user: rev.UserID}, rev, now)
		for _, tracked := range t.sessions {
			if tracked.userID == rev.UserID {
				applyTo(tracked, rev)
			}
		}
	}
	heap.Init(&t.checks)
	t.checkMoved.Notify()
}
