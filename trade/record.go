package trade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// findEarlierGift returns the trade that an idempotency key stands for, nil when the key is free,
// and CONFLICT when the key came with another body. It is nil too when the record is the claim of
// an event that was not done. record is what stands in the key's record.
// LOCKED: the gift is being settled.
func (c *core) findEarlierGift(ctx context.Context, g giftRequest) (earlier *Trade, record string, err error) {
	record, err = c.rdb.Get(ctx, g.recordKey).Result()
	if isMissingKey(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", wrapRedisError(err, "trade: look up the key")
	}
	id, bodyHash, ok := g.parseRecord(record)
	if !ok {
		return nil, record, nil
	}
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
	shown, err := c.findAnyTrade(ctx, id)
	switch {
	case errors.Is(err, fault.ErrNotFound): // the ledger never forgets a trade, so its entry was deleted
		return nil, "", fmt.Errorf("trade %s: completed under this key, and gone: %v", id, err) //nolint:errorlint // wrapped, it would be shown as NOT_FOUND
	case err != nil:
		return nil, "", err
	}
	return &shown, record, wrapRedisError(c.confirmDurable(ctx, keys.TradeLedgerIndex), "trade "+id+": confirm")
}

func tradeOrZero(t *Trade) Trade {
	if t == nil {
		return Trade{}
	}
	return *t
}

// giftRecordKey returns the Redis key of the record of a caller's idempotency key. It is a hash,
// and shows neither the user nor the idempotency key.
func giftRecordKey(userID, key string) string {
	var room [256]byte
	b := append(strconv.AppendInt(room[:0], int64(len(userID)), 10), ':')
	return hashRecordKey(append(append(b, userID...), key...))
}

// mintRecordKey returns the key of the record of a mint. It is never that of a gift, whose text
// begins with a number.
func mintRecordKey(ref string) string { return hashRecordKey([]byte("mint:" + ref)) }

func hashRecordKey(text []byte) string {
	var room [128]byte
	sum := sha256.Sum256(text)
	return string(hex.AppendEncode(append(room[:0], keys.Temp("trade", "")...), sum[:20]))
}
