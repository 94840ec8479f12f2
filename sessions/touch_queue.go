package sessions

import (
	"context"
	"errors"
	"slices"
	"time"
)

// enqueueTouch keeps the touch of a session until it is sent. A session has at most one.
func (t *Tracker) enqueue(l *live) {
	t.mu.Lock()
	t.pending[l.id] = l
	t.mu.Unlock()
	t.wake(t.wakeBatch)
}

// runTouchSender sends due touches, many in a pipeline, until ctx ends.
func (t *Tracker) batch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wakeBatch:
		}
		if !sleep(ctx, t.cfg.Gather) {
			return
		}
		for pause := retryFirst; ; {
			batch := t.take()
			if len(batch) == 0 {
				break
			}
			if t.send(ctx, batch) {
				pause = retryFirst
				continue
			}
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, retryMost)
		}
	}
}

// flushTouches sends the pending touches, for a second at most.
func (t *Tracker) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushFor)
	defer cancel()
	for ctx.Err() == nil {
		batch := t.take()
		if len(batch) == 0 || !t.send(ctx, batch) && !sleep(ctx, retryFirst) {
			return
		}
	}
}

func (t *Tracker) take() []*live {
	t.mu.Lock()
	defer t.mu.Unlock()
	batch := make([]*live, 0, min(chunk, len(t.pending)))
	for id, l := range t.pending {
		if len(batch) == cap(batch) {
			break
		}
		batch = append(batch, l)
		delete(t.pending, id)
	}
	return batch
}

// sendTouches touches the sessions and records the results. It queues those again for which Redis
// did not answer, and returns false when there were any.
func (t *Tracker) send(ctx context.Context, batch []*live) bool {
	asked := t.clock()
	touches := make([]touch, len(batch))
	t.mu.Lock()
	for i, l := range batch {
		expiry := asked + time.Duration(l.ttl.Load())
		if l.absolute != 0 {
			expiry = min(expiry, l.absolute)
		}
		touches[i] = touch{id: l.id, userID: l.userID, lastCharacter: l.character, expiry: t.base.Add(expiry)}
	}
	t.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	t.store.touch(ctx, touches)

	answered := true
	for i, l := range batch {
		switch err := touches[i].err; {
		case err == nil:
			t.metrics.touchesStored.Inc()
			t.slid(l, asked+touches[i].left, touches[i].ttl)
		case errors.Is(err, ErrNotFound):
			t.metrics.touchesGone.Inc()
			t.lost(l)
		default:
			t.metrics.touchesFailed.Inc()
			answered = false
			t.mu.Lock()
			if t.pending[l.id] == nil && l.alive.Load() {
				t.pending[l.id] = l
			}
			t.mu.Unlock()
		}
	}
	return answered
}

// recordExpiry records when a session will expire, and warns its handles when that is soon. ttl is 0
// when Redis did not say it.
func (t *Tracker) slid(l *live, deadline, ttl time.Duration) {
	if l.absolute != 0 {
		deadline = min(deadline, l.absolute)
	}
	t.mu.Lock()
	now := t.clock()
	if ttl > 0 {
		l.setTTL(ttl)
		l.character = ""
		l.promised.Store(0)
	}
	l.deadline.Store(int64(deadline))
	if deadline-time.Duration(l.ttl.Load()/10) > now {
		l.warned = false
	}
	var warn []*Handle
	if l.ending == nil && l.place >= 0 {
		if !l.warned && deadline > now && l.next() <= now {
			l.warned = true
			warn = slices.Clone(l.handles)
		}
		if next := l.next(); next < l.at {
			t.checks.move(l, next)
			t.wake(t.wakeWatch)
		}
	}
	t.mu.Unlock()
	for _, h := range warn {
		h.expiring(deadline - now)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
