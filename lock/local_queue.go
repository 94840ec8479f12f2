package lock

import (
	"context"
	"sync"
)

// localQueues make the callers of this process that want the same name ask Redis one after the
// other. They are served in order, a release here wakes the next one at once, and Redis is asked
// by one caller of each process.
type localQueues struct {
	mu     sync.Mutex
	byName map[string]*localQueue // guarded by mu; only names that a caller holds or wants
}

type localQueue struct {
	name       string
	slot       chan struct{} // full while a caller has the ticket
	users      int           // the owner of the ticket and all that wait for it; guarded by localQueues.mu
	isTaken    bool          // what Redis last said: this or another process holds the lock; guarded by localQueues.mu
	takenKnown chan struct{} // closed while isTaken; guarded by localQueues.mu
	isWanted   bool          // another process waited for the lock at the last release here; guarded by localQueues.mu
	wantedFrom uint64        // the ticket whose release said so; guarded by localQueues.mu
	tickets    uint64        // how many there were; guarded by localQueues.mu
}

// A ticket is the right to ask Redis for the lock of a name, and then to hold it. done gives it
// back.
type ticket struct {
	*localQueue
	queues *localQueues
	number uint64 // of those of the queue
	once   sync.Once
}

// newTicket is called with mu held, by the caller that has the slot.
func (q *localQueues) newTicket(queue *localQueue) *ticket {
	queue.tickets++
	return &ticket{localQueue: queue, queues: q, number: queue.tickets}
}

// takeFreeTicket takes the ticket of a name. If another caller of this process has it, it returns
// the queue for waitForTicket, which must be called then.
func (q *localQueues) takeFreeTicket(name string) (*ticket, *localQueue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	queue := q.byName[name]
	if queue == nil {
		queue = &localQueue{name: name, slot: make(chan struct{}, 1), takenKnown: make(chan struct{})}
		q.byName[name] = queue
	}
	queue.users++
	select { // a free ticket wins over a context that has ended
	case queue.slot <- struct{}{}:
		return q.newTicket(queue), nil
	default:
		return nil, queue
	}
}

// waitForTicket waits for the ticket of a queue, or for the end of the context. Without mayWait it
// gives up as soon as it is known that the lock is taken. taken tells whether the lock is known to
// be taken.
func (q *localQueues) waitForTicket(ctx context.Context, queue *localQueue, mayWait bool) (t *ticket, taken bool) {
	var takenKnown chan struct{} // with mayWait, nobody sends
	if !mayWait {
		q.mu.Lock()
		takenKnown = queue.takenKnown
		q.mu.Unlock()
	}
	hasSlot := false
	select {
	case queue.slot <- struct{}{}:
		hasSlot = true
	case <-takenKnown:
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if hasSlot {
		if ctx.Err() == nil {
			return q.newTicket(queue), queue.isTaken
		}
		<-queue.slot // the callers before ended because of the same deadline
	}
	q.removeUser(queue)
	return nil, queue.isTaken
}

// removeUser is called with mu held.
func (q *localQueues) removeUser(queue *localQueue) {
	if queue.users--; queue.users == 0 {
		delete(q.byName, queue.name)
	}
}

// markTaken tells the callers in the queue what Redis said: that the lock is taken, perhaps by
// the owner of this ticket, or (false) that nothing is known.
func (t *ticket) markTaken(taken bool) {
	t.queues.mu.Lock()
	defer t.queues.mu.Unlock()
	switch {
	case taken == t.isTaken:
	case taken:
		close(t.takenKnown)
	default:
		t.takenKnown = make(chan struct{})
	}
	t.isTaken = taken
}

// isWantedElsewhere tells whether another process waited for the lock at the last release here.
func (t *ticket) isWantedElsewhere() bool {
	t.queues.mu.Lock()
	defer t.queues.mu.Unlock()
	return t.isWanted
}

// setWantedElsewhere notes what the release of this ticket's lease said. The ticket may have been
// passed on before, so that later releases have said something newer: then that stays.
func (t *ticket) setWantedElsewhere(wanted bool) {
	t.queues.mu.Lock()
	defer t.queues.mu.Unlock()
	if t.number >= t.wantedFrom {
		t.isWanted, t.wantedFrom = wanted, t.number
	}
}

// done gives the ticket to the next caller. A second call does nothing.
func (t *ticket) done() {
	t.once.Do(func() {
		<-t.slot
		t.queues.mu.Lock()
		defer t.queues.mu.Unlock()
		t.queues.removeUser(t.localQueue)
	})
}
