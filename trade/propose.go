package trade

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// A Proposal is the payload of trade:propose.
type Proposal struct {
	To string `json:"to"` // a user id
}

// Propose opens a trade with nothing in it, and tells both trade:proposed. It expires by itself.
//
// Codes: INVALID, TRADE_SELF, NO_CHARACTER, NOT_FOUND (the other), TRADE_OPEN (with tradeId: these two have
// one), TRADE_TOO_MANY_OPEN (with userId: who), LOCKED. UNAVAILABLE, TIMEOUT: the trade may be open; then a repeat says TRADE_OPEN.
func (s *Service) Propose(ctx context.Context, p event.Player, in Proposal) (Trade, error) {
	if err := checkID("to", in.To); err != nil {
		return Trade{}, err
	}
	from, to, err := s.both(ctx, p, in.To)
	if err != nil {
		return Trade{}, err
	}
	d := deal{Trade: Trade{TradeID: newID(), Status: Open, Version: 1, Parties: []Party{
		{UserID: p.UserID, CharacterID: from, Offer: Goods{}.sorted()},
		{UserID: in.To, CharacterID: to, Offer: Goods{}.sorted()},
	}}, kind: kindTrade}
	d.ref = d.TradeID
	latest, err := s.reserve(ctx, d)
	unclear := false
	if err == nil {
		d, unclear, err = s.open(ctx, d, latest)
	}
	if err != nil {
		if !unclear { // else the trade may be there: its places show it, and are free in a moment when it is not
			s.missed(ctx, s.unreserve(ctx, d.Trade))
		}
		return Trade{}, err
	}
	s.castAll(ctx, "trade:proposed", d.Trade)
	return d.Trade, nil
}

// both finds the two characters.
func (s *Service) both(ctx context.Context, p event.Player, other string) (from, to string, err error) {
	if other == p.UserID {
		return "", "", ErrSelf
	}
	if from, err = s.character(ctx, p); err != nil {
		return "", "", err
	}
	if to, err = s.receiver(ctx, other); err != nil {
		return "", "", err
	}
	if from == to {
		return "", "", ErrSelf // two users, one character: it would be given to itself
	}
	return from, to, nil
}

// open writes the trade, once somebody is to look at it when it expires. unclear: it may be written all the same.
func (s *Service) open(ctx context.Context, d deal, latest int64) (opened deal, unclear bool, err error) {
	if _, err := s.watch(ctx, d.TradeID, s.cfg.OpenFor.Milliseconds()); err != nil {
		return d, false, err
	}
	answer, err := s.run(ctx, createScript, []string{keys.Trade(d.TradeID)},
		append([]any{latest, s.cfg.OpenFor.Milliseconds(), ""}, d.fields()...)...)
	if err != nil {
		return d, true, trouble(err, "trade "+d.TradeID+": open")
	}
	if answer[0] != "ok" {
		return d, false, refusal(answer, Goods{})
	}
	opened, err = fromAnswer(d.TradeID, answer)
	return opened, true, err
}

// reserve takes a place at both characters, always in one order. It returns until when the trade must be there.
func (s *Service) reserve(ctx context.Context, d deal) (latest int64, err error) {
	sides := []int{0, 1}
	if d.Parties[1].CharacterID < d.Parties[0].CharacterID {
		sides = []int{1, 0}
	}
	for _, side := range sides {
		at, err := s.place(ctx, d.TradeID, d.Parties[side], d.Parties[1-side].UserID)
		if err != nil {
			return 0, err
		}
		if latest == 0 {
			latest = at + startWithin.Milliseconds()
		}
	}
	return latest, nil
}

// place takes a place at one character. Places of trades that are over are free.
func (s *Service) place(ctx context.Context, id string, p Party, partner string) (at int64, err error) {
	for try := 0; ; try++ {
		answer, err := s.run(ctx, reserveScript, []string{keys.CharacterTrades(p.CharacterID)}, id, partner, MaxOpen)
		if err != nil {
			return 0, trouble(err, "trade "+id+": reserve")
		}
		if answer[0] == "ok" {
			return number(answer[1]), nil
		}
		freed := false
		for _, other := range answer[1:] {
			is, err := s.release(ctx, p.CharacterID, other)
			if err != nil {
				return 0, err
			}
			freed = freed || is
		}
		switch {
		case freed && try < 2:
		case answer[0] == "pair":
			return 0, ErrOpen.With("tradeId", answer[1])
		default:
			return 0, ErrTooManyOpen.With("userId", p.UserID)
		}
	}
}

// release frees a place whose trade is over, or never came to be.
func (s *Service) release(ctx context.Context, character, id string) (freed bool, err error) {
	d, err := s.find(ctx, id)
	switch {
	case errors.Is(err, fault.ErrNotFound):
		n, err := s.scripts.Do(ctx, unreserveScript, []string{keys.CharacterTrades(character)}, id, forsaken.Milliseconds()).Int()
		return n == 1, trouble(err, "trade "+id+": free a place")
	case err != nil:
		return false, err
	case !d.over():
		return false, nil
	}
	err = s.rdb.HDel(ctx, keys.CharacterTrades(character), id).Err()
	return true, trouble(err, "trade "+id+": free a place")
}

// unreserve frees the places of a trade that is over, or will not be.
func (s *Service) unreserve(ctx context.Context, t Trade) error {
	pipe := s.rdb.Pipeline()
	for _, p := range t.Parties {
		pipe.HDel(ctx, keys.CharacterTrades(p.CharacterID), t.TradeID)
	}
	_, err := pipe.Exec(ctx)
	return trouble(err, "trade "+t.TradeID+": free the places")
}

// watch sees to it that the sweeper looks at a trade in so many ms, and returns when that is, Unix ms. It is as durable as what
// follows it, which on a Cluster lies on other servers: goods in escrow for a trade that nobody looks at would stay there.
func (s *Service) watch(ctx context.Context, id string, in int64) (at int64, err error) {
	answer, err := s.run(ctx, watchScript, []string{keys.OpenTrades}, id, in, "", "")
	if err != nil {
		return 0, trouble(err, "trade "+id+": watch")
	}
	return number(answer[1]), nil
}

// OpenTrades are the trades that are open or settling, at most 1,000.
func (s *Service) OpenTrades(ctx context.Context) ([]Trade, error) {
	ids, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{Key: keys.OpenTrades, Start: 0, Stop: 999}).Result()
	if err != nil {
		return nil, trouble(err, "trade: list the open")
	}
	trades := []Trade{}
	for _, id := range ids {
		d, err := s.find(ctx, id)
		switch {
		case errors.Is(err, fault.ErrNotFound):
		case err != nil:
			return nil, err
		case !d.over() && d.kind != kindMint:
			trades = append(trades, d.Trade)
		}
	}
	return trades, nil
}
