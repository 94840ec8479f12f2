package profiles

import (
	"context"
	"hash/fnv"
	"strings"
	"sync"
)

// Demo makes up users and characters for a developer's machine. Every valid id exists, and has the
// same profile in every process, because the profile is computed from the id. A user has two
// characters: one with the user's own id, as guests have it, and one with AltSuffix appended. So an
// id that ends with AltSuffix belongs to a character and to no user. An id that starts with
// NobodyPrefix does not exist, so that a developer can try NOT_FOUND.
//
// Saved characters are kept in this process, at most 10,000.
type Demo struct {
	mu    sync.Mutex
	saved map[string]Character // by id; guarded by mu
}

// The parts of an id that have a meaning in the demo.
const (
	NobodyPrefix = "nobody" // at the start: there is no such user or character
	AltSuffix    = "-alt"   // at the end: a user's second character
)

const maxSaved = 10_000

// demoStart is the earliest createdAt of a user: 2025-01-01 UTC, in Unix ms.
const demoStart = 1_735_689_600_000

// NewDemo returns a Demo in which no character has been saved.
func NewDemo() *Demo { return &Demo{saved: make(map[string]Character)} }

// User returns the user with the id, or ErrNotFound.
func (*Demo) User(_ context.Context, id string) (User, error) {
	if !existsInDemo(id) {
		return User{}, ErrNotFound
	}
	seed := seedFromID(id)
	return User{
		UserID: id, Username: id, Level: 1 + int(seed%50),
		Characters: []string{id, id + AltSuffix},
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
	owner := strings.TrimSuffix(id, AltSuffix)
	if !existsInDemo(owner) {
		return Character{}, ErrNotFound
	}
	seed := seedFromID("character of " + id)
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
		return unavailableFault("demo: full", nil)
	}
	d.saved[c.CharacterID] = c.Clean()
	return nil
}

// existsInDemo reports whether the demo has a user with that id.
func existsInDemo(id string) bool {
	return ValidID(id) && !strings.HasPrefix(id, NobodyPrefix) && !strings.HasSuffix(id, AltSuffix)
}

// classes differ little, so that a fight between any two is fair.
var classes = []struct {
	name  string
	stats Stats
}{
	{"warrior", Stats{MaxHP: 110, MaxEnergy: 40, Attack: 20, Defense: 10, Speed: 8}},
	{"ranger", Stats{MaxHP: 100, MaxEnergy: 50, Attack: 20, Defense: 8, Speed: 12}},
	{"mage", Stats{MaxHP: 90, MaxEnergy: 70, Attack: 22, Defense: 6, Speed: 10}},
}

// seedFromID returns the number from which the profile of an id is computed.
func seedFromID(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64()
}
