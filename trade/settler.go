package trade

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// A settler moves goods and writes the ledger's entry, all or nothing. New chooses it once:
// scriptSettler on one Redis server (or a Sentinel set), wherever the locks lie; sagaSettler on a Cluster.
//
// Every settlement between two users is inside the lock of the pair (ADR 5), and its scripts do not rely
// on the holder's word:
//
//	one server, locks there      gift.lua and settle.lua call enter of lock/inside.lua. Without a lease it
//	                             refuses ("held") while anybody has the lock; with a lease it refuses ("stale")
//	                             unless the lock is there with the caller's fence.
//	one server, locks elsewhere  withLease takes the lease. The same scripts call enter of fence.lua, which
//	                             refuses a fence that is older than one under which the pair settled since.
//	Cluster                      withLease takes the lease. claim.lua refuses an older fence in the same way, and
//	                             the decision (end.lua) refuses any fence but the one that the settlement began
//	                             under. A later holder ends what an earlier one left before it goes on.
//
// A mint has no pair and no lock: its key makes it happen once. What follows a decision needs no lock
// either: each of its steps does nothing when it is repeated.
type settler interface {
	// settleGift moves a gift and tells both sides, or returns the trade that it made before.
	settleGift(ctx context.Context, g giftRequest) (Trade, error)
	// settleTrade settles a trade that the side's partner has accepted, and tells both sides. If one side
	// cannot keep its offer, the trade ends as failed.
	settleTrade(ctx context.Context, d settlement, side int) (Trade, error)
	// settleMint makes goods come into being, once for each ref. errMinted tells that the ledger has an
	// entry for the ref already.
	settleMint(ctx context.Context, ref, characterID string, goods Goods) error
}

// errMinted is what a settler returns when a mint's ref has an entry in the ledger.
var errMinted = errors.New("trade: minted before")

// findEarlierGift returns the trade that an idempotency key stands for, nil when the key is free, and
// CONFLICT when the key came with another body. record is what stands in the key's record. LOCKED: the
// gift is being settled.
func (c *core) findEarlierGift(ctx context.Context, g giftRequest) (earlier *Trade, record string, err error) {
	record, err = c.rdb.Get(ctx, g.recordKey).Result()
	if isNil(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", wrapRedisError(err, "trade: look up the key")
	}
	id, bodyHash, _ := strings.Cut(record, " ")
	d, err := c.findSettlement(ctx, id)
	switch {
	case err == nil && d.Status == Failed: // nothing moved
		return nil, record, nil
	case bodyHash != g.bodyHash:
		return nil, "", fault.ErrConflict.With("field", "idempotencyKey")
	case err == nil && d.Status == Settling:
		return nil, "", fault.ErrLocked
	case err == nil:
		return &d.Trade, record, wrapRedisError(c.confirmDurable(ctx, keys.Trade(id)), "trade "+id+": confirm")
	case !errors.Is(err, fault.ErrNotFound):
		return nil, "", err
	}
	shown, err := c.findTrade(ctx, id)
	switch {
	case errors.Is(err, fault.ErrNotFound): // the ledger keeps it longer than the record: somebody deleted it
		return nil, "", fmt.Errorf("trade %s: completed under this key, and gone: %v", id, err) //nolint:errorlint // wrapped, it would be shown as NOT_FOUND
	case err != nil:
		return nil, "", err
	}
	return &shown, record, wrapRedisError(c.confirmDurable(ctx, keys.TradeLedgerIndex), "trade "+id+": confirm")
}

// failTrade ends a trade that cannot be settled, by a transition to Failed, and tells both. It returns
// reason, or what else became of the trade meanwhile.
func (c *core) failTrade(ctx context.Context, d settlement, t transition, reason *fault.Fault) error {
	if _, err := c.scheduleCheck(ctx, d.TradeID, recheckAfter); err != nil {
		return err
	}
	ended, isEnded, err := c.changeStatus(ctx, d.TradeID, t)
	if err != nil {
		return err
	}
	switch {
	case isEnded:
		c.finalize(ctx, ended)
	case ended.Status == Open: // changed meanwhile
		return ErrStale.With("version", ended.Version)
	case ended.Status != Failed: // decided meanwhile, by another holder
		return refusal([]string{"over", string(ended.Status)}, Goods{})
	}
	return reason
}

func tradeOrZero(t *Trade) Trade {
	if t == nil {
		return Trade{}
	}
	return *t
}
