package once

import (
	"sync"
	"time"

	"github.com/aeturnis/realtime/event"
)

// The bounds of one generation. This node remembers the events of one at least.
const (
	generationLength = 8192
	generationBytes  = 32 << 20 // of answers
)

// memory is what this node knows without Redis: which events are under way here, the answers that
// it gave, and the claims that it gave up. The latter two are kept in two generations: when the
// younger is full, it becomes the older, and the older is forgotten.
type memory struct {
	now func() time.Time

	mu         sync.Mutex
	running    map[string]*run       // by record; guarded by mu
	young, old map[string]remembered // by record; guarded by mu
	youngBytes int                   // of the answers in young; guarded by mu
}

// A run is an event that is under way on this node.
type run struct {
	digest string
	done   chan struct{} // closed at the end
	answer string        // the recorded answer, "" for none; read it after done
}

// A remembered event was answered, or given up.
type remembered struct {
	digest string
	answer string // "" when there is none
	isDone bool   // it was done, and its answer is too long; else, without an answer, it was given up
	until  time.Time
}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, running: map[string]*run{}, young: map[string]remembered{}}
}

// startRun begins an event. When the same event is under way, isFirst is false and r is the run to
// wait for. Otherwise known is what this node remembers of it.
func (m *memory) startRun(c *event.Claim) (r *run, isFirst bool, known remembered, isKnown bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.running[c.Record]; r != nil {
		return r, false, known, false
	}
	known, isKnown = m.young[c.Record]
	if !isKnown {
		known, isKnown = m.old[c.Record]
	}
	isKnown = isKnown && m.now().Before(known.until)
	r = &run{digest: c.Digest, done: make(chan struct{})}
	m.running[c.Record] = r
	return r, true, known, isKnown
}

// finishRun ends a run, and lets those go on who wait for it.
func (m *memory) finishRun(record string, r *run, answer string) {
	m.mu.Lock()
	delete(m.running, record)
	m.mu.Unlock()
	r.answer = answer
	close(r.done)
}

// rememberEvent keeps what became of an event.
func (m *memory) rememberEvent(record string, known remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.old, record)
	before, isOld := m.young[record]
	m.youngBytes += len(known.answer) - len(before.answer)
	if !isOld && len(m.young) >= generationLength || m.youngBytes > generationBytes {
		delete(m.young, record)
		m.young, m.old, m.youngBytes = map[string]remembered{}, m.young, len(known.answer)
	}
	m.young[record] = known
}
