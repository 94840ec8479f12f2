package trade

import (
	"context"
	"errors"
	"strconv"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// checkAffordable checks that a character has the goods now, so that a mistake is reported at once.
func (c *core) checkAffordable(ctx context.Context, characterID string, goods Goods) error {
	owned, err := c.readInventory(ctx, characterID)
	if err != nil {
		return err
	}
	for _, l := range goods.Items {
		if have := owned.Quantity(l.ItemID); have < l.Qty {
			return c.refuseShortage(ctx, goods, []string{"short", "item:" + l.ItemID, strconv.FormatInt(have, 10)})
		}
	}
	if owned.Gold < goods.Gold {
		return refusalError([]string{"short", ledger.GoldField, strconv.FormatInt(owned.Gold, 10)}, goods)
	}
	return nil
}

// refuseShortage returns the fault for a script's answer. It distinguishes an item of which the
// character has none (INSUFFICIENT_ITEMS) from one that does not exist (ITEM_UNKNOWN).
func (c *core) refuseShortage(ctx context.Context, goods Goods, answer []string) error {
	err := refusalError(answer, goods)
	var f *fault.Fault
	if errors.As(err, &f) && f.Code == ErrItems.Code && f.Detail("have") == int64(0) {
		isKnown, askErr := c.rdb.SIsMember(ctx, keys.MintedItems, f.Detail("itemId")).Result()
		if askErr != nil {
			return wrapRedisError(askErr, "trade: known items")
		}
		if !isKnown {
			return ErrUnknownItem.With("itemId", f.Detail("itemId"))
		}
	}
	return err
}

// shortageFault returns why a side cannot keep its offer, with the user whose offer it is. Only
// that user is told what they have.
func shortageFault(f *fault.Fault, party Party, isOwn bool) *fault.Fault {
	if item := f.Detail("itemId"); !isOwn {
		if f = fault.New(f.Code, f.Message); item != nil {
			f = f.With("itemId", item)
		}
	}
	return f.With("userId", party.UserID)
}
