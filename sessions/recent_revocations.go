package sessions

import "time"

// recentRevocations are the revocations of the last ten seconds, 1,024 at most.
type memory struct {
	by    map[memoryKey]remembered
	order []memoryKey // oldest first
}

// A revocationKey names a session or a user; the other text is empty.
type memoryKey struct{ session, user string }

type remembered struct {
	rev Revocation
	at  time.Duration
}

func (m *memory) add(k memoryKey, rev Revocation, now time.Duration) {
	for len(m.order) > 0 && (len(m.order) >= rememberMost || m.by[m.order[0]].at < now-rememberFor) {
		delete(m.by, m.order[0])
		m.order = m.order[1:]
	}
	if _, known := m.by[k]; !known {
		m.order = append(m.order, k)
		m.by[k] = remembered{rev, now}
	}
}

func (m *memory) find(k memoryKey, now time.Duration) (Revocation, bool) {
	r, ok := m.by[k]
	return r.rev, ok && r.at >= now-rememberFor
}
