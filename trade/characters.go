package trade

import (
	"context"
	"errors"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

// Characters knows which character a user plays. Codes: NOT_FOUND when the user has no character,
// UNAVAILABLE when that cannot be known now.
type Characters interface {
	CharacterOf(ctx context.Context, userID string) (string, error)
}

// ScriptCharacters are Characters that a script on the server of the trades can look up too. Then a
// gift to a user who was given something before takes one round trip: the script checks that the
// user still plays the same character.
type ScriptCharacters interface {
	Characters
	// CharacterLua returns Lua that defines character_of(user, now), with now in Unix ms. The function
	// returns the user's character, or another value when CharacterOf must be asked. CharacterLua
	// returns "" when a script on the server of the trades cannot know characters.
	CharacterLua() string
}

// resolveBoth finds the characters of the caller and of the other user. They differ.
func (c *core) resolveBoth(ctx context.Context, caller event.Player, otherID string) (own, other string, err error) {
	if otherID == caller.UserID {
		return "", "", ErrSelf
	}
	if own, err = c.resolveCaller(ctx, caller); err != nil {
		return "", "", err
	}
	if other, err = c.resolveReceiver(ctx, otherID); err != nil {
		return "", "", err
	}
	if own == other {
		return "", "", ErrSelf // two users play one character, which would trade with itself
	}
	return own, other, nil
}

// resolveCaller returns the character that the caller plays: the session's, else the user's.
func (c *core) resolveCaller(ctx context.Context, caller event.Player) (string, error) {
	if caller.CharacterID != "" {
		return caller.CharacterID, nil
	}
	id, err := c.characters.CharacterOf(ctx, caller.UserID)
	if errors.Is(err, fault.ErrNotFound) || err == nil && id == "" {
		return "", ErrNoCharacter
	}
	return id, wrapRedisError(err, "trade: character of the caller")
}

// resolveReceiver returns the character that a gift or a proposal goes to.
func (c *core) resolveReceiver(ctx context.Context, userID string) (string, error) {
	id, err := c.characters.CharacterOf(ctx, userID)
	if errors.Is(err, fault.ErrNotFound) || err == nil && id == "" {
		return "", errNoPlayer
	}
	return id, wrapRedisError(err, "trade: character of the receiver")
}
