package trade

import (
	"context"

	"github.com/aeturnis/realtime/internal/redisx"
)

// Sources are what Redis runs of a script, alone and for many calls, for tests that plant a bug in
// it.
func (s *Service) Sources(name string) []string {
	if name == "close" {
		return closeScript.Sources()
	}
	settler := s.settler.(*scriptSettler)
	return map[string]*redisx.Script{"gift": settler.giftScript, "settle": settler.tradeScript}[name].Sources()
}

// LockName is the lock of two users.
var LockName = pairLockName

// Settled waits for what was written before.
var Settled = func(s *Service, ctx context.Context, key string) error { return s.confirmDurable(ctx, key) }
