package sessions

import (
	"container/heap"
	"context"
	"time"
)

// ranOut is the reason of a session whose time was over.
const ranOut = "The session ran out."

// watchDeadlines ends the sessions whose time is over, until ctx ends.
func (t *Tracker) watchDeadlines(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var askFrom time.Duration // since base: when Redis may be asked; a second after it did not answer
	for {
		over, unsure, again := t.takeDueChecks(askFrom)
		for _, tracked := range over {
			t.endSession(tracked, *tracked.revocation)
			if tracked.isReasonKnown {
				t.latencies.recordRevocation(t, *tracked.revocation)
			}
		}
		if len(unsure) > 0 && !t.refreshExpiries(ctx, unsure) {
			askFrom = t.sinceBase() + askAgainPause
		}
		timer.Reset(max(0, again-t.sinceBase()))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-t.checkMoved.C():
		}
	}
}

// takeDueChecks takes the sessions whose check is due. over have ended; only Redis knows about
// unsure. The others were slid meanwhile, or Redis may not be asked before askFrom: they are
// checked later. again is when to call it again.
func (t *Tracker) takeDueChecks(askFrom time.Duration) (over, unsure []*trackedSession, again time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.sinceBase()
	for len(t.checks) > 0 && t.checks[0].checkAt <= now && len(unsure) < pipelineSize {
		tracked := t.checks[0]
		next := tracked.nextCheck()
		switch {
		case tracked.revocation != nil:
			t.untrackSession(tracked)
			over = append(over, tracked)
		case tracked.absoluteDeadline != 0 && tracked.absoluteDeadline <= now:
			tracked.isAlive.Store(false)
			tracked.revocation = &Revocation{SessionID: tracked.id, UserID: tracked.userID, Code: Expired, Reason: "The session is over.", At: t.base.Add(now)}
			t.untrackSession(tracked)
			over = append(over, tracked)
		case !tracked.mustAskRedis && next > now: // the session was slid meanwhile
			t.checks.reschedule(tracked, next)
		case askFrom > now:
			tracked.mustAskRedis = true
			t.checks.reschedule(tracked, askFrom)
		default:
			tracked.mustAskRedis = false
			unsure = append(unsure, tracked)
			t.checks.reschedule(tracked, now+askAgainPause) // unless Redis answers something else
		}
	}
	if len(t.checks) == 0 {
		return over, unsure, now + time.Hour
	}
	return over, unsure, t.checks[0].checkAt
}

// refreshExpiries asks Redis how long sessions live. It tells whether Redis answered for any of
// them. Those without an answer are asked about again a second later.
func (t *Tracker) refreshExpiries(ctx context.Context, unsure []*trackedSession) (answered bool) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	asked := t.sinceBase()
	ids := make([]string, len(unsure))
	for i, tracked := range unsure {
		ids[i] = tracked.id
	}
	for i, left := range t.store.readRemainingTTLs(ctx, ids) {
		tracked := unsure[i]
		switch {
		case left.err != nil:
			t.mu.Lock()
			tracked.mustAskRedis = true
			t.mu.Unlock()
			continue
		case left.ttl == ttlNoKey:
			t.markMissing(tracked)
		case left.ttl < 0: // the key has no expiry; a touch will give it one
			t.recordExpiry(tracked, asked+time.Duration(tracked.ttl.Load()), 0)
		default:
			t.recordExpiry(tracked, asked+left.ttl+time.Millisecond, 0) // Redis rounds down
		}
		answered = true
	}
	return answered
}

// markMissing marks a session that Redis no longer has. Its listeners are called reasonGrace later,
// so that a revocation that is on its way can still give the reason.
func (t *Tracker) markMissing(tracked *trackedSession) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tracked.queueIndex < 0 || tracked.revocation != nil {
		return
	}
	now := t.sinceBase()
	tracked.isAlive.Store(false)
	at := now
	rev, ok := t.recent.lookup(revocationKey{session: tracked.id}, now)
	if !ok {
		rev, ok = t.recent.lookup(revocationKey{user: tracked.userID}, now)
	}
	if !ok {
		rev = Revocation{Code: Expired, Reason: ranOut, At: t.base.Add(now)}
		deadline, slack := time.Duration(tracked.deadline.Load()), min(maxDeadlineError, time.Duration(tracked.ttl.Load()/10))
		if deadline > now+slack && !tracked.hasRunOut { // it did not expire: somebody deleted it
			rev.Code, rev.Reason = Revoked, "The session was ended."
		}
		if deadline > now {
			at = now + reasonGrace
			t.logGrown.Notify() // the log may give the reason
		}
	}
	rev.SessionID, rev.UserID = tracked.id, tracked.userID
	tracked.revocation, tracked.isReasonKnown = &rev, ok
	t.checks.reschedule(tracked, at)
	t.checkMoved.Notify()
}

// endSession calls the listeners of a session, because it has ended. The session is no longer
// followed.
func (t *Tracker) endSession(tracked *trackedSession, rev Revocation) {
	t.mu.Lock()
	tracked.isAlive.Store(false)
	handles := tracked.handles
	tracked.handles = nil
	t.handles -= len(handles)
	t.mu.Unlock()
	rev.SessionID, rev.UserID = tracked.id, tracked.userID
	t.metrics.countEnded(rev, len(handles))
	for _, h := range handles {
		h.notifyEnded(rev)
	}
}

// recheckAll has Redis asked soon for every session.
func (t *Tracker) recheckAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.sinceBase()
	for _, tracked := range t.checks {
		if tracked.revocation == nil {
			tracked.mustAskRedis, tracked.checkAt = true, now
		}
	}
	heap.Init(&t.checks)
	t.checkMoved.Notify()
}
