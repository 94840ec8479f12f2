package trade

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// Ask is the payload of trade:state.
type Ask struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
}

// tradeID keeps clients away from the other keys that begin with "trade:".
var tradeID = regexp.MustCompile(`^[0-9A-Za-z]{26}$`)

const (
	listed  = 100  // trades that List returns
	listAge = 2000 // entries that it looks at to find them
)

// State shows a trade to its parties; to all others it is NOT_FOUND.
func (s *Service) State(ctx context.Context, p event.Player, in Ask) (Trade, error) {
	if in.TradeID == "" {
		return Trade{}, fault.Invalid("tradeId", "required")
	}
	t, err := s.Show(ctx, in.TradeID)
	if err == nil && !t.involves(p.UserID) {
		err = errNoTrade
	}
	if err != nil {
		return Trade{}, err
	}
	return t, nil
}

// Inventory lists what the caller's character owns, by item id.
func (s *Service) Inventory(ctx context.Context, p event.Player, _ event.None) (Goods, error) {
	character, err := s.character(ctx, p)
	if err != nil {
		return Goods{}, err
	}
	return s.Owned(ctx, character)
}

// Owned is what a character owns, by item id; nothing when it is not known.
func (s *Service) Owned(ctx context.Context, characterID string) (Goods, error) {
	fields, err := s.rdb.HGetAll(ctx, keys.Inventory(characterID)).Result()
	if err != nil {
		return Goods{}, trouble(err, "trade: inventory")
	}
	g := Goods{Items: make([]Line, 0, len(fields))}
	for field, v := range fields {
		item, isItem := strings.CutPrefix(field, "item:")
		if !isItem && field != goldField {
			continue
		}
		n, err := parseAmount(v)
		switch {
		case err != nil:
			return Goods{}, fmt.Errorf("%s: field %q: %w", keys.Inventory(characterID), field, err)
		case !isItem:
			g.Gold = n
		case n > 0:
			g.Items = append(g.Items, Line{ItemID: item, Qty: n})
		}
	}
	return g.sorted(), nil
}

// Show returns any trade: as long as it is kept from its own key, later from the ledger.
// Code: NOT_FOUND.
func (s *Service) Show(ctx context.Context, id string) (Trade, error) {
	d, err := s.find(ctx, id)
	if err == nil && d.kind == kindMint {
		return Trade{}, errNoTrade
	}
	if !errors.Is(err, fault.ErrNotFound) || !tradeID.MatchString(id) {
		return d.Trade, err
	}
	e, err := s.entry(ctx, id)
	if err != nil {
		return Trade{}, err
	}
	if t, ok := e.trade(s.cfg.Keep.Milliseconds()); ok {
		return t, nil
	}
	return Trade{}, errNoTrade
}

// List returns the newest completed trades, newest first: at most 100, found among the newest
// 2,000 entries of the ledger.
func (s *Service) List(ctx context.Context) ([]Trade, error) {
	msgs, err := s.rdb.XRevRangeN(ctx, keys.TradeLedger, "+", "-", listAge).Result()
	if err != nil {
		return nil, trouble(err, "trade: list")
	}
	trades := []Trade{}
	for _, m := range msgs {
		e, err := parse(m)
		if err != nil {
			return nil, err
		}
		if t, ok := e.trade(s.cfg.Keep.Milliseconds()); ok {
			trades = append(trades, t)
		}
		if len(trades) == listed {
			break
		}
	}
	return trades, nil
}

func offerText(g Goods) []byte {
	return append(g.appendMembers([]byte{'{'}), '}')
}

// parseAmount reads an amount as ledger.lua does.
func parseAmount(v string) (int64, error) {
	if strings.HasPrefix(v, "-") {
		return 0, fmt.Errorf("%q is negative", v)
	}
	if v == "" || len(v) > 15 || strings.Trim(v, "0123456789") != "" {
		return 0, fmt.Errorf("%q is no amount", v)
	}
	return number(v), nil
}
