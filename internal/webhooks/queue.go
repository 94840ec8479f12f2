package webhooks

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// An entry is an event that waits. Its order is in memory; its content may be in Redis only.
type entry struct {
	event      waitingEvent // only its place when hasContent is false
	hasContent bool
	order      []string // what it must not overtake: see Event.orderKeys

	tries     int // that failed
	due       time.Time
	lastError string
	refusals  int   // tries that failed after the receiver had taken others since the try before
	successes int64 // Dispatcher.successes at the last try that failed
	isMarked  bool  // by countHeldUp

	blockers  int      // earlier events of its players that are not removed
	followers []*entry // that wait for it; one is there once for each player
}

// A queue orders events: each waits for the earlier ones of all its players. It is not safe for
// concurrent use.
type queue struct {
	size     int
	contents int               // events whose content is in memory
	ready    readyHeap         // events that nothing blocks, and that are not posted now
	last     map[string]*entry // by key of a player: the newest event
	count    map[string]int    // by key of a player: events
	known    map[string]bool   // by place
}

func newQueue() *queue {
	return &queue{last: map[string]*entry{}, count: map[string]int{}, known: map[string]bool{}}
}

// hasPlace reports whether the event at a place is in the queue.
func (q *queue) hasPlace(place string) bool { return q.known[place] }

// addEntry puts an event behind all others of its players. Where there are enough contents in
// memory, it leaves this one in Redis.
func (q *queue) addEntry(e *entry) {
	q.size++
	q.known[e.event.place] = true
	e.order, e.hasContent = e.event.orderKeys(), true
	if q.contents++; q.contents > maxContents {
		q.dropContent(e)
	}
	for _, key := range e.order {
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

// dropContent leaves the content of an event in Redis only.
func (q *queue) dropContent(e *entry) {
	if e.hasContent {
		q.contents--
		e.hasContent, e.event = false, waitingEvent{place: e.event.place}
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
	q.dropContent(e)
	for _, key := range e.order {
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
	for _, key := range e.order {
		most = max(most, q.count[key]-1)
	}
	return most
}

// putBack puts an event back that takeDue returned and that was not delivered.
func (q *queue) putBack(e *entry) { heap.Push(&q.ready, e) }

// makeAllDue has the events that failed posted again at once, behind those that were never tried.
func (q *queue) makeAllDue(now time.Time) {
	for _, e := range q.ready {
		if e.due.After(now) {
			e.due = now
		}
	}
	heap.Init(&q.ready)
}

// takeFailed takes the events that fit out of those that are ready, oldest first, at most most. The
// caller calls removeEntry or putBack.
func (q *queue) takeFailed(most int, fits func(e *entry) bool) (taken []*entry) {
	for _, e := range q.ready {
		if e.tries > 0 && fits(e) {
			taken = append(taken, e)
		}
	}
	slices.SortFunc(taken, func(a, b *entry) int { return comparePlaces(a.event.place, b.event.place) })
	taken = taken[:min(len(taken), most)]
	if len(taken) == 0 {
		return nil
	}
	isTaken := make(map[*entry]bool, len(taken))
	for _, e := range taken {
		isTaken[e] = true
	}
	q.ready = slices.DeleteFunc(q.ready, func(e *entry) bool { return isTaken[e] })
	heap.Init(&q.ready)
	return taken
}

// countHeldUp counts the events that failed, and those that wait for them.
func (q *queue) countHeldUp() int {
	var all []*entry
	for _, e := range q.ready {
		if e.tries > 0 {
			e.isMarked = true
			all = append(all, e)
		}
	}
	for i := 0; i < len(all); i++ {
		for _, f := range all[i].followers {
			if !f.isMarked {
				f.isMarked = true
				all = append(all, f)
			}
		}
	}
	for _, e := range all {
		e.isMarked = false
	}
	return len(all)
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
	return comparePlaces(h[i].event.place, h[j].event.place) < 0
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

// comparePlaces compares places in the stream. They are <ms>-<number>; the two parts are numbers
// without leading zeros, of which a shorter one is less.
func comparePlaces(a, b string) int {
	aTime, aNumber, _ := strings.Cut(a, "-")
	bTime, bNumber, _ := strings.Cut(b, "-")
	return cmp.Or(cmp.Compare(len(aTime), len(bTime)), cmp.Compare(aTime, bTime),
		cmp.Compare(len(aNumber), len(bNumber)), cmp.Compare(aNumber, bNumber))
}
