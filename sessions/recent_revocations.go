package sessions

import "time"

// memory is the revocations of the last seconds, bounded.
type memory struct {
	by    map[memoryKey]remembered
	order []memoryKey // oldest first
}

type memoryKey struct{ session, user string } // one of the two

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
