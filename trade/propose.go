package trade

import (
	"context"
	"errors"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

const (
	proposeWithin = 4 * time.Second // how long after its places were taken a trade may be written
	placeKept     = 5 * time.Second // how long a place without a trade is kept; it is free afterwards
)

// A Proposal is the payload of trade:propose.
type Proposal struct {
	To string `json:"to"` // a user id
}

// Propose opens a trade with nothing in it, and tells both trade:proposed. It expires by itself.
//
// Codes: INVALID, TRADE_SELF, NO_CHARACTER, NOT_FOUND (the other), TRADE_OPEN (with tradeId: these
// two have one), TRADE_TOO_MANY_OPEN (with userId: who), LOCKED. UNAVAILABLE, TIMEOUT: the trade
// may be open; then a repeat says TRADE_OPEN.
func (s *Service) Propose(ctx context.Context, p event.Player, in Proposal) (Trade, error) {
	if err := checkIdentifier("to", in.To); err != nil {
		return Trade{}, err
	}
	own, other, err := s.resolveBoth(ctx, p, in.To)
	if err != nil {
		return Trade{}, err
	}
	d := settlement{Trade: Trade{TradeID: newTradeID(), Status: Open, Version: 1, Parties: []Party{
		{UserID: p.UserID, CharacterID: own, Offer: Goods{}.Sorted()},
		{UserID: in.To, CharacterID: other, Offer: Goods{}.Sorted()},
	}}, kind: ledger.KindTrade}
	d.ref = d.TradeID
	latest, err := s.takeOpenTradePlaces(ctx, d)
	mayBeOpen := false
	if err == nil {
		d, mayBeOpen, err = s.createOpenTrade(ctx, d, latest)
	}
	if err != nil {
		if !mayBeOpen { // otherwise its places stay: they show the trade, or are free after placeKept
			s.reportMissed(ctx, s.freeOpenTradePlaces(ctx, d.Trade))
		}
		return Trade{}, err
	}
	s.castToParties(ctx, "trade:proposed", d.Trade)
	return d.Trade, nil
}

// takeOpenTradePlaces takes a place at both characters, always in one order. latest is until when
// the trade must be there, Unix ms.
func (s *Service) takeOpenTradePlaces(ctx context.Context, d settlement) (latest int64, err error) {
	sides := []int{0, 1}
	if d.Parties[1].CharacterID < d.Parties[0].CharacterID {
		sides = []int{1, 0}
	}
	for _, side := range sides {
		at, err := s.takeOpenTradePlace(ctx, d.TradeID, d.Parties[side], d.Parties[1-side].UserID)
		if err != nil {
			return 0, err
		}
		if latest == 0 {
			latest = at + proposeWithin.Milliseconds()
		}
	}
	return latest, nil
}

// takeOpenTradePlace takes a place at one character, and returns when, Unix ms. Places of trades
// that are over are free.
func (s *Service) takeOpenTradePlace(ctx context.Context, id string, p Party, partner string) (at int64, err error) {
	for try := 0; ; try++ {
		answer, err := s.runDurableScript(ctx, reserveScript, []string{keys.CharacterTrades(p.CharacterID)}, id, partner, MaxOpen)
		if err != nil {
			return 0, wrapRedisError(err, "trade "+id+": reserve")
		}
		if answer[0] == "ok" {
			return parseInteger(answer[1]), nil
		}
		hasFreed := false
		for _, other := range answer[1:] {
			isFree, err := s.freeStalePlace(ctx, p.CharacterID, other)
			if err != nil {
				return 0, err
			}
			hasFreed = hasFreed || isFree
		}
		switch {
		case hasFreed && try < 2:
		case answer[0] == "pair":
			return 0, ErrOpen.With("tradeId", answer[1])
		default:
			return 0, ErrTooManyOpen.With("userId", p.UserID)
		}
	}
}

// freeStalePlace frees a place whose trade is over, or never came to be.
func (s *Service) freeStalePlace(ctx context.Context, characterID, id string) (isFree bool, err error) {
	d, err := s.findSettlement(ctx, id)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		n, err := s.scripts.Do(ctx, unreserveScript, []string{keys.CharacterTrades(characterID)}, id, placeKept.Milliseconds()).Int()
		return n == 1, wrapRedisError(err, "trade "+id+": free a place")
	case err != nil:
		return false, err
	case !d.isDecided():
		return false, nil
	}
	err = s.rdb.HDel(ctx, keys.CharacterTrades(characterID), id).Err()
	return true, wrapRedisError(err, "trade "+id+": free a place")
}

// createOpenTrade schedules the sweeper's check for the time when the trade expires, and writes the
// trade. After an error, mayBeOpen tells whether the trade may have been written all the same.
func (s *Service) createOpenTrade(ctx context.Context, d settlement, latest int64) (opened settlement, mayBeOpen bool, err error) {
	if _, err := s.scheduleCheck(ctx, d.TradeID, s.cfg.OpenFor); err != nil {
		return d, false, err
	}
	answer, err := s.runDurableScript(ctx, createScript, []string{keys.Trade(d.TradeID)},
		append([]any{latest, s.cfg.OpenFor.Milliseconds(), ""}, d.hashFields()...)...)
	if err != nil {
		return d, true, wrapRedisError(err, "trade "+d.TradeID+": open")
	}
	if answer[0] != "ok" {
		return d, false, refusalError(answer, Goods{})
	}
	opened, err = parseScriptTrade(d.TradeID, answer)
	return opened, true, err
}
