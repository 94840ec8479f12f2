package sessions

import (
	"context"
	"strconv"
	"strings"
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
	isFirst := true
	for ctx.Err() == nil {
		if cursor = t.readRevocationLog(ctx, cursor); cursor != "" {
			t.markReady(&t.hasLogCursor)
		}
		if isFirst {
			close(t.logTried)
			isFirst = false
		}
		timer.Reset(t.cfg.CatchUp)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.logGrown.C():
		}
	}
}

// readRevocationLog reads from the cursor to the end of the log, and returns the new cursor.
// Without a cursor it begins ten seconds before the last entry: a session that ended just before
// may be opened here in a moment. If the entry at the cursor is gone, the log was cut there or is
// another server's, and nobody knows what was missed: then it has Redis asked for every session.
func (t *Tracker) readRevocationLog(ctx context.Context, cursor string) string {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	from := cursor
	if cursor == "" {
		last, err := t.store.rdb.XRevRangeN(ctx, keys.RevocationLog, "+", "-", 1).Result()
		switch {
		case err != nil:
			return ""
		case len(last) == 0:
			return streamStart
		}
		from = entryBefore(last[0].ID, recentRevocationsFor)
	}
	for {
		page, err := t.store.rdb.XRangeN(ctx, keys.RevocationLog, from, "+", pipelineSize).Result()
		if err != nil {
			return cursor
		}
		if cursor != streamStart && cursor != "" {
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
		from = cursor
	}
}

// streamStart is an id before every entry of a stream.
const streamStart = "0-0"

// entryBefore returns the id from which to read the entries that were added at most d before the
// entry with that id.
func entryBefore(id string, d time.Duration) string {
	text, _, _ := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return id
	}
	return formatInt(max(0, ms-d.Milliseconds()))
}

// applyLogEntries has Redis asked about the sessions that entries of the log name.
func (t *Tracker) applyLogEntries(page []redis.XMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, entry := range page {
		text, _ := entry.Values["message"].(string)
		rev, err := parseRevocation(text)
		if err != nil {
			t.metrics.dropped.Inc()
			continue
		}
		t.metrics.recovered.Add(float64(t.accuseSessions(rev)))
	}
}
