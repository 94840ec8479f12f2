package server

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/aeturnis/realtime/sessions"
)

// How often all sessions are counted for /health/detailed, at most: a count scans the keyspace.
const (
	recountAfter      = time.Minute
	recountAfterError = 5 * time.Second
	countTimeout      = 30 * time.Second
)

// sessionTotals are the figures about all sessions in Redis. They are counted when an operator
// asks, in the background, and kept for a minute, so a monitor that asks every second costs no
// more.
type sessionTotals struct {
	count  func(context.Context) (sessions.Stats, error)
	counts singleflight.Group

	mu        sync.Mutex
	last      *sessionTotalsView // nil before the first count; guarded by mu
	nextCount time.Time          // guarded by mu
}

// A sessionTotalsView is what operators get.
type sessionTotalsView struct {
	sessions.Stats
	CountedAt int64 `json:"countedAt"` // Unix ms
}

// read returns the last count, or nil where there is none. If the last one is old, it starts
// another, and waits for it until ctx ends.
func (t *sessionTotals) read(ctx context.Context) *sessionTotalsView {
	if last, isFresh := t.lastCount(); isFresh {
		return last
	}
	select {
	case <-t.counts.DoChan("", t.recount):
	case <-ctx.Done():
	}
	last, _ := t.lastCount()
	return last
}

func (t *sessionTotals) lastCount() (last *sessionTotalsView, isFresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, time.Now().Before(t.nextCount)
}

// recount counts all sessions. After an error the last count stays.
func (t *sessionTotals) recount() (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	now := time.Now()
	stats, err := t.count(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.nextCount = time.Now().Add(recountAfterError)
		return nil, err
	}
	t.last, t.nextCount = &sessionTotalsView{stats, now.UnixMilli()}, now.Add(recountAfter)
	return nil, nil
}
