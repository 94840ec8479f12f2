package throttle

import (
	"sync"
	"time"
)

// connectionSlots is how many parts of its window a ConnectionWindow tells apart, beside the one
// that has just begun.
const connectionSlots = 32

// A ConnectionWindow counts the events of one connection under one policy, in the memory of this
// process alone: for a policy that every event of a connection spends, so that asking Redis would
// cost more than the event. It has a fixed size, and only the first event allocates something.
//
// Like every window, it admits at most Limit events in any span (t, t+Window]. It counts events in
// parts of a thirty-second of the window, and an event counts until its part is over, so a steady
// stream gets 97 % of the limit. Its methods may be called from any goroutine.
type ConnectionWindow struct {
	limiter *Limiter
	policy  string

	mu      sync.Mutex
	rule    *rule  // that slots are counted for; guarded by mu
	counts  *slots // nil before the first event: most connections are idle; guarded by mu
	newest  int64  // the number of the newest slot; guarded by mu
	total   int    // the sum of counts; guarded by mu
	refused bool   // the event before was refused; guarded by mu
}

// slots count events, by the number of their slot modulo how many there are.
type slots [connectionSlots + 1]uint32

// OpenConnection returns the window of a new connection under a policy. The policy need not be
// known, or on: it counts from when it is.
func (l *Limiter) OpenConnection(policy string) *ConnectionWindow {
	return &ConnectionWindow{limiter: l, policy: policy}
}

// Spend charges one event of a player with these roles, and decides whether it is allowed. It never
// waits. Decision.Source is SourceMemory for a refusal that follows another one, and SourceLocal
// otherwise.
func (w *ConnectionWindow) Spend(roles []string) Decision {
	l := w.limiter
	p := (*l.table.Load())[w.policy]
	if p == nil {
		return Decision{Allowed: true}
	}
	r := p.active.Load().ruleForRoles(roles)
	if r == nil {
		return Decision{Allowed: true}
	}
	now := l.clock()
	t := target{policy: p, rule: r}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(r, now)
	left := r.limit - w.total
	if left >= r.cost {
		w.counts[w.newest%(connectionSlots+1)] += uint32(r.cost) //nolint:gosec // a cost is at most MaxLimit
		w.total += r.cost
		w.refused = false
		p.allowed[sourceLocal].Add(1)
		return Decision{
			Allowed: true, Policy: p.name, Scope: r.scope, Limit: r.limit, Remaining: left - r.cost, Window: r.window,
			ResetAt: l.started.Add(now + r.window), Source: SourceLocal,
		}
	}
	d := denial{until: int64(w.admittedAt(r)), reset: int64(w.slotEnd(r, w.newest)), remaining: max(0, left)}
	source := sourceLocal
	if w.refused {
		source = sourceMemory
	}
	w.refused = true
	return l.recordRefused(t, now, d, source)
}

// advance drops the slots that no longer count at now. Where the length of the window has changed,
// what was counted counts as if it came now. w.mu is held.
func (w *ConnectionWindow) advance(r *rule, now time.Duration) {
	slot := int64(now / slotLength(r))
	if w.rule == nil || w.rule.window != r.window {
		w.counts, w.newest = &slots{}, slot
		w.counts[slot%(connectionSlots+1)] = uint32(w.total) //nolint:gosec // a limit is at most MaxLimit
	}
	w.rule = r
	if slot-w.newest > connectionSlots {
		*w.counts, w.total, w.newest = slots{}, 0, slot
	}
	for w.newest < slot {
		w.newest++
		over := &w.counts[w.newest%(connectionSlots+1)]
		w.total -= int(*over)
		*over = 0
	}
}

// admittedAt returns when enough has left the window for one more event. w.mu is held.
func (w *ConnectionWindow) admittedAt(r *rule) time.Duration {
	left := r.limit - w.total
	for slot := w.newest - connectionSlots; slot < w.newest; slot++ {
		if slot < 0 {
			continue
		}
		if left += int(w.counts[slot%(connectionSlots+1)]); left >= r.cost {
			return w.slotEnd(r, slot)
		}
	}
	return w.slotEnd(r, w.newest)
}

// slotEnd returns when the events of a slot no longer count.
func (w *ConnectionWindow) slotEnd(r *rule, slot int64) time.Duration {
	return time.Duration(slot+connectionSlots+1) * slotLength(r)
}

// slotLength is the length of a slot. It is rounded up, so that all slots are at least the window.
func slotLength(r *rule) time.Duration {
	return (r.window + connectionSlots - 1) / connectionSlots
}
