package trade

import (
	"time"

	"github.com/aeturnis/realtime/script"
)

// Sources are what Redis runs of a script, alone and for many calls, for tests that plant a bug in it.
func Sources(name string) []string {
	g := guard("", "", 24*time.Hour)
	return map[string]*script.Script{"gift": g.gift, "settle": g.settle, "close": closeScript}[name].Sources()
}

// LockName is the lock of two users.
var LockName = lockName

// AppendMoves is the body of a ledger entry.
var AppendMoves = appendMoves
