package trade

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// This file tells operators more of a trade than its parties see.

// Details are a trade with what only operators see. Times are Unix ms, 0 where they are not known:
// a trade from the ledger has only its own.
type Details struct {
	Trade   `json:",inline"`
	Kind    string      `json:"kind"` // "trade" or "gift"
	EndedAt int64       `json:"endedAt,omitzero"`
	Sides   []SideTimes `json:"sides"` // of the parties, in their order
}

// SideTimes say when one side did what it did last.
type SideTimes struct {
	OfferedAt  int64 `json:"offeredAt,omitzero"`
	AcceptedAt int64 `json:"acceptedAt,omitzero"`
}

// Inspect returns any trade with its times, as Show does. Code: NOT_FOUND.
func (s *Service) Inspect(ctx context.Context, id string) (Details, error) {
	d, err := s.findSettlement(ctx, id)
	switch {
	case err == nil && d.kind != ledger.KindMint:
		return Details{d.Trade, d.kind, d.endedAt, d.times[:]}, nil
	case err != nil && !errors.Is(err, fault.ErrNotFound):
		return Details{}, err
	}
	t, err := s.findAnyTrade(ctx, id)
	if err != nil {
		return Details{}, err
	}
	kind := ledger.KindTrade
	if e, found, err := s.ledger.FindEntry(ctx, id); err == nil && found {
		kind = e.Kind
	}
	return Details{Trade: t, Kind: kind, EndedAt: t.CreatedAt, Sides: make([]SideTimes, 2)}, nil
}

// History returns the entries of the ledger about a character, newest first, as
// ledger.Ledger.History does.
func (s *Service) History(ctx context.Context, q ledger.HistoryQuery) (entries []ledger.Entry, isWhole bool, err error) {
	entries, isWhole, err = s.ledger.History(ctx, q)
	return entries, isWhole, wrapRedisError(err, "trade: history")
}

// OwnedAt returns what a character owned at a time, as ledger.Ledger.OwnedAt does.
func (s *Service) OwnedAt(ctx context.Context, characterID string, at time.Time) (Goods, error) {
	goods, err := s.ledger.OwnedAt(ctx, characterID, at)
	return goods, wrapRedisError(err, "trade: inventory")
}

// OpenTradesOf returns the open trades of a character.
func (s *Service) OpenTradesOf(ctx context.Context, characterID string) ([]Trade, error) {
	ids, err := s.rdb.HKeys(ctx, keys.CharacterTrades(characterID)).Result()
	if err != nil {
		return nil, wrapRedisError(err, "trade: open trades")
	}
	open := []Trade{}
	for _, id := range ids {
		d, err := s.findSettlement(ctx, id)
		switch {
		case errors.Is(err, fault.ErrNotFound):
		case err != nil:
			return nil, err
		case !d.isDecided():
			open = append(open, d.Trade)
		}
	}
	return open, nil
}

// reportSettled calls Config.Settled.
func (c *core) reportSettled(d settlement) {
	if c.cfg.Settled != nil {
		c.cfg.Settled(d.kind, d.Trade)
	}
}

// Backlog counts the trades at which a sweeper should have looked that long ago or earlier, by this
// machine's clock.
func (s *Service) Backlog(ctx context.Context, overdueBy time.Duration) (int64, error) {
	n, err := s.rdb.ZCount(ctx, keys.OpenTrades, "-inf", strconv.FormatInt(time.Now().Add(-overdueBy).UnixMilli(), 10)).Result()
	return n, wrapRedisError(err, "trade: backlog")
}
