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
	by map[string]string // character by user; guarded by mu
}

func (p *played) get(user string) (character string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	character, ok = p.by[user]
	return character, ok
}

func (p *played) set(user, character string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil || len(p.by) >= playedMost {
		p.by = map[string]string{} // all come back by and by
	}
	p.by[user] = character
}
