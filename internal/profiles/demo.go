package profiles

import (
	"context"
	"hash/fnv"
	"strings"
	"sync"
)

// Demo is a world for a developer's machine: everybody exists, and is the same in every
// process, because all of it comes from the id. A user has two characters: one whose id is
// the user's own, as guests have it, and one with Alt behind it; so an id that ends with
// Alt is a character's and no user's. Nobody, and whoever's id starts with it, does not
// exist, so that NOT_FOUND can be tried.
//
// What is saved is kept in this process, for up to 10,000 characters.
type Demo struct {
	mu    sync.Mutex
	saved map[string]Character // by id; guarded by mu
}

// What ids of the demo world mean.
const (
	Nobody = "nobody"
	Alt    = "-alt"
)

const maxSaved = 10_000

// demoStart is the createdAt of the first users of the demo world: 2025-01-01 UTC.
const demoStart = 1_735_689_600_000

// NewDemo makes the world.
func NewDemo() *Demo { return &Demo{saved: make(map[string]Character)} }

// User returns the user with the id, or ErrNotFound.
func (*Demo) User(_ context.Context, id string) (User, error) {
	if !exists(id) {
		return User{}, ErrNotFound
	}
	seed := seedOf(id)
	return User{
		UserID: id, Username: id, Level: 1 + int(seed%50),
		Characters: []string{id, id + Alt},
		CreatedAt:  demoStart + int64(seed%(365*24*3600))*1000,
	}, nil
}

// Character returns the character with the id, or ErrNotFound.
func (d *Demo) Character(_ context.Context, id string) (Character, error) {
	d.mu.Lock()
	saved, ok := d.saved[id]
	d.mu.Unlock()
	if ok {
		return saved, nil
	}
	owner := strings.TrimSuffix(id, Alt)
	if !exists(owner) {
		return Character{}, ErrNotFound
	}
	seed := seedOf("character of " + id)
	class := classes[seed%uint64(len(classes))]
	level := 1 + int(seed/16%50)
	s := class.stats
	s.MaxHP += 2 * level
	s.Attack += level / 10
	return Character{
		CharacterID: id, OwnerID: owner, Name: id, Class: class.name, Level: level, Stats: s,
	}, nil
}

// SaveCharacter stores a character under its id. Errors: INVALID, and UNAVAILABLE when the
// demo is full.
func (d *Demo) SaveCharacter(_ context.Context, c Character) error {
	if err := c.Validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.saved[c.CharacterID]; !known && len(d.saved) >= maxSaved {
		return unavailable("demo: full", nil)
	}
	d.saved[c.CharacterID] = c
	return nil
}

// exists tells whether the demo world has a user of that id.
func exists(id string) bool {
	return ValidID(id) && !strings.HasPrefix(id, Nobody) && !strings.HasSuffix(id, Alt)
}

// classes differ little, so that fights between any two stay fair.
var classes = []struct {
	name  string
	stats Stats
}{
	{"warrior", Stats{MaxHP: 110, MaxEnergy: 40, Attack: 20, Defense: 10, Speed: 8}},
	{"ranger", Stats{MaxHP: 100, MaxEnergy: 50, Attack: 20, Defense: 8, Speed: 12}},
	{"mage", Stats{MaxHP: 90, MaxEnergy: 70, Attack: 22, Defense: 6, Speed: 10}},
}

func seedOf(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64()
}
