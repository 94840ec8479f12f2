package sessions

import (
	"container/heap"
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// catchUp reads what the log of revocations got, each CatchUp and after each new
// subscription, until ctx ends: a message on the channel may be lost, an entry of the log is not.
func (t *Tracker) catchUp(ctx context.Context) {
	cursor := "" // the last entry that was read; "" while that is not known
	timer := time.NewTimer(t.cfg.CatchUp)
	defer timer.Stop()
	for ctx.Err() == nil {
		cursor = t.readLog(ctx, cursor)
		timer.Reset(t.cfg.CatchUp)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.wakeCatchUp:
		}
	}
}

// readLog reads from the cursor to the log's end, and returns the new cursor. Where the
// entry at the cursor is gone (the log was cut there, or is another server's), what was missed is not
// known: then Redis is asked for every session.
func (t *Tracker) readLog(ctx context.Context, cursor string) string {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	if cursor == "" {
		last, err := t.store.rdb.XRevRangeN(ctx, keys.RevocationLog, "+", "-", 1).Result()
		switch {
		case err != nil:
			return ""
		case len(last) == 0:
			return start
		}
		return last[0].ID
	}
	for {
		page, err := t.store.rdb.XRangeN(ctx, keys.RevocationLog, cursor, "+", chunk).Result()
		if err != nil {
			return cursor
		}
		if cursor != start {
			if len(page) == 0 || page[0].ID != cursor {
				t.verify()
				return t.readLog(ctx, "")
			}
			page = page[1:]
		}
		if len(page) == 0 {
			return cursor
		}
		t.recall(page)
		cursor = page[len(page)-1].ID
	}
}

// start is before every entry of a stream.
const start = "0-0"

// recall judges entries of the log. They may be old, and another program may have made a
// session of the same id since: so Redis is asked, and the entry only says why.
func (t *Tracker) recall(page []redis.XMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	doubt := func(l *live, why Revocation) {
		switch {
		case l.ending == nil:
			l.ask, l.at = true, now
			t.metrics.recovered.Inc()
		case !l.heard: // it is known to be gone, and now why
			why.SessionID, why.UserID = l.id, l.userID
			l.ending, l.heard, l.at = &why, true, now
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
			if l := t.sessions[rev.SessionID]; l != nil {
				t.recent.add(memoryKey{session: rev.SessionID}, rev, now)
				doubt(l, rev)
			}
			continue
		}
		t.recent.add(memoryKey{user: rev.UserID}, rev, now)
		for _, l := range t.sessions {
			if l.userID == rev.UserID {
				doubt(l, rev)
			}
		}
	}
	heap.Init(&t.checks)
	t.wake(t.wakeWatch)
}
