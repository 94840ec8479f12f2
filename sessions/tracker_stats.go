package sessions

import (
	"slices"
	"time"
)

// revocationLatencies are how long the last revocations took.
type revocationLatencies struct {
	last  [1024]time.Duration // a ring buffer; guarded by Tracker.mu
	count int64               // guarded by Tracker.mu
}

// recordRevocation records how long a revocation took. Clocks differ: a negative time counts as
// zero, and a time of a minute or more is left out.
func (l *revocationLatencies) recordRevocation(t *Tracker, rev Revocation) {
	d := max(0, t.store.now().Sub(rev.At))
	if rev.At.IsZero() || d >= time.Minute {
		return
	}
	t.metrics.latency.Observe(d.Seconds())
	t.mu.Lock()
	defer t.mu.Unlock()
	l.last[l.count%int64(len(l.last))] = d
	l.count++
}

// TrackerStats are figures about the sessions that are connected to this process.
type TrackerStats struct {
	Sessions int `json:"sessions"` // sessions with at least one socket here
	Sockets  int `json:"sockets"`  // sockets that use a session
	Pending  int `json:"pending"`  // touches that wait for Redis

	// Revocations counts those that ended sockets here. The others are milliseconds from the end of
	// a session until its sockets were told, of the last 1,024 revocations.
	Revocations     int64   `json:"revocations"`
	RevocationP50Ms float64 `json:"revocationP50Ms"`
	RevocationP99Ms float64 `json:"revocationP99Ms"`
	RevocationMaxMs float64 `json:"revocationMaxMs"`
}

// Stats returns the figures of now. It does not talk to Redis.
func (t *Tracker) Stats() TrackerStats {
	t.mu.Lock()
	out := TrackerStats{Sessions: len(t.sessions), Sockets: t.handles, Pending: len(t.pending), Revocations: t.latencies.count}
	last := slices.Clone(t.latencies.last[:min(t.latencies.count, int64(len(t.latencies.last)))])
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
