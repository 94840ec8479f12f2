package sessions

import "time"

// recentRevocations are the revocations of the last ten seconds, 1,024 at most.
type recentRevocations struct {
	byKey map[revocationKey]rememberedRevocation
	order []revocationKey // oldest first
}

// A revocationKey names a session or a user; the other text is empty.
type revocationKey struct{ session, user string }

type rememberedRevocation struct {
	rev Revocation
	at  time.Duration
}

func (m *recentRevocations) add(k revocationKey, rev Revocation, now time.Duration) {
	for len(m.order) > 0 && (len(m.order) >= maxRecentRevocations || m.byKey[m.order[0]].at < now-recentRevocationsFor) {
		delete(m.byKey, m.order[0])
		m.order = m.order[1:]
	}
	if _, known := m.byKey[k]; !known {
		m.order = append(m.order, k)
		m.byKey[k] = rememberedRevocation{rev, now}
	}
}

func (m *recentRevocations) lookup(k revocationKey, now time.Duration) (Revocation, bool) {
	r, ok := m.byKey[k]
	return r.rev, ok && r.at >= now-recentRevocationsFor
}
