package combat

import (
	"context"
	"sync"
)

// recent remembers the fights that this node served last, which saves the round trip that would
// read the state before each action. A remembered state may be out of date: the script that changes
// a fight notices, and returns the current state instead.
type recent struct {
	limit int

	mu     sync.Mutex
	fights map[string]*fight // by id; guarded by mu
}

// fight is what this node knows about one fight.
type fight struct {
	fighters []Participant // as the fight was loaded: only for their ids, which never change

	turn  chan struct{} // holds one token; the goroutine that took it may act, so this node sends updates in order
	known State         // guarded by turn
}

// get returns the fight with that id, or nil.
func (r *recent) get(id string) *fight {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fights[id]
}

// put remembers a fight and returns it. If the fight is known already, put returns what is known.
// When there are too many, any other fight is forgotten: its next action costs one more round trip.
func (r *recent) put(s State) *fight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.fights[s.CombatID]; f != nil {
		return f
	}
	for id := range r.fights {
		if len(r.fights) < r.limit {
			break
		}
		delete(r.fights, id)
	}
	f := &fight{fighters: s.Participants, known: s, turn: make(chan struct{}, 1)}
	f.turn <- struct{}{}
	r.fights[s.CombatID] = f
	return f
}

func (r *recent) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fights, id)
}

// enter waits until the caller may act in the fight. The caller must leave afterwards.
func (f *fight) enter(ctx context.Context) error {
	select {
	case <-f.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fight) leave() { f.turn <- struct{}{} }
