package sessions

import (
	"container/heap"
	"context"
	"time"
)

// watchDeadlines ends the sessions whose time is over, until ctx ends.
func (t *Tracker) watchDeadlines(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		over, unsure, again := t.takeDueChecks()
		for _, l := range over {
			t.endSession(l, *l.revocation)
			if l.isReasonKnown {
				t.latencies.recordRevocation(t, *l.revocation)
			}
		}
		if len(unsure) > 0 {
			t.refreshExpiries(ctx, unsure)
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
// unsure. The others were slid meanwhile, and are checked later. again is when to call it again.
func (t *Tracker) takeDueChecks() (over, unsure []*trackedSession, again time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.sinceBase()
	for len(t.checks) > 0 && t.checks[0].checkAt <= now && len(unsure) < pipelineSize {
		l := t.checks[0]
		next := l.nextCheck()
		switch {
		case l.revocation != nil:
			t.untrackSession(l)
			over = append(over, l)
		case l.absoluteDeadline != 0 && l.absoluteDeadline <= now:
			l.isAlive.Store(false)
			l.revocation = &Revocation{SessionID: l.id, UserID: l.userID, Code: Expired, Reason: "The session is over.", At: t.base.Add(now)}
			t.untrackSession(l)
			over = append(over, l)
		case !l.mustAskRedis && next > now: // the session was slid meanwhile
			t.checks.reschedule(l, next)
		default:
			l.mustAskRedis = false
			unsure = append(unsure, l)
			t.checks.reschedule(l, now+askAgainPause) // unless Redis answers something else
		}
	}
	if len(t.checks) == 0 {
		return over, unsure, now + time.Hour
	}
	return over, unsure, t.checks[0].checkAt
}

// refreshExpiries asks Redis how long sessions live. It asks again a second later for those that
// got no answer.
func (t *Tracker) refreshExpiries(ctx context.Context, unsure []*trackedSession) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	asked := t.sinceBase()
	ids := make([]string, len(unsure))
	for i, l := range unsure {
		ids[i] = l.id
	}
	for i, left := range t.store.readRemainingTTLs(ctx, ids) {
		l := unsure[i]
		switch {
		case left.err != nil:
			t.mu.Lock()
			l.mustAskRedis = true
			t.mu.Unlock()
		case left.ttl == ttlNoKey:
			t.markMissing(l)
		case left.ttl < 0: // the key has no expiry; a touch will give it one
			t.recordExpiry(l, asked+time.Duration(l.ttl.Load()), 0)
		default:
			t.recordExpiry(l, asked+left.ttl+time.Millisecond, 0) // Redis rounds down
		}
	}
}

// markMissing marks a session that Redis no longer has. Its handles are told reasonGrace later, so
// that a revocation that is on its way can still give the reason.
func (t *Tracker) markMissing(l *trackedSession) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.queueIndex < 0 || l.revocation != nil {
		return
	}
	now := t.sinceBase()
	l.isAlive.Store(false)
	at := now
	rev, ok := t.recent.lookup(revocationKey{session: l.id}, now)
	if !ok {
		rev, ok = t.recent.lookup(revocationKey{user: l.userID}, now)
	}
	if !ok {
		rev = Revocation{Code: Expired, Reason: "The session ran out.", At: t.base.Add(now)}
		if time.Duration(l.deadline.Load()) > now {
			at = now + reasonGrace
			t.logGrown.Notify() // the log may give the reason
		}
	}
	rev.SessionID, rev.UserID = l.id, l.userID
	l.revocation, l.isReasonKnown = &rev, ok
	t.checks.reschedule(l, at)
	t.checkMoved.Notify()
}

// endSession tells the handles of a session that it has ended. The session is no longer followed.
func (t *Tracker) endSession(l *trackedSession, rev Revocation) {
	t.mu.Lock()
	l.isAlive.Store(false)
	handles := l.handles
	l.handles = nil
	t.handles -= len(handles)
	t.mu.Unlock()
	rev.SessionID, rev.UserID = l.id, l.userID
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
	for _, l := range t.checks {
		if l.revocation == nil {
			l.mustAskRedis, l.checkAt = true, now
		}
	}
	heap.Init(&t.checks)
	t.checkMoved.Notify()
}
