package trade

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// retold is for how long after its telling an outcome is told again to a user who comes back: the
// connection that it was told over may have been dead already.
const retold = time.Minute

// conclude does everything that follows a decision, by whoever comes to it, as often as it is called.
// What fails is left to the sweeper: the decision stands.
func (s *Service) conclude(ctx context.Context, d deal) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	s.missed(ctx, s.concluded(ctx, d))
}

func (s *Service) concluded(ctx context.Context, d deal) error {
	inSteps := s.cluster && d.deadline > 0
	now := int64(0)
	if inSteps {
		var err error
		if now, err = s.clock(ctx); err != nil { // before the marks are judged, so that none is left behind
			return err
		}
		if err := s.close(ctx, d); err != nil {
			return err
		}
	}
	if d.kind == kindTrade {
		if err := s.unreserve(ctx, d.Trade); err != nil {
			return err
		}
	}
	var untold error
	if !d.told && s.cast != nil {
		untold = s.announce(ctx, d)
	}
	// Holds may still be on their way until the deadline was over for Skew, by the clock of each server.
	if at := d.deadline + 2*s.cfg.Skew.Milliseconds(); inSteps && now < at {
		err := s.scripts.Do(ctx, watchScript, []string{keys.OpenTrades}, d.TradeID, "", at, "").Err()
		return errors.Join(untold, trouble(err, "trade "+d.TradeID+": watch"))
	}
	if untold != nil {
		return untold
	}
	pipe := s.rdb.Pipeline()
	pipe.PExpire(ctx, keys.Trade(d.TradeID), s.cfg.Keep)
	pipe.ZRem(ctx, keys.OpenTrades, d.TradeID)
	_, err := pipe.Exec(ctx)
	return trouble(err, "trade "+d.TradeID+": conclude")
}

// close carries a decision out in both inventories and in the ledger.
func (s *Service) close(ctx context.Context, d deal) error {
	until := d.deadline + s.cfg.Skew.Milliseconds()
	for side, p := range d.Parties {
		if p.CharacterID == "" {
			continue
		}
		args := []any{d.TradeID, until, "undo"}
		if d.Status == Completed {
			args = append([]any{d.TradeID, until, "apply"}, d.Parties[1-side].Offer.fields()...)
		}
		answer, err := s.run(ctx, closeScript, []string{keys.Inventory(p.CharacterID)}, args...)
		if err != nil {
			return trouble(err, "trade "+d.TradeID+": close")
		}
		if answer[0] == "corrupt" {
			return refusal(answer, Goods{})
		}
	}
	if d.Status != Completed {
		return nil
	}
	moves, at := d.moves(), d.endedAt
	if d.kind == kindGift {
		at = d.CreatedAt
	}
	var items []any
	if d.kind == kindMint {
		moves[0].ToUser = ""
		for _, l := range moves[0].Items {
			items = append(items, l.ItemID)
		}
	}
	body := appendMoves(nil, moves)
	_, err := s.run(ctx, appendScript, []string{keys.TradeLedger, keys.TradeLedgerIndex, keys.MintedItems},
		append([]any{d.ref, d.kind, at, body, digest(d.kind, d.ref, body)}, items...)...)
	return trouble(err, "trade "+d.TradeID+": ledger")
}

// clock is Redis's, Unix ms.
func (s *Service) clock(ctx context.Context) (int64, error) {
	t, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return 0, trouble(err, "trade: time")
	}
	return t.UnixMilli(), nil
}

// announce tells both parties how it ended, once over all nodes, and remembers it for those who are not
// there. A gift is told to those who are there.
func (s *Service) announce(ctx context.Context, d deal) error {
	if d.kind == kindMint || d.kind == kindGift && d.Status != Completed {
		return nil
	}
	name := "trade:completed"
	if d.Status != Completed {
		name = "trade:cancelled"
	}
	if d.kind == kindTrade {
		if err := s.remember(ctx, d, s.cfg.Keep, d.Parties...); err != nil {
			return err
		}
	}
	first, err := s.rdb.HSetNX(ctx, keys.Trade(d.TradeID), "told", 1).Result()
	if err != nil {
		return trouble(err, "trade "+d.TradeID+": tell")
	}
	if !first {
		return nil
	}
	s.castAll(ctx, name, d.Trade)
	if d.kind != kindTrade {
		return nil
	}
	var there []Party
	for _, p := range d.Parties {
		reached, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		if n, _ := s.cast.Reach(reached, "user:"+p.UserID); n > 0 {
			there = append(there, p)
		}
		cancel()
	}
	return s.remember(ctx, d, retold, there...)
}

// remember keeps an outcome for users who come back within a time.
func (s *Service) remember(ctx context.Context, d deal, kept time.Duration, who ...Party) error {
	if len(who) == 0 {
		return nil
	}
	until := time.Now().Add(kept).UnixMilli() // a hint: no order hangs on it
	pipe := s.rdb.Pipeline()
	for _, p := range who {
		pipe.ZAdd(ctx, keys.TradeOutcomes(p.UserID), redis.Z{Score: float64(until), Member: d.TradeID})
		pipe.PExpire(ctx, keys.TradeOutcomes(p.UserID), s.cfg.Keep)
	}
	_, err := pipe.Exec(ctx)
	return trouble(err, "trade "+d.TradeID+": remember")
}
