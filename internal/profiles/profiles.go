// Package profiles reads the profiles of users and characters. The profiles belong to a service of
// the game studio: [Upstream] asks that service over HTTP, and [Demo] makes profiles up for a
// developer's machine.
//
//	source, err := profiles.NewUpstream("https://accounts.internal/v1", profiles.Config{})
//	hero, err := source.Character(ctx, "char456")
//
// Both types have the methods User, Character and SaveCharacter; a consumer declares an interface
// with those that it needs. This package caches nothing.
package profiles

import (
	"fmt"
	"unicode/utf8"

	"github.com/aeturnis/realtime/fault"
)

// ErrNotFound means that there is no such user or character. It wraps the fault NOT_FOUND.
var ErrNotFound = fmt.Errorf("profile: %w", fault.ErrNotFound)

// A User is the public profile of a user.
type User struct {
	UserID     string   `json:"userId"`
	Username   string   `json:"username"`
	Level      int      `json:"level"`
	Characters []string `json:"characters"` // ids
	CreatedAt  int64    `json:"createdAt"`  // Unix ms
}

// A Character is the profile of a character, which belongs to one user.
type Character struct {
	CharacterID string `json:"characterId"`
	OwnerID     string `json:"ownerId"` // a user id
	Name        string `json:"name"`
	Class       string `json:"class"`
	Level       int    `json:"level"`
	Stats       Stats  `json:"stats"`
}

// Stats are a character's values at the start of a fight.
type Stats struct {
	MaxHP     int `json:"maxHp"`
	MaxEnergy int `json:"maxEnergy"`
	Attack    int `json:"attack"`
	Defense   int `json:"defense"`
	Speed     int `json:"speed"`
}

// The bounds of a character's fields.
const (
	maxName  = 64 // bytes
	maxLevel = 1000
	maxStat  = 1_000_000
)

// Validate returns the fault INVALID with the first field that is out of bounds, or nil.
func (c Character) Validate() error {
	switch {
	case !ValidID(c.CharacterID):
		return fault.Invalid("characterId", "1 to 128 of A-Z a-z 0-9 _ -")
	case !ValidID(c.OwnerID):
		return fault.Invalid("ownerId", "1 to 128 of A-Z a-z 0-9 _ -")
	case c.Name == "" || len(c.Name) > maxName || !utf8.ValidString(c.Name):
		return fault.Invalid("name", "1 to 64 bytes")
	case len(c.Class) > maxName || !utf8.ValidString(c.Class):
		return fault.Invalid("class", "at most 64 bytes")
	case c.Level < 1 || c.Level > maxLevel:
		return fault.Invalid("level", "1 to 1000")
	case c.Stats.MaxHP < 1 || c.Stats.MaxHP > maxStat:
		return fault.Invalid("stats.maxHp", "1 to 1000000")
	}
	for _, s := range []struct {
		name  string
		value int
	}{
		{"maxEnergy", c.Stats.MaxEnergy},
		{"attack", c.Stats.Attack},
		{"defense", c.Stats.Defense},
		{"speed", c.Stats.Speed},
	} {
		if s.value < 0 || s.value > maxStat {
			return fault.Invalid("stats."+s.name, "0 to 1000000")
		}
	}
	return nil
}

// ValidID reports whether an id has the form of a user's or a character's: 1 to 128 of A-Z a-z 0-9
// _ -. Such an id is safe in a path and in a Redis key; no other id is ever asked for.
func ValidID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
