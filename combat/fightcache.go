package combat

import (
	"context"
	"sync"
)

// recent remembers the fights that this node served last. What it knows may be old: the
// script that changes a fight finds out, and says what is true. It saves the round trip
// that would read the state before each action.
type recent struct {
	limit int

	mu     sync.Mutex
	fights map[string]*fight // by id; guarded by mu
}

// fight is what this node knows of one fight.
type fight struct {
	fighters []Participant // as they came in; only who they are matters, which never changes

	turn  chan struct{} // holds one token: who has it may act, so that this node tells of the turns in order
	known State         // guarded by turn
}

func (r *recent) get(id string) *fight {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fights[id]
}

// put remembers a fight, unless it is known already. When there are too many, any other is
// forgotten: its next action costs a round trip more.
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

func (f *fight) enter(ctx context.Context) error {
	select {
	case <-f.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fight) leave() { f.turn <- struct{}{} }
