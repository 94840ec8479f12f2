package combat

import (
	"context"
	"sync"
)

// fightCache remembers the fights that this node served last, which saves the round trip that would
// read the state before each action. A remembered state may be out of date: the script that changes
// a fight notices, and returns the current state instead.
type fightCache struct {
	maxFights int

	mu     sync.Mutex
	fights map[string]*cachedFight // by id; guarded by mu
}

// cachedFight is what this node knows about one fight.
type cachedFight struct {
	fighters []Participant // as the fight was loaded: only for their ids, which never change

	turnToken  chan struct{} // holds one token; the goroutine that took it may act, so this node sends updates in order
	lastKnown State         // guarded by turn
}

// getFight returns the fight with that id, or nil.
func (r *fightCache) getFight(id string) *cachedFight {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fights[id]
}

// addFight remembers a fight and returns it. If the fight is known already, put returns what is known.
// When there are too many, any other fight is forgotten: its next action costs one more round trip.
func (r *fightCache) addFight(s State) *cachedFight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.fights[s.CombatID]; f != nil {
		return f
	}
	for id := range r.fights {
		if len(r.fights) < r.maxFights {
			break
		}
		delete(r.fights, id)
	}
	f := &cachedFight{fighters: s.Participants, lastKnown: s, turnToken: make(chan struct{}, 1)}
	f.turnToken <- struct{}{}
	r.fights[s.CombatID] = f
	return f
}

func (r *fightCache) removeFight(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fights, id)
}

// acquireTurn waits until the caller may act in the fight. The caller must leave afterwards.
func (f *cachedFight) acquireTurn(ctx context.Context) error {
	select {
	case <-f.turnToken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *cachedFight) releaseTurn() { f.turnToken <- struct{}{} }
