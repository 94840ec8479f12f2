package trade

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

const (
	maxListed     = 100  // trades that List returns
	maxListedFrom = 2000 // entries that it reads to find them
	maxOpenListed = 1000 // trades that OpenTrades looks at
)

// Ask is the payload of trade:state.
type Ask struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
}

// State shows a trade to its parties; to all others it is NOT_FOUND.
func (s *Service) State(ctx context.Context, p event.Player, in Ask) (Trade, error) {
	if in.TradeID == "" {
		return Trade{}, fault.Invalid("tradeId", "required")
	}
	t, err := s.findAnyTrade(ctx, in.TradeID)
	if err == nil && !t.isPartyOf(p.UserID) {
		err = errNoTrade
	}
	if err != nil {
		return Trade{}, err
	}
	return t, nil
}

// Inventory lists what the caller's character owns, by item id.
func (s *Service) Inventory(ctx context.Context, p event.Player, _ event.None) (Goods, error) {
	character, err := s.resolveCaller(ctx, p)
	if err != nil {
		return Goods{}, err
	}
	return s.readInventory(ctx, character)
}

// Owned returns what a character owns, by item id; nothing for a character that is not known.
func (s *Service) Owned(ctx context.Context, characterID string) (Goods, error) {
	return s.readInventory(ctx, characterID)
}

func (c *core) readInventory(ctx context.Context, characterID string) (Goods, error) {
	key := keys.Inventory(characterID)
	fields, err := c.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return Goods{}, wrapRedisError(err, "trade: inventory")
	}
	goods, err := ledger.ParseInventory(fields)
	if err != nil {
		return Goods{}, fmt.Errorf("%s: %w", key, err)
	}
	return goods, nil
}

// Show returns any trade: from its own key as long as that is kept, later from the ledger.
// Code: NOT_FOUND.
func (s *Service) Show(ctx context.Context, id string) (Trade, error) { return s.findAnyTrade(ctx, id) }

// List returns the newest completed trades, newest first: at most 100, found among the newest
// 2,000 entries of the ledger. Entries that cannot be read are left out and reported; the audit
// names them.
func (s *Service) List(ctx context.Context) ([]Trade, error) {
	trades := []Trade{}
	for entry, err := range s.ledger.NewestEntries(ctx, maxListedFrom) {
		if errors.Is(err, ledger.ErrUnreadable) {
			s.reportMissed(ctx, &redisx.UnreadableError{Key: keys.TradeLedger, Entry: entry.StreamID, Err: err})
			continue
		}
		if err != nil {
			return nil, wrapRedisError(err, "trade: list")
		}
		if t, ok := tradeOfEntry(entry, s.cfg.Keep); ok {
			trades = append(trades, t)
		}
		if len(trades) == maxListed {
			break
		}
	}
	return trades, nil
}

// OpenTrades returns the trades that are open or settling, at most 1,000. Trades that cannot be
// read are left out and reported.
func (s *Service) OpenTrades(ctx context.Context) ([]Trade, error) {
	ids, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{Key: keys.OpenTrades, Start: 0, Stop: maxOpenListed - 1}).Result()
	if err != nil {
		return nil, wrapRedisError(err, "trade: list the open")
	}
	trades := []Trade{}
	for _, id := range ids {
		d, err := s.findSettlement(ctx, id)
		switch {
		case errors.Is(err, fault.ErrNotFound):
		case redis.HasErrorPrefix(err, "WRONGTYPE"), errors.Is(err, ledger.ErrUnreadable):
			s.reportMissed(ctx, &redisx.UnreadableError{Key: keys.Trade(id), Err: err})
		case err != nil:
			return nil, err
		case !d.isDecided() && d.kind != ledger.KindMint:
			trades = append(trades, d.Trade)
		}
	}
	return trades, nil
}

// Ledger returns up to limit entries that come after the stream id, oldest first, as
// ledger.Ledger.Entries does.
func (s *Service) Ledger(ctx context.Context, after string, limit int64) ([]ledger.Entry, error) {
	entries, err := s.ledger.Entries(ctx, after, limit)
	return entries, wrapRedisError(err, "trade")
}

// MissingFrom returns the completed trades and mints that stand in the ledger of other and not in
// this one, oldest first, as ledger.Ledger.Missing does.
func (s *Service) MissingFrom(ctx context.Context, other *Service) ([]ledger.Entry, error) {
	entries, err := s.ledger.Missing(ctx, other.ledger)
	return entries, wrapRedisError(err, "trade")
}

// Audit checks that no goods were lost or doubled, as ledger.Ledger.Audit does.
func (s *Service) Audit(ctx context.Context) (ledger.Report, error) {
	report, err := s.ledger.Audit(ctx)
	return report, wrapRedisError(err, "trade")
}
