// Package profiles knows users and their characters. They belong to another service, the
// studio's own: Upstream asks it over HTTP, and Demo makes them up for a developer's machine.
//
//	source, err := profiles.NewUpstream("https://accounts.internal/v1", profiles.Config{})
//	hero, err := source.Character(ctx, "char456")
//
// Both have the same methods, so a consumer states the one or two that it needs as an
// interface of its own. Nothing is cached here.
package profiles

import (
	"fmt"
	"unicode/utf8"

	"github.com/aeturnis/realtime/fault"
)

// ErrNotFound says that there is no such user or character. It is the fault NOT_FOUND.
var ErrNotFound = fmt.Errorf("profile: %w", fault.ErrNotFound)

// A User is what everybody may see of a player.
type User struct {
	UserID     string   `json:"userId"`
	Username   string   `json:"username"`
	Level      int      `json:"level"`
	Characters []string `json:"characters"` // ids
	CreatedAt  int64    `json:"createdAt"`  // Unix ms
}

// A Character belongs to one user.
type Character struct {
	CharacterID string `json:"characterId"`
	OwnerID     string `json:"ownerId"` // a user id
	Name        string `json:"name"`
	Class       string `json:"class"`
	Level       int    `json:"level"`
	Stats       Stats  `json:"stats"`
}

// Stats are what a fight starts from.
type Stats struct {
	MaxHP     int `json:"maxHp"`
	MaxEnergy int `json:"maxEnergy"`
	Attack    int `json:"attack"`
	Defense   int `json:"defense"`
	Speed     int `json:"speed"`
}

// Bounds of what anybody may store.
const (
	maxName  = 64 // bytes
	maxLevel = 1000
	maxStat  = 1_000_000
)

// Validate returns an INVALID fault that names the first field that can not be.
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

// ValidID tells whether an id could be one: 1 to 128 of A-Z a-z 0-9 _ -. No other is ever
// asked for, so an id is safe in a path and in a key.
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
