package webhooks

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// An entry is an event in memory.
type entry struct {
	event     waitingEvent
	tries     int // that failed
	due       time.Time
	lastError string

	blockers  int      // earlier events of its players that are not removed
	followers []*entry // that wait for it; one is there once for each player
}

// A queue orders events: each waits for the earlier ones of all its players. It is not safe for
// concurrent use.
type queue struct {
	size  int
	ready readyHeap         // events that nothing blocks, and that are not posted now
	last  map[string]*entry // by key of a player: the newest event
	count map[string]int    // by key of a player: events
	known map[string]bool   // by place
}

func newQueue() *queue {
	return &queue{last: map[string]*entry{}, count: map[string]int{}, known: map[string]bool{}}
}

// hasPlace reports whether the event at a place is in the queue.
func (q *queue) hasPlace(place string) bool { return q.known[place] }

// addEntry puts an event behind all others of its players.
func (q *queue) addEntry(e *entry) {
	q.size++
	q.known[e.event.place] = true
	for _, key := range e.event.orderKeys() {
		if earlier := q.last[key]; earlier != nil {
			earlier.followers = append(earlier.followers, e)
			e.blockers++
		}
		q.last[key] = e
		q.count[key]++
	}
	if e.blockers == 0 {
		heap.Push(&q.ready, e)
	}
}

// takeDue takes the event that is due first, or returns nil and after how long one is due. The
// caller calls remove or putBack.
func (q *queue) takeDue(now time.Time) (*entry, time.Duration) {
	if len(q.ready) == 0 {
		return nil, idleEvery
	}
	if wait := q.ready[0].due.Sub(now); wait > 0 {
		return nil, min(wait, idleEvery)
	}
	return heap.Pop(&q.ready).(*entry), 0
}

// removeEntry forgets an event that takeDue returned. Those behind it go on.
func (q *queue) removeEntry(e *entry) {
	if !q.known[e.event.place] {
		return
	}
	delete(q.known, e.event.place)
	q.size--
	for _, key := range e.event.orderKeys() {
		if q.last[key] == e {
			delete(q.last, key)
		}
		if q.count[key]--; q.count[key] == 0 {
			delete(q.count, key)
		}
	}
	for _, f := range e.followers {
		if f.blockers--; f.blockers == 0 {
			heap.Push(&q.ready, f)
		}
	}
	e.followers = nil
}

// countBehind returns how many events of the player with the most of them wait behind an event.
func (q *queue) countBehind(e *entry) (most int) {
	for _, key := range e.event.orderKeys() {
		most = max(most, q.count[key]-1)
	}
	return most
}

// putBack puts an event back that takeDue returned and that was not delivered.
func (q *queue) putBack(e *entry) { heap.Push(&q.ready, e) }

// makeAllDue has the events that failed posted again at once.
func (q *queue) makeAllDue() {
	for _, e := range q.ready {
		e.due = time.Time{}
	}
	heap.Init(&q.ready)
}

// addJitter returns about d: three quarters of it, and up to half of it more.
func addJitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1) //nolint:gosec // no secret
}

// readyHeap has the event on top that is due first; of those that were never tried, the oldest.
type readyHeap []*entry

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return isEarlierPlace(h[i].event.place, h[j].event.place)
}

func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
}

func (h *readyHeap) Push(x any) {
	e := x.(*entry) //nolint:forcetypeassert // heap.Interface has no types
	*h = append(*h, e)
}

func (h *readyHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

// isEarlierPlace reports whether a place in the stream is before another one. Places are
// <ms>-<number>: a shorter text is earlier while the digits of the time are as many.
func isEarlierPlace(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}
