package sessions

import (
	"slices"
	"time"
)

// latencies are how long the last revocations took.
type latencies struct {
	last [1024]time.Duration // a ring; guarded by Tracker.mu
	n    int64               // guarded by Tracker.mu
}

// note keeps how long a revocation was on its way. Clocks differ: below zero is zero, and
// what claims to be over a minute old is left out.
func (l *latencies) note(t *Tracker, rev Revocation) {
	d := max(0, t.store.now().Sub(rev.At))
	if rev.At.IsZero() || d >= time.Minute {
		return
	}
	t.metrics.latency.Observe(d.Seconds())
	t.mu.Lock()
	defer t.mu.Unlock()
	l.last[l.n%int64(len(l.last))] = d
	l.n++
}

// TrackerStats are figures about the sessions that are connected to this process.
type TrackerStats struct {
	Sessions int `json:"sessions"` // with at least one socket here
	Sockets  int `json:"sockets"`  // that hold one
	Pending  int `json:"pending"`  // touches that wait for Redis

	// Revocations that ended sockets here, and how long the last 1,024 of them took from the
	// end of the session until its sockets were told; ms.
	Revocations     int64   `json:"revocations"`
	RevocationP50Ms float64 `json:"revocationP50Ms"`
	RevocationP99Ms float64 `json:"revocationP99Ms"`
	RevocationMaxMs float64 `json:"revocationMaxMs"`
}

// Stats tells how it is now. It does not talk to Redis.
func (t *Tracker) Stats() TrackerStats {
	t.mu.Lock()
	out := TrackerStats{Sessions: len(t.sessions), Sockets: t.handles, Pending: len(t.pending), Revocations: t.took.n}
	last := slices.Clone(t.took.last[:min(t.took.n, int64(len(t.took.last)))])
	t.mu.Unlock()
	if len(last) == 0 {
		return out
	}
	slices.Sort(last)
	at := func(q float64) float64 {
		return float64(last[int(q*float64(len(last)-1)+.5)].Microseconds()) / 1000
	}
	out.RevocationP50Ms, out.RevocationP99Ms, out.RevocationMaxMs = at(.5), at(.99), at(1)
	return out
}
