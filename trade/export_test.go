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
	if name == "gift" {
		return append(settler.gift.Sources(), settler.leasedGift.Sources()...)
	}
	return map[string]*redisx.Script{"settle": settler.trade}[name].Sources()
}

// GiftOutcome tells what became of a gift under a claim.
var GiftOutcome = (*Service).giftOutcome

// LockName is the lock of two users.
var LockName = pairLockName

// Settled waits for what was written before.
var Settled = func(s *Service, ctx context.Context, key string) error { return s.confirmDurable(ctx, key) }
