package trade

import (
	"context"
	"errors"
)

// A settler moves goods and writes the ledger's entry, all or nothing. New chooses it once:
// scriptSettler on one Redis server (or a Sentinel set), wherever the locks lie; sagaSettler on a
// Cluster.
//
// Every settlement between two users is inside the lock of the pair (ADR 5), and its scripts do not
// rely on the holder's word:
//
//	one server, locks there      gift.lua and settle.lua call enter of lock/script_guard.lua.
//	                             Without a lease it refuses ("held") while anybody has the lock;
//	                             with a lease it refuses ("stale") unless the lock is there with
//	                             its fence.
//	one server, locks elsewhere  runUnderLease takes the lease. The same scripts call enter of
//	                             fence.lua, which refuses a fence that is older than one under
//	                             which the pair settled since.
//	Cluster                      runUnderLease takes the lease. claim.lua refuses an older fence in
//	                             the same way, and the decision (end.lua) refuses any fence but the
//	                             one that the settlement began under. A later holder ends what an
//	                             earlier one left before it goes on.
//
// TestOnOneServerWithItsLocks, TestOnOneServer and TestOnACluster show it by the rules "nothing
// settles outside the lock" and "a stale holder can not commit", with
// TestALeaseFromBeforeCommitsNothing for leases where the scripts check the locks.
//
// A mint has no pair and no lock: its key makes it happen once. What follows a decision needs no
// lock either: each of its steps does nothing when it is repeated.
type settler interface {
	// settleGift moves a gift and tells both sides, or returns the trade that it made before.
	settleGift(ctx context.Context, g giftRequest) (Trade, error)
	// settleTrade settles a trade that the side's partner has accepted, and tells both sides. If one
	// side cannot keep its offer, the trade ends as failed.
	settleTrade(ctx context.Context, d settlement, side int) (Trade, error)
	// settleMint makes goods come into being, once for each ref. errMinted tells that the ledger has
	// an entry for the ref already.
	settleMint(ctx context.Context, ref, characterID string, goods Goods) error
}

// errMinted is what a settler returns when a mint's ref has an entry in the ledger.
var errMinted = errors.New("trade: minted before")
