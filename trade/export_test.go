package trade

import "github.com/aeturnis/realtime/internal/redisx"

// Sources are what Redis runs of a script, alone and for many calls, for tests that plant a bug in it.
func (s *Service) Sources(name string) []string {
	return map[string]*redisx.Script{"gift": s.guarded.gift, "settle": s.guarded.settle, "close": closeScript}[name].Sources()
}

// LockName is the lock of two users.
var LockName = lockName

// AppendMoves is the body of a ledger entry.
var AppendMoves = appendMoves

// Settled waits for what was written before.
var Settled = (*Service).settled
