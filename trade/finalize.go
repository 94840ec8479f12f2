package trade

import (
	"context"
	"errors"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// recheckAfter is when the sweeper looks at a trade whose end may not have been finalized.
const recheckAfter = 2 * time.Second

// endTradeAsFailed ends a trade that cannot be settled, by a transition to Failed, and notifies
// both parties. It returns reason; if the trade was changed or ended otherwise meanwhile, it
// returns a fault that says so.
func (c *core) endTradeAsFailed(ctx context.Context, d settlement, t statusTransition, reason *fault.Fault) error {
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
		return refusalError([]string{"over", string(ended.Status)}, Goods{})
	}
	return reason
}

// endUnfinished ends a settlement whose process did not finish it. One that is still settling
// becomes failed if the condition of end.lua holds, and one that is decided is finalized. An open
// trade stays as it is.
func (c *core) endUnfinished(ctx context.Context, id, condition string) error {
	d, err := c.findSettlement(ctx, id)
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err == nil && d.Status == Settling {
		d, _, err = c.changeStatus(ctx, id, statusTransition{from: Settling, to: Failed, reason: "INTERRUPTED", condition: condition})
	}
	if err != nil || !d.isDecided() {
		return err
	}
	c.finalize(ctx, d)
	return nil
}

// finalize does everything that follows a decision: it moves escrow, writes the ledger's entry,
// notifies the parties and cleans up. Any process may call it, and call it again. Its failures are
// reported to Config.Missed and left to the sweeper, because the decision stands.
func (c *core) finalize(ctx context.Context, d settlement) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	c.reportMissed(ctx, c.tryFinalize(ctx, d))
}

// tryFinalize is finalize for a caller that wants to know what failed.
func (c *core) tryFinalize(ctx context.Context, d settlement) error {
	now := int64(0)
	if d.usesEscrow() {
		var err error
		if now, err = c.readRedisClock(ctx); err != nil { // before the marks are judged, so that none is left behind
			return err
		}
		if err := c.moveEscrow(ctx, d); err != nil {
			return err
		}
	}
	if d.kind == ledger.KindTrade {
		if err := c.freeOpenTradePlaces(ctx, d.Trade); err != nil {
			return err
		}
	}
	var notifyErr error
	if !d.isNotified && c.caster != nil {
		notifyErr = c.notifyParties(ctx, d)
	}
	// Holds may still be on their way until the deadline was over for Skew, by the clock of each
	// server.
	if forgetAt := d.deadline + 2*c.cfg.Skew.Milliseconds(); d.usesEscrow() && now < forgetAt {
		err := c.scripts.Do(ctx, watchScript, []string{keys.OpenTrades}, d.TradeID, "", forgetAt, "").Err()
		return errors.Join(notifyErr, wrapRedisError(err, "trade "+d.TradeID+": watch"))
	}
	if notifyErr != nil {
		return notifyErr
	}
	pipe := c.rdb.Pipeline()
	pipe.PExpire(ctx, keys.Trade(d.TradeID), c.cfg.Keep)
	pipe.ZRem(ctx, keys.OpenTrades, d.TradeID)
	_, err := pipe.Exec(ctx)
	return wrapRedisError(err, "trade "+d.TradeID+": finalize")
}

// moveEscrow carries the decision of a saga out: what is in escrow goes to the other side and the
// ledger gets its entry; or, if the trade failed, it comes back.
func (c *core) moveEscrow(ctx context.Context, d settlement) error {
	until := d.deadline + c.cfg.Skew.Milliseconds()
	for side, p := range d.Parties {
		if p.CharacterID == "" {
			continue
		}
		args := []any{d.TradeID, until, "undo"}
		if d.Status == Completed {
			args = append([]any{d.TradeID, until, "apply"}, d.Parties[1-side].Offer.InventoryFields()...)
		}
		answer, err := c.runDurableScript(ctx, closeScript, []string{keys.Inventory(p.CharacterID)}, args...)
		if err != nil {
			return wrapRedisError(err, "trade "+d.TradeID+": close")
		}
		if answer[0] == "corrupt" {
			return refusalError(answer, Goods{})
		}
	}
	if d.Status != Completed {
		return nil
	}
	return c.appendEntry(ctx, d)
}

// appendEntry writes the ledger's entry of a saga, once.
func (c *core) appendEntry(ctx context.Context, d settlement) error {
	moves, at := d.ledgerMoves(), d.endedAt
	var newItems []any
	switch d.kind {
	case ledger.KindGift:
		at = d.CreatedAt
	case ledger.KindMint:
		moves = ledger.MintMoves(d.Parties[1].CharacterID, d.Parties[0].Offer)
		for _, l := range moves[0].Items {
			newItems = append(newItems, l.ItemID)
		}
	}
	body, digest := ledger.EncodeEntry(d.kind, d.ref, moves)
	_, err := c.runDurableScript(ctx, ledger.AppendScript, []string{keys.TradeLedger, keys.TradeLedgerIndex, keys.MintedItems},
		append([]any{d.ref, d.kind, at, body, digest}, newItems...)...)
	return wrapRedisError(err, "trade "+d.TradeID+": ledger")
}

// freeOpenTradePlaces frees the places that a trade takes among the open trades of both characters,
// when the trade has ended or was never made.
func (c *core) freeOpenTradePlaces(ctx context.Context, t Trade) error {
	pipe := c.rdb.Pipeline()
	for _, p := range t.Parties {
		pipe.HDel(ctx, keys.CharacterTrades(p.CharacterID), t.TradeID)
	}
	_, err := pipe.Exec(ctx)
	return wrapRedisError(err, "trade "+t.TradeID+": free the places")
}

// readRedisClock returns the time by Redis's clock, Unix ms.
func (c *core) readRedisClock(ctx context.Context) (int64, error) {
	t, err := c.rdb.Time(ctx).Result()
	if err != nil {
		return 0, wrapRedisError(err, "trade: time")
	}
	return t.UnixMilli(), nil
}
