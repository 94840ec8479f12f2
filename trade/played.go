package trade

import (
	"errors"
	"sync"
)

// errWho is what the script of a gift answers when the receiver plays another than was thought.
var errWho = errors.New("trade: the receiver plays another character")

// playedMost is how many users are remembered.
const playedMost = 16384

// played remembers whom users played when they were given something. It may be out of date: the script
// of a gift looks.
type played struct {
	mu sync.Mutex
	by map[string]string // character by user, "" where a script can not tell; guarded by mu
}

func (p *played) get(user string) (character string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	character = p.by[user]
	return character, character != ""
}

// set takes in whom a user plays. thought is whom the script did not find, "" when it was not asked: where that is right all
// the same, it is not asked again.
func (p *played) set(user, character, thought string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, ok := p.by[user]; ok && was == "" {
		return
	}
	if p.by == nil || len(p.by) >= playedMost {
		p.by = map[string]string{} // all come back by and by
	}
	if character == thought {
		character = ""
	}
	p.by[user] = character
}
