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
	"strings"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
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

// clean returns the user with a name that is fit to be shown.
func (u User) clean() User {
	u.Username = identity.DisplayName(u.Username, u.UserID)
	return u
}

// Clean returns the character with a name and a class that are fit to be shown, by the rule of all
// display names. An empty name becomes the id.
func (c Character) Clean() Character {
	c.Name = identity.DisplayName(c.Name, c.CharacterID)
	c.Class = identity.DisplayName(c.Class, "")
	return c
}

// The bounds of a character's fields.
const (
	maxLevel = 1000
	maxStat  = 1_000_000
)

// Validate returns the fault INVALID with the first field that is out of bounds, or nil. Names are
// never refused: see Clean.
func (c Character) Validate() error {
	switch {
	case !ValidID(c.CharacterID):
		return fault.Invalid("characterId", idRule)
	case !ValidID(c.OwnerID):
		return fault.Invalid("ownerId", idRule)
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

// idRule is what ValidID asks for, in words that complete "must be".
const idRule = identity.IDRule + `, without / \ % ? and #`

// ValidID reports whether an id is one of a user or a character that is safe in a path: an id as
// package identity has it, without / \ % ? and #, and neither . nor "..": players choose ids, and a
// service may decode a path twice. No other id is ever asked for.
func ValidID(id string) bool {
	return identity.IsID(id) && !strings.ContainsAny(id, `/\%?#`) && id != "." && id != ".."
}
