package trade

import (
	"context"
	"errors"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// A Terms is the payload of trade:offer: all that the caller gives, in place of what they offered
// before.
type Terms struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
	Items   []Line `json:"items"`
	Gold    int64  `json:"gold"`
	Version int64  `json:"version" validate:"min=1"` // the version that it changes
	// IdempotencyKey is the caller's own name for this offer, 1 to 64 characters. If it is sent again
	// with the same key, it gets the first answer and changes nothing.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// Offer changes what the caller gives, raises the version, takes back both acceptances, and tells
// both trade:updated. An offer is a promise: goods stay where they are until both have accepted.
//
// Codes: INVALID, TRADE_TOO_MANY_LINES, TRADE_OVERFLOW, ITEM_UNKNOWN, INSUFFICIENT_ITEMS,
// INSUFFICIENT_GOLD, NOT_FOUND, TRADE_WRONG_CHARACTER, TRADE_STALE (with version), TRADE_OVER (with
// status), LOCKED, UNAVAILABLE: nothing has changed.
func (s *Service) Offer(ctx context.Context, p event.Player, in Terms) (Trade, error) {
	goods := Goods{Items: in.Items, Gold: in.Gold}
	if !goods.IsEmpty() {
		if err := goods.Check(""); err != nil {
			return Trade{}, err
		}
	}
	goods = goods.Sorted()
	d, side, err := s.findOwnTrade(ctx, p, in.TradeID)
	if err != nil {
		return Trade{}, err
	}
	if err := s.checkAffordable(ctx, d.Parties[side].CharacterID, goods); err != nil {
		return Trade{}, err
	}
	claim := event.ClaimOf(ctx)
	scriptKeys, args := addClaim(claim, []string{keys.Trade(d.TradeID)}, []any{sideLetter(side), in.Version, encodeOffer(goods), d.TradeID}, nil)
	answer, err := s.runDurableScript(ctx, offerScript, scriptKeys, args...)
	if err != nil {
		return Trade{}, wrapRedisError(err, "trade "+d.TradeID+": offer")
	}
	switch answer[0] {
	case "ok":
		markRecorded(claim)
		return s.castTradeUpdated(ctx, d.TradeID, answer)
	case "once":
		return s.repeatTradeUpdated(ctx, claim, answer)
	}
	return Trade{}, refusalError(answer, goods)
}

// An Agreement is the payload of trade:accept.
type Agreement struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
	Version int64  `json:"version" validate:"min=1"`
	// IdempotencyKey is as in trade:offer.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// Accept agrees to one version. When the other has too, goods change hands at once and both are
// told trade:completed; else both are told trade:updated. Repeating it is safe. A settlement that
// one side can not keep any more ends the trade: it is failed, with the code as its reason, and
// both are told trade:cancelled.
//
// Codes: INVALID, NOT_FOUND, TRADE_WRONG_CHARACTER, TRADE_EMPTY, TRADE_STALE (with version),
// TRADE_OVER (with status), INSUFFICIENT_ITEMS, INSUFFICIENT_GOLD, ITEM_UNKNOWN, TRADE_OVERFLOW
// (with userId: whose), LOCKED: nothing moved. UNAVAILABLE, TIMEOUT, INTERNAL: the outcome is open,
// ask again or look at trade:state.
func (s *Service) Accept(ctx context.Context, p event.Player, in Agreement) (Trade, error) {
	d, side, err := s.findOwnTrade(ctx, p, in.TradeID)
	if err != nil {
		return Trade{}, err
	}
	isSameVersion := d.Version == in.Version
	if d.Status == Completed && isSameVersion { // a repeat
		return d.Trade, wrapRedisError(s.confirmDurable(ctx, keys.Trade(d.TradeID)), "trade "+d.TradeID+": confirm")
	}
	if d.Parties[0].Offer.IsEmpty() && d.Parties[1].Offer.IsEmpty() && isSameVersion && d.Status == Open {
		return Trade{}, ErrEmpty
	}
	if !d.Parties[1-side].Accepted || !isSameVersion || d.Status != Open {
		claim := event.ClaimOf(ctx)
		scriptKeys, args := addClaim(claim, []string{keys.Trade(d.TradeID)}, []any{sideLetter(side), in.Version, noLease, 0, 0, d.TradeID}, nil)
		answer, err := s.runDurableScript(ctx, acceptScript, scriptKeys, args...)
		switch {
		case err != nil:
			return Trade{}, wrapRedisError(err, "trade "+d.TradeID+": accept")
		case answer[0] == "once":
			return s.repeatTradeUpdated(ctx, claim, answer)
		case answer[0] == "ok":
			markRecorded(claim)
			return s.castTradeUpdated(ctx, d.TradeID, answer)
		case answer[0] != "both":
			return Trade{}, refusalError(answer, Goods{})
		}
		if d, err = s.findSettlement(ctx, d.TradeID); err != nil { // the other was quicker, with this version
			return Trade{}, err
		}
		if d.Version != in.Version {
			return Trade{}, ErrStale.With("version", d.Version)
		}
	}
	d.conn = p.Conn
	return s.settler.settleTrade(ctx, d, side)
}

// A Cancellation is the payload of trade:cancel.
type Cancellation struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
	// IdempotencyKey is as in trade:offer.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// Cancel ends an open trade and tells both trade:cancelled. Repeating it is safe.
//
// Codes: INVALID, NOT_FOUND, TRADE_OVER (with status), LOCKED (it is being settled), UNAVAILABLE.
func (s *Service) Cancel(ctx context.Context, p event.Player, in Cancellation) (Trade, error) {
	d, err := s.findPartysTrade(ctx, p, in.TradeID)
	if err != nil {
		return Trade{}, err
	}
	if d.Status == Cancelled {
		return d.Trade, nil
	}
	if d.Status == Open {
		if _, err := s.scheduleCheck(ctx, d.TradeID, recheckAfter); err != nil {
			return Trade{}, err
		}
	}
	ended, isOurs, err := s.changeStatus(ctx, d.TradeID, statusTransition{
		from: Open, to: Cancelled, reason: p.UserID, condition: "any", claim: event.ClaimOf(ctx),
	})
	switch {
	case err != nil:
		return Trade{}, err
	case !isOurs:
		return Trade{}, refusalError([]string{"over", string(ended.Status)}, Goods{})
	}
	s.finalize(ctx, ended)
	return ended.Trade, nil
}

// castTradeUpdated tells both parties of a trade that a script has changed.
func (s *Service) castTradeUpdated(ctx context.Context, id string, answer []string) (Trade, error) {
	d, err := parseScriptTrade(id, answer)
	if err != nil {
		return Trade{}, err
	}
	s.castToParties(ctx, "trade:updated", d)
	return d.Trade, nil
}

// repeatTradeUpdated returns the first answer to an idempotency key, from the answer {"once", …} of
// a script, and tells both parties of the trade as it is: the first time nobody may have.
func (s *Service) repeatTradeUpdated(ctx context.Context, claim *event.Claim, answer []string) (Trade, error) {
	first, err := recordedTrade(claim, answer)
	if err != nil {
		return Trade{}, err
	}
	if d, err := s.findSettlement(ctx, first.TradeID); err == nil && d.Status == Open {
		s.castToParties(ctx, "trade:updated", d)
	}
	return first, nil
}

// findOwnTrade finds a trade for what only its own character may do, and the side of the caller.
func (s *Service) findOwnTrade(ctx context.Context, p event.Player, id string) (d settlement, side int, err error) {
	if d, err = s.findPartysTrade(ctx, p, id); err != nil {
		return d, 0, err
	}
	side = d.sideOfUser(p.UserID)
	character, err := s.resolveCaller(ctx, p)
	if err == nil && character != d.Parties[side].CharacterID {
		err = ErrCharacter
	}
	return d, side, err
}

// findPartysTrade finds a trade for one of its parties; to all others it is NOT_FOUND.
func (s *Service) findPartysTrade(ctx context.Context, p event.Player, id string) (settlement, error) {
	if id == "" {
		return settlement{}, fault.Invalid("tradeId", "required")
	}
	d, err := s.findSettlement(ctx, id)
	switch {
	case err == nil && (d.kind == ledger.KindMint || !d.isPartyOf(p.UserID)):
		return settlement{}, errNoTrade
	case errors.Is(err, fault.ErrNotFound): // a gift, or a trade that only the ledger still has
		if t, showErr := s.findAnyTrade(ctx, id); showErr == nil && t.isPartyOf(p.UserID) {
			return settlement{}, ErrOver.With("status", string(t.Status))
		}
	}
	return d, err
}
