package trade

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// A Terms is the payload of trade:offer: all that the caller gives, in place of what they offered before.
type Terms struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
	Items   []Line `json:"items"`
	Gold    int64  `json:"gold"`
	Version int64  `json:"version" validate:"min=1"` // the version that it changes
}

// An Agreement is the payload of trade:accept.
type Agreement struct {
	TradeID string `json:"tradeId" validate:"required,max=64"`
	Version int64  `json:"version" validate:"min=1"`
}

// Offer changes what the caller gives, raises the version, takes back both acceptances, and tells both
// trade:updated. An offer is a promise: goods stay where they are until both have accepted.
//
// Codes: INVALID, TRADE_TOO_MANY_LINES, TRADE_OVERFLOW, ITEM_UNKNOWN, INSUFFICIENT_ITEMS, INSUFFICIENT_GOLD, NOT_FOUND,
// TRADE_WRONG_CHARACTER, TRADE_STALE (with version), TRADE_OVER (with status), LOCKED, UNAVAILABLE: nothing has changed.
func (s *Service) Offer(ctx context.Context, p event.Player, in Terms) (Trade, error) {
	goods := Goods{Items: in.Items, Gold: in.Gold}.sorted()
	if !goods.empty() {
		if err := (Goods{Items: in.Items, Gold: in.Gold}).check(""); err != nil {
			return Trade{}, err
		}
	}
	d, side, err := s.mine(ctx, p, in.TradeID)
	if err != nil {
		return Trade{}, err
	}
	if err := s.afford(ctx, d.Parties[side].CharacterID, goods); err != nil {
		return Trade{}, err
	}
	answer, err := s.run(ctx, offerScript, []string{keys.Trade(d.TradeID)}, letter(side), in.Version, offerText(goods))
	if err != nil {
		return Trade{}, trouble(err, "trade "+d.TradeID+": offer")
	}
	if answer[0] != "ok" {
		return Trade{}, refusal(answer, goods)
	}
	return s.updated(ctx, d.TradeID, answer)
}

func (s *Service) updated(ctx context.Context, id string, answer []string) (Trade, error) {
	d, err := fromAnswer(id, answer)
	if err != nil {
		return Trade{}, err
	}
	s.castAll(ctx, "trade:updated", d.Trade)
	return d.Trade, nil
}

// Accept agrees to one version. When the other has too, goods change hands at once and both are told
// trade:completed; else both are told trade:updated. Repeating it is safe. A settlement that one side can not
// keep any more ends the trade: it is failed, with the code as its reason, and both are told trade:cancelled.
//
// Codes: INVALID, NOT_FOUND, TRADE_WRONG_CHARACTER, TRADE_EMPTY, TRADE_STALE (with version), TRADE_OVER (with status),
// INSUFFICIENT_ITEMS, INSUFFICIENT_GOLD, ITEM_UNKNOWN, TRADE_OVERFLOW (with userId: whose), LOCKED: nothing moved.
// UNAVAILABLE, TIMEOUT, INTERNAL: the outcome is open, ask again or look at trade:state.
func (s *Service) Accept(ctx context.Context, p event.Player, in Agreement) (Trade, error) {
	d, side, err := s.mine(ctx, p, in.TradeID)
	if err != nil {
		return Trade{}, err
	}
	if d.Status == Completed && d.Version == in.Version { // asked again
		return d.Trade, trouble(s.settled(ctx, keys.Trade(d.TradeID)), "trade "+d.TradeID+": confirm")
	}
	if d.Parties[0].Offer.empty() && d.Parties[1].Offer.empty() && d.Version == in.Version && d.Status == Open {
		return Trade{}, ErrEmpty
	}
	if !d.Parties[1-side].Accepted || d.Version != in.Version || d.Status != Open {
		answer, err := s.run(ctx, acceptScript, []string{keys.Trade(d.TradeID)}, letter(side), in.Version, "", 0, 0)
		switch {
		case err != nil:
			return Trade{}, trouble(err, "trade "+d.TradeID+": accept")
		case answer[0] == "ok":
			return s.updated(ctx, d.TradeID, answer)
		case answer[0] != "both":
			return Trade{}, refusal(answer, Goods{})
		}
		if d, err = s.find(ctx, d.TradeID); err != nil { // the other was quicker, with this version
			return Trade{}, err
		}
		if d.Version != in.Version {
			return Trade{}, ErrStale.With("version", d.Version)
		}
	}
	return s.exchange(ctx, d, side)
}

// exchange settles inside the lock of the two.
func (s *Service) exchange(ctx context.Context, d deal, side int) (Trade, error) {
	var done deal
	err := s.locked(ctx, d, func(ctx context.Context, mine fence) (err error) {
		if s.cluster {
			done, err = s.exchangeInSteps(ctx, d, side, mine)
		} else {
			done, err = s.exchangeAtOnce(ctx, d, side, mine)
		}
		return err
	})
	if err != nil {
		return Trade{}, err
	}
	s.conclude(ctx, done) // whatever became of the lock afterwards
	return done.Trade, nil
}

// exchangeAtOnce is the settlement on one Redis server: one script.
func (s *Service) exchangeAtOnce(ctx context.Context, d deal, side int, mine fence) (deal, error) {
	a, b := d.Parties[0], d.Parties[1]
	body, digest := entryOf(kindTrade, d.TradeID, d.moves())
	gives := len(a.Offer.Items)
	if a.Offer.Gold > 0 {
		gives++
	}
	var args arguments
	args.say(d.TradeID, letter(side), strconv.FormatInt(d.Version, 10), string(mine), body, digest,
		strconv.FormatInt(lookAgain.Milliseconds(), 10), strconv.Itoa(8+2*gives))
	args.goods(a.Offer)
	args.goods(b.Offer)
	lock, fence := s.guards(d.Trade)
	answer, err := s.run(ctx, s.guarded.settle, []string{
		keys.Inventory(a.CharacterID), keys.Inventory(b.CharacterID), keys.Trade(d.TradeID), lock, fence, keys.OpenTrades,
	}, args.list...)
	if err != nil {
		return deal{}, trouble(err, "trade "+d.TradeID+": settle")
	}
	switch answer[0] {
	case "ok":
		return fromAnswer(d.TradeID, answer)
	case "over": // completed: our own script, repeated by the client library after a lost answer
		if again, err := s.find(ctx, d.TradeID); err == nil && again.Status == Completed && again.Version == d.Version {
			return again, nil
		}
		return deal{}, refusal(answer, Goods{})
	case "short", "unknown", "overflow":
		whose := 0
		if answer[3] == letter(1) {
			whose = 1
		}
		why := shortOf(answer, d.Parties[whose], side == whose)
		return deal{}, s.fail(ctx, d, Open, "version", d.Version, why)
	}
	return deal{}, refusal(answer, Goods{})
}

// fail ends a trade that can not be settled, tells both, and returns why; or what else became of it meanwhile.
func (s *Service) fail(ctx context.Context, d deal, from Status, cond string, value any, why *fault.Fault) error {
	if _, err := s.watch(ctx, d.TradeID, lookAgain.Milliseconds()); err != nil {
		return err
	}
	ended, ok, err := s.end(ctx, d.TradeID, from, Failed, why.Code, cond, value)
	if err != nil {
		return err
	}
	switch {
	case ok:
		s.conclude(ctx, ended)
	case ended.Status == Open: // changed meanwhile
		return ErrStale.With("version", ended.Version)
	case ended.Status != Failed: // decided meanwhile, by somebody else
		return refusal([]string{"over", string(ended.Status)}, Goods{})
	}
	return why
}

// shortOf is why a side can not keep its offer. Only they themselves are told what they have.
func shortOf(answer []string, whose Party, themselves bool) *fault.Fault {
	var f *fault.Fault
	if !errors.As(refusal(answer, whose.Offer), &f) {
		return fault.ErrInternal.Because(fmt.Errorf("script answered %q", answer))
	}
	if item := f.Detail("itemId"); !themselves {
		if f = fault.New(f.Code, f.Message); item != nil {
			f = f.With("itemId", item)
		}
	}
	return f.With("userId", whose.UserID)
}

// Cancel ends an open trade and tells both trade:cancelled. Repeating it is safe.
//
// Codes: INVALID, NOT_FOUND, TRADE_OVER (with status), LOCKED (it is being settled), UNAVAILABLE.
func (s *Service) Cancel(ctx context.Context, p event.Player, in Ask) (Trade, error) {
	d, err := s.party(ctx, p, in.TradeID)
	if err != nil {
		return Trade{}, err
	}
	if d.Status == Cancelled {
		return d.Trade, nil
	}
	if d.Status == Open {
		if _, err := s.watch(ctx, d.TradeID, lookAgain.Milliseconds()); err != nil {
			return Trade{}, err
		}
	}
	ended, ok, err := s.end(ctx, d.TradeID, Open, Cancelled, p.UserID, "any", "")
	switch {
	case err != nil:
		return Trade{}, err
	case !ok:
		return Trade{}, refusal([]string{"over", string(ended.Status)}, Goods{})
	}
	s.conclude(ctx, ended)
	return ended.Trade, nil
}

// end decides what becomes of a trade; ok is false when it is something else already.
func (s *Service) end(ctx context.Context, id string, from, to Status, reason, cond string, value any) (d deal, ok bool, err error) {
	answer, err := s.run(ctx, endScript, []string{keys.Trade(id)}, string(from), string(to), reason, cond, value)
	if err != nil {
		return deal{}, false, trouble(err, "trade "+id+": "+string(to))
	}
	if answer[0] == "gone" {
		return deal{}, false, errNoTrade
	}
	d, err = fromAnswer(id, answer)
	return d, answer[0] == "ok", err
}

// party finds a trade of the caller's; to all others it is NOT_FOUND.
func (s *Service) party(ctx context.Context, p event.Player, id string) (deal, error) {
	if id == "" {
		return deal{}, fault.Invalid("tradeId", "required")
	}
	d, err := s.find(ctx, id)
	switch {
	case err == nil && (d.kind == kindMint || !d.involves(p.UserID)):
		return deal{}, errNoTrade
	case errors.Is(err, fault.ErrNotFound): // a gift, or long ago
		if t, shown := s.Show(ctx, id); shown == nil && t.involves(p.UserID) {
			return deal{}, ErrOver.With("status", string(t.Status))
		}
	}
	return d, err
}

// mine is party for what only the character of the trade may do.
func (s *Service) mine(ctx context.Context, p event.Player, id string) (d deal, side int, err error) {
	if d, err = s.party(ctx, p, id); err != nil {
		return d, 0, err
	}
	side = d.side(p.UserID)
	character, err := s.character(ctx, p)
	if err == nil && character != d.Parties[side].CharacterID {
		err = ErrCharacter
	}
	return d, side, err
}

// afford checks that a character has the goods now, so that a mistake is heard of at once.
func (s *Service) afford(ctx context.Context, character string, goods Goods) error {
	owned, err := s.Owned(ctx, character)
	if err != nil {
		return err
	}
	for _, l := range goods.Items {
		if have := owned.qty(l.ItemID); have < l.Qty {
			return s.lacks(ctx, goods, []string{"short", "item:" + l.ItemID, fmt.Sprint(have)})
		}
	}
	if owned.Gold < goods.Gold {
		return refusal([]string{"short", goldField, fmt.Sprint(owned.Gold)}, goods)
	}
	return nil
}

// lacks is a refusal that tells an item that is not there from one that does not exist.
func (s *Service) lacks(ctx context.Context, goods Goods, answer []string) error {
	err := refusal(answer, goods)
	var f *fault.Fault
	if errors.As(err, &f) && f.Code == ErrItems.Code && f.Detail("have") == int64(0) {
		known, asked := s.rdb.SIsMember(ctx, keys.MintedItems, f.Detail("itemId")).Result()
		if asked != nil {
			return trouble(asked, "trade: known items")
		}
		if !known {
			return ErrUnknownItem.With("itemId", f.Detail("itemId"))
		}
	}
	return err
}

// castAll tells both parties something that is no outcome: who misses it sees it in trade:state.
func (s *Service) castAll(ctx context.Context, name string, t Trade) {
	ctx = context.WithoutCancel(ctx) // it happened, whoever asked has left
	rooms := make([]string, len(t.Parties))
	for i, p := range t.Parties {
		rooms[i] = "user:" + p.UserID
	}
	if err := s.cast.CastEach(ctx, rooms, name, t); err != nil {
		s.missed(ctx, fmt.Errorf("trade %s: tell: %w", t.TradeID, err))
	}
}

func (s *Service) missed(ctx context.Context, err error) {
	if err != nil {
		s.cfg.Missed(ctx, err)
	}
}
