package sessions

import (
	"container/heap"
	"context"
	"time"
)

// watchDeadlines ends the sessions whose time is over, until ctx ends.
func (t *Tracker) watch(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		over, unsure, again := t.dueChecks()
		for _, l := range over {
			t.end(l, *l.ending)
			if l.heard {
				t.took.note(t, *l.ending)
			}
		}
		if len(unsure) > 0 {
			t.ask(ctx, unsure)
		}
		timer.Reset(max(0, again-t.clock()))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-t.wakeWatch:
		}
	}
}

// takeDueChecks takes the sessions whose check is due. over have ended; only Redis knows about
// unsure. The others were slid meanwhile, and are checked later. again is when to call it again.
func (t *Tracker) dueChecks() (over, unsure []*live, again time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	for len(t.checks) > 0 && t.checks[0].at <= now && len(unsure) < chunk {
		l := t.checks[0]
		next := l.next()
		switch {
		case l.ending != nil:
			t.forget(l)
			over = append(over, l)
		case l.absolute != 0 && l.absolute <= now:
			l.alive.Store(false)
			l.ending = &Revocation{SessionID: l.id, UserID: l.userID, Code: Expired, Reason: "The session is over.", At: t.base.Add(now)}
			t.forget(l)
			over = append(over, l)
		case !l.ask && next > now: // the session was slid meanwhile
			t.checks.move(l, next)
		default:
			l.ask = false
			unsure = append(unsure, l)
			t.checks.move(l, now+askAgainAfter) // unless Redis answers something else
		}
	}
	if len(t.checks) == 0 {
		return over, unsure, now + time.Hour
	}
	return over, unsure, t.checks[0].at
}

// refreshExpiries asks Redis how long sessions live. It asks again a second later for those that got
// no answer.
func (t *Tracker) ask(ctx context.Context, unsure []*live) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	asked := t.clock()
	ids := make([]string, len(unsure))
	for i, l := range unsure {
		ids[i] = l.id
	}
	for i, left := range t.store.left(ctx, ids) {
		l := unsure[i]
		switch {
		case left.err != nil:
			t.mu.Lock()
			l.ask = true
			t.mu.Unlock()
		case left.ttl == gone:
			t.lost(l)
		case left.ttl < 0: // the key has no expiry; a touch will give it one
			t.slid(l, asked+time.Duration(l.ttl.Load()), 0)
		default:
			t.slid(l, asked+left.ttl+time.Millisecond, 0) // Redis rounds down
		}
	}
}

// markMissing marks a session that Redis no longer has. Its handles are told reasonGrace later, so
// that a revocation that is on its way can still give the reason.
func (t *Tracker) lost(l *live) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.place < 0 || l.ending != nil {
		return
	}
	now := t.clock()
	l.alive.Store(false)
	at := now
	rev, ok := t.recent.find(memoryKey{session: l.id}, now)
	if !ok {
		rev, ok = t.recent.find(memoryKey{user: l.userID}, now)
	}
	if !ok {
		rev = Revocation{Code: Expired, Reason: "The session ran out.", At: t.base.Add(now)}
		if time.Duration(l.deadline.Load()) > now {
			at = now + endGrace
			t.wake(t.wakeCatchUp) // the log may give the reason
		}
	}
	rev.SessionID, rev.UserID = l.id, l.userID
	l.ending, l.heard = &rev, ok
	t.checks.move(l, at)
	t.wake(t.wakeWatch)
}

// endSession tells the handles of a session that it has ended. The session is no longer followed.
func (t *Tracker) end(l *live, rev Revocation) {
	t.mu.Lock()
	l.alive.Store(false)
	handles := l.handles
	l.handles = nil
	t.handles -= len(handles)
	t.mu.Unlock()
	rev.SessionID, rev.UserID = l.id, l.userID
	t.metrics.ended(rev, len(handles))
	for _, h := range handles {
		h.end(rev)
	}
}

// recheckAll has Redis asked soon for every session.
func (t *Tracker) verify() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	for _, l := range t.checks {
		if l.ending == nil {
			l.ask, l.at = true, now
		}
	}
	heap.Init(&t.checks)
	t.wake(t.wakeWatch)
}
