package trade

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

const (
	proposeWithin = 4 * time.Second // how long after its places were taken a trade may be written
	placeKept     = 5 * time.Second // how long a place without a trade is kept; it is free afterwards
	idUsable      = 8 * time.Second // how long after an id was bound to a key its trade may be written

	maxReplaceTries = 16 // tries to take a place that an older proposal has left
)

// The sides of a trade: the proposer is the first party.
const proposerSide, receiverSide = 0, 1

// A Proposal is the payload of trade:propose.
type Proposal struct {
	To string `json:"to"` // a user id
	// IdempotencyKey is the caller's own name for this proposal, 1 to 64 characters. If it is sent
	// again with the same key, it opens no second trade and gets the first answer.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// Propose opens a trade with nothing in it, and tells both trade:proposed. It expires by itself. If
// ten others have proposed a trade to the other, the oldest of these trades is cancelled, with the
// reason "replaced". A user who ignores the caller is not told.
//
// Codes: INVALID, TRADE_SELF, NO_CHARACTER, NOT_FOUND (the other), TRADE_OPEN (with tradeId: these
// two have one), TRADE_TOO_MANY_OPEN (with userId: the caller), LOCKED. UNAVAILABLE, TIMEOUT: the
// trade may be open; then a repeat with the same idempotencyKey gets it, and one without says
// TRADE_OPEN.
func (s *Service) Propose(ctx context.Context, p event.Player, in Proposal) (Trade, error) {
	if err := identity.CheckID("to", in.To); err != nil {
		return Trade{}, err
	}
	begun, err := s.beginProposal(ctx, event.ClaimOf(ctx))
	if err != nil {
		return Trade{}, err
	}
	if begun.opened != nil { // the node that opened it may have died before it told anybody
		s.castToParties(ctx, "trade:proposed", *begun.opened)
		return begun.opened.Trade, nil
	}
	own, other, err := s.resolveBoth(ctx, p, in.To)
	if err != nil {
		return Trade{}, err
	}
	d := settlement{Trade: Trade{TradeID: begun.id, Status: Open, Version: 1, Parties: []Party{
		{UserID: p.UserID, CharacterID: own, Offer: Goods{}.Sorted()},
		{UserID: in.To, CharacterID: other, Offer: Goods{}.Sorted()},
	}}, kind: ledger.KindTrade}
	d.ref = d.TradeID
	if s.cfg.Ignores != nil {
		if d.isUnseen, err = s.cfg.Ignores.Ignores(ctx, in.To, p.UserID); err != nil {
			return Trade{}, wrapRedisError(err, "trade: who is ignored")
		}
	}
	if begun.replaced != "" { // its trade can not come any more
		stale := d.Trade
		stale.TradeID = begun.replaced
		if err := s.freeOpenTradePlaces(ctx, stale); err != nil {
			return Trade{}, err
		}
	}
	latest, err := s.takeOpenTradePlaces(ctx, d)
	mayBeOpen := false
	if err == nil {
		if begun.notAfter > 0 {
			latest = min(latest, begun.notAfter)
		}
		d, mayBeOpen, err = s.createOpenTrade(ctx, d, latest)
	}
	if err != nil {
		if !mayBeOpen { // otherwise its places stay: they show the trade, or are free after placeKept
			s.reportMissed(ctx, s.freeOpenTradePlaces(ctx, d.Trade))
		}
		return Trade{}, err
	}
	d.Trade = asProposed(d.Trade)
	s.castToParties(ctx, "trade:proposed", d)
	return d.Trade, nil
}

// A proposalStart is a proposal that has begun.
type proposalStart struct {
	id       string // of the trade
	notAfter int64  // the trade must not be written later, Unix ms; 0 for no bound
	replaced string // an id under which the same proposal was begun before; ""
	// opened is the trade as it was opened, if a proposal under the same key has opened it before.
	opened *settlement
}

// beginProposal gives a proposal the id of its trade. claim is that of its idempotency key, nil
// without one. If a proposal under the same key was begun before, beginProposal goes on with its
// id, so that both can open only one trade. An id under which no trade can be opened any more is
// replaced.
func (s *Service) beginProposal(ctx context.Context, claim *event.Claim) (begun proposalStart, err error) {
	begun.id = newTradeID()
	if claim == nil {
		return begun, nil
	}
	fresh := begun.id
	for range 3 {
		bound, err := redisx.BindID(ctx, s.rdb, keys.OnceID(claim.Record), fresh, begun.replaced, claim.Keep)
		if err != nil {
			return begun, wrapRedisError(err, "trade: bind an id to a key")
		}
		begun.id, begun.notAfter = bound.ID, bound.BoundAt+idUsable.Milliseconds()
		if bound.IsNew {
			return begun, nil
		}
		d, err := s.findSettlement(ctx, bound.ID)
		switch {
		case err == nil:
			d.Trade = asProposed(d.Trade)
			begun.opened = &d
			return begun, nil
		case !errors.Is(err, fault.ErrNotFound):
			return begun, err
		case bound.Age <= idUsable+s.cfg.Skew:
			return begun, nil
		}
		begun.replaced = bound.ID
	}
	return begun, fault.ErrLocked
}

// asProposed returns a trade as it was when it was opened.
func asProposed(t Trade) Trade {
	t.Status, t.Version, t.Reason = Open, 1, ""
	t.Parties = slices.Clone(t.Parties)
	for i := range t.Parties {
		t.Parties[i].Offer, t.Parties[i].Accepted = Goods{}.Sorted(), false
	}
	return t
}

// takeOpenTradePlaces takes a place at the character of the proposer and one at the receiver's.
// latest is until when the trade must be there, Unix ms.
//
// Places are taken in one order, by character, so that of two who propose to each other at the same
// time one succeeds. Only if the receiver has none left, the proposer's comes first: a proposal
// replaces another one only if its own sender has a place for it.
func (s *Service) takeOpenTradePlaces(ctx context.Context, d settlement) (latest int64, err error) {
	isReceiverFirst := d.Parties[receiverSide].CharacterID < d.Parties[proposerSide].CharacterID && !d.isUnseen
	var at int64
	if isReceiverFirst {
		if at, err = s.takeOpenTradePlace(ctx, d, receiverSide); err == nil {
			latest = at + proposeWithin.Milliseconds()
			_, err = s.takeOpenTradePlace(ctx, d, proposerSide)
			return latest, err
		}
		var full *incomingFullError
		if !errors.As(err, &full) {
			return 0, err
		}
	}
	if at, err = s.takeOpenTradePlace(ctx, d, proposerSide); err != nil {
		return 0, err
	}
	latest = at + proposeWithin.Milliseconds()
	if d.isUnseen {
		return latest, nil
	}
	for range maxReplaceTries {
		_, err = s.takeOpenTradePlace(ctx, d, receiverSide)
		var full *incomingFullError
		if !errors.As(err, &full) {
			return latest, err
		}
		if err := s.replaceOldest(ctx, full.trades); err != nil {
			return 0, err
		}
	}
	return 0, fault.ErrLocked // others were quicker each time
}

// An incomingFullError says that a character has as many open trades as others may propose to it.
type incomingFullError struct{ trades []string } // the oldest first

func (e *incomingFullError) Error() string { return "trade: all places for proposals are taken" }

// takeOpenTradePlace takes a place at the character of one side, and returns when, Unix ms. Places
// of trades that are over are free. The error is an incomingFullError when the receiver has none.
func (s *Service) takeOpenTradePlace(ctx context.Context, d settlement, side int) (at int64, err error) {
	p, partner := d.Parties[side], d.Parties[1-side].UserID
	direction, places := "", MaxOpen
	if side == receiverSide {
		direction, places = "in", MaxIncoming
	}
	for try := 0; ; try++ {
		answer, err := s.runDurableScript(ctx, reserveScript, []string{keys.CharacterTrades(p.CharacterID)}, d.TradeID, partner, direction, places)
		if err != nil {
			return 0, wrapRedisError(err, "trade "+d.TradeID+": reserve")
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
		case side == receiverSide:
			return 0, &incomingFullError{answer[1:]}
		default:
			return 0, ErrTooManyOpen.With("userId", p.UserID)
		}
	}
}

// replaceOldest cancels the first of these trades that is open. A trade that is being settled, or
// is not written yet, stays. Code: LOCKED when none is open.
func (s *Service) replaceOldest(ctx context.Context, ids []string) error {
	for _, id := range ids {
		d, err := s.findSettlement(ctx, id)
		switch {
		case errors.Is(err, fault.ErrNotFound):
			continue
		case err != nil:
			return err
		case d.Status == Open:
			if _, err := s.scheduleCheck(ctx, id, recheckAfter); err != nil {
				return err
			}
			d, _, err = s.changeStatus(ctx, id, statusTransition{from: Open, to: Cancelled, reason: Replaced, condition: "any"})
			if err != nil && !errors.Is(err, fault.ErrNotFound) {
				return err
			}
		}
		if err == nil && d.isDecided() {
			s.finalize(ctx, d) // which frees the place
			return nil
		}
	}
	return fault.ErrLocked
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
