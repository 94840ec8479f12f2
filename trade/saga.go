package trade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// sagaSettler settles on a Cluster, where no script reaches all keys of a trade. A settlement is a
// saga: each step is one script on one key, does nothing when it is repeated, and may be the last
// that a process does:
//
//	prepare   watch    the sweeper will look at the trade when it should be decided
//	          claim    the pair's fence rises; what an earlier holder left undecided is ended first
//	          begin    the trade is settling: under this fence, until a deadline
//	          hold     what each side gives moves into escrow in its own inventory
//	decide    end      settling becomes completed, under this fence: the commit point
//	finalize  close    each side's escrow goes and the other's goods come, or it comes back
//	          append   the ledger's entry
//
// Before the decision, any process may end the trade as failed once its deadline is over. After the
// decision no process may. Everything that follows the decision, and the rollback of a trade that
// failed, is done by finalize, which any process may call.
//
// A hold may reach Redis late, after the trade was closed. It moves nothing then: it finds the mark
// that close left in the inventory, or the deadline over by Redis's clock. Marks are removed when
// the deadline has been over for Config.Skew. So the sweeper finalizes the trade once more after
// twice that time, when this is so by the clock of every server, and only then forgets it.
type sagaSettler struct{ *core }

func newSagaSettler(c *core) *sagaSettler { return &sagaSettler{core: c} }

// fenceKept is how long the fence of a pair is kept on a Cluster: far longer than a holder can be
// paused and still have a caller.
const fenceKept = time.Hour

// settleGift gives under a lease of the pair's lock.
func (s *sagaSettler) settleGift(ctx context.Context, g giftRequest) (Trade, error) {
	earlier, record, err := s.findEarlierGift(ctx, g)
	if err != nil || earlier != nil {
		return tradeOrZero(earlier), err
	}
	d := g.newSettlement()
	if d.Parties[0].CharacterID, d.Parties[1].CharacterID, err = s.resolveBoth(ctx, g.giver, g.to); err != nil {
		return Trade{}, err
	}
	var done settlement
	err = s.runUnderLease(ctx, d, func(ctx context.Context, fence string) (err error) {
		done, earlier, err = s.runGiftSaga(ctx, d, g, record, fence)
		return err
	})
	switch {
	case err != nil:
		return Trade{}, err
	case earlier != nil:
		return *earlier, nil
	}
	s.finalize(ctx, done) // whatever became of the lock afterwards
	return done.Trade, nil
}

// settleTrade settles under a lease of the pair's lock.
func (s *sagaSettler) settleTrade(ctx context.Context, d settlement, side int) (Trade, error) {
	var done settlement
	err := s.runUnderLease(ctx, d, func(ctx context.Context, fence string) (err error) {
		done, err = s.runTradeSaga(ctx, d, side, fence)
		return err
	})
	if err != nil {
		return Trade{}, err
	}
	s.finalize(ctx, done) // whatever became of the lock afterwards
	return done.Trade, nil
}

// settleMint mints unless the ledger has an entry for ref. Until the entry is written, a record of
// the ref prevents a second mint under it.
func (s *sagaSettler) settleMint(ctx context.Context, ref, characterID string, goods Goods) error {
	if _, isWritten, err := s.ledger.FindEntry(ctx, ref); err != nil {
		return wrapRedisError(err, "mint "+ref)
	} else if isWritten {
		return errMinted
	}
	recordKey := mintRecordKey(ref)
	record, err := s.rdb.Get(ctx, recordKey).Result()
	if err != nil && !isMissingKey(err) {
		return wrapRedisError(err, "mint "+ref+": look up the key")
	}
	if record != "" {
		earlier, err := s.findSettlement(ctx, record)
		switch {
		case errors.Is(err, fault.ErrNotFound):
		case err != nil:
			return err
		case earlier.Status == Settling:
			return fault.ErrLocked
		case earlier.Status == Completed:
			s.finalize(ctx, earlier)
			return errMinted
		}
	}
	done, err := s.runMintSaga(ctx, settlement{Trade: Trade{TradeID: newTradeID(), Status: Settling, Version: 1, Parties: []Party{
		{Offer: goods, Accepted: true}, {CharacterID: characterID, Offer: Goods{}.Sorted(), Accepted: true},
	}}, kind: ledger.KindMint, ref: ref, fence: "0"}, recordKey, record)
	if err != nil {
		return err
	}
	s.finalize(ctx, done)
	return nil
}

// runGiftSaga prepares and decides a gift; the caller finalizes it. record is what stands in the
// record of the idempotency key: a trade that failed, or nothing. earlier is the trade that was
// made under the key meanwhile.
func (s *sagaSettler) runGiftSaga(ctx context.Context, d settlement, g giftRequest, record, fence string) (done settlement, earlier *Trade, err error) {
	d.Status, d.fence = Settling, fence
	latest, err := s.claimPairFence(ctx, d)
	if err != nil {
		return settlement{}, nil, err
	}
	if d, err = s.createSettling(ctx, d, latest); err != nil {
		return settlement{}, nil, err
	}
	isTaken, err := s.takeKeyRecord(ctx, g.recordKey, d.TradeID+" "+g.bodyHash, record)
	if err != nil {
		s.rollback(ctx, d.TradeID)
		return settlement{}, nil, wrapRedisError(err, "trade "+d.TradeID+": record")
	}
	if !isTaken { // another node used the key meanwhile
		s.rollback(ctx, d.TradeID)
		earlier, _, err := s.findEarlierGift(ctx, g)
		if err == nil && earlier == nil {
			err = fault.ErrLocked
		}
		return settlement{}, earlier, err
	}
	if _, err := s.prepare(ctx, d); err != nil {
		s.rollback(ctx, d.TradeID)
		return settlement{}, nil, err
	}
	done, err = s.decide(ctx, d)
	return done, nil, err
}

// runTradeSaga prepares and decides a trade between two; the caller finalizes it. If one side
// cannot keep its offer, the trade ends as failed.
func (s *sagaSettler) runTradeSaga(ctx context.Context, d settlement, side int, fence string) (settlement, error) {
	d.fence = fence
	latest, err := s.claimPairFence(ctx, d)
	if err != nil {
		return settlement{}, err
	}
	claim := event.ClaimOf(ctx)
	scriptKeys, args := addClaim(claim, []string{keys.Trade(d.TradeID)},
		[]any{sideLetter(side), d.Version, fence, latest, s.cfg.DecideWithin.Milliseconds(), d.TradeID}, nil)
	answer, err := s.runDurableScript(ctx, acceptScript, scriptKeys, args...)
	if err != nil {
		s.rollback(ctx, d.TradeID)
		return settlement{}, wrapRedisError(err, "trade "+d.TradeID+": begin")
	}
	switch answer[0] {
	case "ok":
	case "once": // it was accepted under the key while the other had not
		if _, err := recordedTrade(claim, answer); err != nil {
			return settlement{}, err
		}
		return settlement{}, fault.ErrLocked
	default:
		return settlement{}, refusalError(answer, Goods{})
	}
	begun, err := parseScriptTrade(d.TradeID, answer)
	if err != nil {
		return settlement{}, err
	}
	if begun.Status != Settling { // the other took their acceptance back, by a new offer: not with this version
		return settlement{}, ErrStale.With("version", begun.Version)
	}
	lacking, err := s.prepare(ctx, begun)
	var shortage *fault.Fault
	switch {
	case err == nil:
		return s.decide(ctx, begun)
	case lacking >= 0 && errors.As(err, &shortage):
		reason := shortageFault(shortage, begun.Parties[lacking], lacking == side)
		return settlement{}, s.endTradeAsFailed(ctx, begun, statusTransition{from: Settling, to: Failed, reason: reason.Code, condition: "fence", value: begun.fence}, reason)
	}
	s.rollback(ctx, d.TradeID)
	return settlement{}, err
}

// runMintSaga prepares and decides a mint; the caller finalizes it. record is what stands in the
// record of the ref: a mint that failed, or nothing.
func (s *sagaSettler) runMintSaga(ctx context.Context, d settlement, recordKey, record string) (settlement, error) {
	latest, err := s.scheduleCheck(ctx, d.TradeID, s.cfg.DecideWithin)
	if err != nil {
		return settlement{}, err
	}
	if d, err = s.createSettling(ctx, d, latest); err != nil {
		return settlement{}, err
	}
	isTaken, err := s.takeKeyRecord(ctx, recordKey, d.TradeID, record)
	switch {
	case err != nil:
		s.rollback(ctx, d.TradeID)
		return settlement{}, wrapRedisError(err, "mint "+d.ref+": record")
	case !isTaken: // another node used the ref meanwhile
		s.rollback(ctx, d.TradeID)
		return settlement{}, fault.ErrLocked
	}
	if _, err := s.prepare(ctx, d); err != nil {
		s.rollback(ctx, d.TradeID)
		return settlement{}, err
	}
	return s.decide(ctx, d)
}

// claimPairFence schedules the sweeper's check of the trade, raises the pair's fence to that of the
// settlement, and ends the settlement that an earlier holder of the lock did not finish. latest is
// the time before which the settlement must begin, Unix ms.
func (s *sagaSettler) claimPairFence(ctx context.Context, d settlement) (latest int64, err error) {
	if latest, err = s.scheduleCheck(ctx, d.TradeID, s.cfg.DecideWithin); err != nil {
		return 0, err
	}
	a, b := d.Parties[0].UserID, d.Parties[1].UserID
	answer, err := s.runDurableScript(ctx, claimScript, []string{keys.TradeFence(min(a, b), max(a, b))},
		d.fence, d.TradeID, fenceKept.Milliseconds())
	if err != nil {
		return 0, wrapRedisError(err, "trade "+d.TradeID+": claim")
	}
	if answer[0] != "ok" {
		return 0, refusalError(answer, Goods{})
	}
	if before := answer[1]; before != "" && before != d.TradeID {
		if err := s.endUnfinished(ctx, before, "any"); err != nil {
			return 0, err
		}
	}
	return latest, nil
}

// createSettling writes a settlement that has no open trade before it: a gift or a mint.
func (s *sagaSettler) createSettling(ctx context.Context, d settlement, latest int64) (settlement, error) {
	answer, err := s.runDurableScript(ctx, createScript, []string{keys.Trade(d.TradeID)},
		append([]any{latest, s.cfg.Keep.Milliseconds(), s.cfg.DecideWithin.Milliseconds()}, d.hashFields()...)...)
	if err != nil {
		return settlement{}, wrapRedisError(err, "trade "+d.TradeID+": begin")
	}
	if answer[0] != "ok" {
		return settlement{}, refusalError(answer, Goods{})
	}
	return parseScriptTrade(d.TradeID, answer)
}

// takeKeyRecord writes the record of an idempotency key in place of what stood there. isTaken is
// false when something else stands there meanwhile.
func (s *sagaSettler) takeKeyRecord(ctx context.Context, recordKey, text, before string) (isTaken bool, err error) {
	answer, err := s.runDurableScript(ctx, recordScript, []string{recordKey}, text, before, s.cfg.Keep.Milliseconds())
	return err == nil && answer[0] == "ok", err
}

// prepare moves what each side gives into escrow. lacking is the side that cannot keep its offer,
// or -1 when something else failed. After an error the settlement is still settling: the caller
// ends it.
func (s *sagaSettler) prepare(ctx context.Context, d settlement) (lacking int, err error) {
	for side, p := range d.Parties {
		if p.CharacterID == "" {
			continue
		}
		gives, gets := p.Offer.InventoryFields(), d.Parties[1-side].Offer.InventoryFields()
		args := append([]any{d.TradeID, d.deadline, Max, 4 + len(gives)}, gives...)
		answer, err := s.runDurableScript(ctx, holdScript, []string{keys.Inventory(p.CharacterID)}, append(args, gets...)...)
		if err != nil {
			return -1, wrapRedisError(err, "trade "+d.TradeID+": hold")
		}
		switch answer[0] {
		case "ok":
			continue
		case "short", "overflow":
			return side, s.refuseShortage(ctx, p.Offer, answer)
		}
		return -1, refusalError(answer, p.Offer)
	}
	return -1, nil
}

// decide makes the settlement completed, under the fence with which it began: the commit point. The
// caller finalizes it.
func (s *sagaSettler) decide(ctx context.Context, d settlement) (settlement, error) {
	decided, isOurs, err := s.changeStatus(ctx, d.TradeID, statusTransition{from: Settling, to: Completed, condition: "fence", value: d.fence})
	switch {
	case err != nil:
		s.rollback(ctx, d.TradeID)
		return settlement{}, err
	case !isOurs: // the deadline was over, and another process has ended the trade
		s.finalize(ctx, decided)
		return settlement{}, fault.ErrLocked.Because(fmt.Errorf("trade %s: %s by another", d.TradeID, decided.Status))
	}
	return decided, nil
}

// rollback gives back what may be in escrow. If Redis does not answer, the sweeper does it later.
// If the trade was decided after all and the answer was lost, the decision stands and is finalized.
func (s *sagaSettler) rollback(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	_ = s.endUnfinished(ctx, id, "any") // else the sweeper does it
}
