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

	// turnToken holds one token. Only the goroutine that took it may act, so this node sends the
	// updates of a fight in order.
	turnToken chan struct{}
	lastKnown State // guarded by turnToken
}

// getFight returns the fight with that id, or nil.
func (c *fightCache) getFight(id string) *cachedFight {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fights[id]
}

// rememberFight remembers a fight and returns it. If the fight is known already,
// rememberFight returns what is known. When there are too many, any other fight is forgotten: its
// next action costs one more round trip.
func (c *fightCache) rememberFight(s State) *cachedFight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.fights[s.CombatID]; f != nil {
		return f
	}
	for id := range c.fights {
		if len(c.fights) < c.maxFights {
			break
		}
		delete(c.fights, id)
	}
	f := &cachedFight{fighters: s.Participants, lastKnown: s, turnToken: make(chan struct{}, 1)}
	f.turnToken <- struct{}{}
	c.fights[s.CombatID] = f
	return f
}

// forgetFight removes a fight.
func (c *fightCache) forgetFight(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fights, id)
}

// acquireTurn waits until the caller may act in the fight. The caller must call releaseTurn
// afterwards.
func (f *cachedFight) acquireTurn(ctx context.Context) error {
	select {
	case <-f.turnToken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// releaseTurn lets the next caller act.
func (f *cachedFight) releaseTurn() { f.turnToken <- struct{}{} }
