package trade

import (
	"errors"
	"sync"
)

// errOtherCharacter says that the script of a gift has moved nothing, because the receiver plays
// another character than was guessed.
var errOtherCharacter = errors.New("trade: the receiver plays another character")

// maxReceivers is how many users a receiverCache remembers.
const maxReceivers = 16384

// A receiverCache remembers which character users played when they were last given something. It
// may be out of date: the script of a gift checks it.
type receiverCache struct {
	isUsed bool // the script can check it; set once

	mu     sync.Mutex
	byUser map[string]string // character by user, "" where a script cannot tell; guarded by mu
}

// guessCharacter returns the character that the receiver of a gift played last, "" when it is not
// known or cannot be the receiver's.
func (r *receiverCache) guessCharacter(g giftRequest) (character string) {
	if !r.isUsed || g.giver.CharacterID == "" {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if character = r.byUser[g.to]; character == g.giver.CharacterID {
		return ""
	}
	return character
}

// rememberCharacter notes which character a user plays. guessed is the character that the script
// did not confirm, "" when it was not asked. If that one is right all the same, the script cannot
// tell for this user, and is not asked again.
func (r *receiverCache) rememberCharacter(userID, character, guessed string) {
	if !r.isUsed {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.byUser[userID]; ok && known == "" {
		return
	}
	if r.byUser == nil || len(r.byUser) >= maxReceivers {
		r.byUser = map[string]string{} // it fills again by and by
	}
	if character == guessed {
		character = ""
	}
	r.byUser[userID] = character
}
