package sessions

import (
	"context"
	"errors"
	"slices"
	"time"
)

// enqueueTouch keeps the touch of a session until it is sent. A session has at most one.
func (t *Tracker) enqueueTouch(tracked *trackedSession) {
	t.mu.Lock()
	t.pending[tracked.id] = tracked
	t.mu.Unlock()
	t.touchDue.Notify()
}

// runTouchSender sends due touches, many in a pipeline, until ctx ends.
func (t *Tracker) runTouchSender(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.touchDue.C():
		}
		if !sleepContext(ctx, t.cfg.Gather) {
			return
		}
		for pause := minRetryPause; ; {
			batch := t.takePendingTouches()
			if len(batch) == 0 {
				break
			}
			if t.sendTouches(ctx, batch) {
				pause = minRetryPause
				continue
			}
			if !sleepContext(ctx, pause) {
				return
			}
			pause = min(2*pause, maxRetryPause)
		}
	}
}

// flushTouches sends the pending touches, for a second at most.
func (t *Tracker) flushTouches(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	for ctx.Err() == nil {
		batch := t.takePendingTouches()
		if len(batch) == 0 || !t.sendTouches(ctx, batch) && !sleepContext(ctx, minRetryPause) {
			return
		}
	}
}

func (t *Tracker) takePendingTouches() []*trackedSession {
	t.mu.Lock()
	defer t.mu.Unlock()
	batch := make([]*trackedSession, 0, min(pipelineSize, len(t.pending)))
	for id, tracked := range t.pending {
		if len(batch) == cap(batch) {
			break
		}
		batch = append(batch, tracked)
		delete(t.pending, id)
	}
	return batch
}

// sendTouches touches the sessions and records the results. It queues those again for which Redis
// did not answer, and returns false when there were any.
func (t *Tracker) sendTouches(ctx context.Context, batch []*trackedSession) bool {
	asked := t.sinceBase()
	touches := make([]touchRequest, len(batch))
	t.mu.Lock()
	for i, tracked := range batch {
		expiry := asked + time.Duration(tracked.ttl.Load())
		if tracked.absoluteDeadline != 0 {
			expiry = min(expiry, tracked.absoluteDeadline)
		}
		touches[i] = touchRequest{id: tracked.id, userID: tracked.userID, lastCharacter: tracked.character, expiry: t.base.Add(expiry)}
	}
	t.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	t.store.touchSessions(ctx, touches)

	answered := true
	for i, tracked := range batch {
		switch err := touches[i].err; {
		case err == nil:
			t.metrics.touchesStored.Inc()
			t.recordExpiry(tracked, asked+touches[i].left, touches[i].ttl)
		case errors.Is(err, ErrNotFound):
			t.metrics.touchesGone.Inc()
			t.markMissing(tracked)
		default:
			t.metrics.touchesFailed.Inc()
			answered = false
			t.mu.Lock()
			if t.pending[tracked.id] == nil && tracked.isAlive.Load() {
				t.pending[tracked.id] = tracked
			}
			t.mu.Unlock()
		}
	}
	return answered
}

// recordExpiry records when a session will expire, and warns its handles when that is soon. ttl is
// 0 when Redis did not say it.
func (t *Tracker) recordExpiry(tracked *trackedSession, deadline, ttl time.Duration) {
	if tracked.absoluteDeadline != 0 {
		deadline = min(deadline, tracked.absoluteDeadline)
	}
	t.mu.Lock()
	now := t.sinceBase()
	if ttl > 0 {
		tracked.setTTL(ttl)
		tracked.character = ""
		tracked.pendingDeadline.Store(0)
	}
	tracked.deadline.Store(int64(deadline))
	tracked.verifiedAt = now
	if tracked.isAccused && !tracked.mustAskRedis {
		tracked.isAccused = false
		t.metrics.unfounded.Inc()
	}
	if deadline-time.Duration(tracked.ttl.Load()/10) > now {
		tracked.isWarned = false
	}
	var warn []*Handle
	if tracked.revocation == nil && tracked.queueIndex >= 0 {
		if !tracked.isWarned && deadline > now && tracked.nextWarning() <= now {
			tracked.isWarned = true
			warn = slices.Clone(tracked.handles)
		}
		if next := tracked.nextCheck(); next < tracked.checkAt {
			t.checks.reschedule(tracked, next)
			t.checkMoved.Notify()
		}
	}
	t.mu.Unlock()
	for _, h := range warn {
		h.notifyExpiring(deadline - now)
	}
}

func sleepContext(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
