package trade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/keys"
)

// On a Cluster no script reaches all keys of a trade, so it is settled in steps. Each is one script on
// one key, does nothing when it is repeated, and may be the last that a process does:
//
//	watch    the sweeper will look at it when it should be decided
//	claim    the pair's fence rises; what an earlier holder left undecided is ended first
//	begin    the trade is settling: under this fence, until a deadline
//	hold     what each side gives moves into escrow in its own inventory
//	decide   settling becomes completed, under this fence: the commit point
//	close    each side's escrow goes and the other's goods come, or it comes back
//	append   the ledger's entry
//
// Before decide anybody may end the trade as failed, once its deadline is over; after it nobody may.
// Everything behind decide, and the way back, is the work of conclude, by whoever comes to it first.
// A hold that is late on its way finds the mark that close left, or the deadline over (by Redis's
// clock); the marks go when the deadline has been over for Config.Skew, and the trade is forgotten as late again, when that is so
// by the clock of every server.

// exchangeInSteps settles a trade between two; the caller concludes it.
func (s *Service) exchangeInSteps(ctx context.Context, d deal, side int, mine fence) (deal, error) {
	latest, err := s.claim(ctx, d, mine)
	if err != nil {
		return deal{}, err
	}
	answer, err := s.run(ctx, acceptScript, []string{keys.Trade(d.TradeID)}, letter(side), d.Version, string(mine), latest, s.cfg.DecideWithin.Milliseconds())
	if err != nil {
		s.abandon(ctx, d.TradeID)
		return deal{}, trouble(err, "trade "+d.TradeID+": begin")
	}
	if answer[0] != "ok" {
		return deal{}, refusal(answer, Goods{})
	}
	begun, err := fromAnswer(d.TradeID, answer)
	if err != nil {
		return deal{}, err
	}
	if begun.Status != Settling { // the other took their acceptance back, by a new offer: not with this version
		return deal{}, ErrStale.With("version", begun.Version)
	}
	done, whose, why := s.carry(ctx, begun)
	var f *fault.Fault
	if whose < 0 || !errors.As(why, &f) {
		return done, why
	}
	if whose != side {
		if item := f.Detail("itemId"); item != nil {
			f = fault.New(f.Code, f.Message).With("itemId", item)
		} else {
			f = fault.New(f.Code, f.Message)
		}
	}
	return deal{}, s.fail(ctx, begun, Settling, "fence", begun.fence, f.With("userId", begun.Parties[whose].UserID))
}

// claim does what comes before a settlement; latest is when it must have begun.
func (s *Service) claim(ctx context.Context, d deal, mine fence) (latest int64, err error) {
	if latest, err = s.watch(ctx, d.TradeID, s.cfg.DecideWithin.Milliseconds()); err != nil {
		return 0, err
	}
	if d.kind == kindMint { // nobody's lock
		return latest, nil
	}
	a, b := d.Parties[0].UserID, d.Parties[1].UserID
	answer, err := s.run(ctx, claimScript, []string{keys.TradeFence(min(a, b), max(a, b))}, string(mine), d.TradeID, fenceKept.Milliseconds())
	if err != nil {
		return 0, trouble(err, "trade "+d.TradeID+": claim")
	}
	if answer[0] != "ok" {
		return 0, refusal(answer, Goods{})
	}
	if before := answer[1]; before != "" && before != d.TradeID {
		if err := s.resolve(ctx, before, true); err != nil {
			return 0, err
		}
	}
	return latest, nil
}

// begin writes a deal that is settling from the start: a gift or a mint.
func (s *Service) begin(ctx context.Context, d deal, latest int64) (deal, error) {
	answer, err := s.run(ctx, createScript, []string{keys.Trade(d.TradeID)},
		append([]any{latest, s.cfg.Keep.Milliseconds(), s.cfg.DecideWithin.Milliseconds()}, d.fields()...)...)
	if err != nil {
		return deal{}, trouble(err, "trade "+d.TradeID+": begin")
	}
	if answer[0] != "ok" {
		return deal{}, refusal(answer, Goods{})
	}
	return fromAnswer(d.TradeID, answer)
}

// carry holds and decides. whose is the side that lacks something, or -1; then the deal is still settling.
func (s *Service) carry(ctx context.Context, d deal) (done deal, whose int, err error) {
	for side, p := range d.Parties {
		if p.CharacterID == "" {
			continue
		}
		gives, gets := p.Offer.fields(), d.Parties[1-side].Offer.fields()
		args := append([]any{d.TradeID, d.deadline, Max, 4 + len(gives)}, gives...)
		answer, err := s.run(ctx, holdScript, []string{keys.Inventory(p.CharacterID)}, append(args, gets...)...)
		if err != nil {
			s.abandon(ctx, d.TradeID)
			return deal{}, -1, trouble(err, "trade "+d.TradeID+": hold")
		}
		switch answer[0] {
		case "ok":
			continue
		case "short", "overflow":
			return deal{}, side, s.lacks(ctx, p.Offer, answer)
		}
		s.abandon(ctx, d.TradeID)
		return deal{}, -1, refusal(answer, p.Offer)
	}
	done, ok, err := s.end(ctx, d.TradeID, Settling, Completed, "", "fence", d.fence)
	switch {
	case err != nil:
		s.abandon(ctx, d.TradeID)
		return deal{}, -1, err
	case !ok: // its time was over, and somebody has ended it
		s.conclude(ctx, done)
		return deal{}, -1, fault.ErrLocked.Because(fmt.Errorf("trade %s: %s by another", d.TradeID, done.Status))
	}
	return done, -1, nil
}

// abandon gives back at once what may be held, where Redis lets us; the sweeper does it otherwise.
// The decision may have been made: then it stands.
func (s *Service) abandon(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	_ = s.resolve(ctx, id, true)
}

// resolve brings a deal that somebody left to its end. By force one that is still being settled ends as
// failed; otherwise only when its time is over.
func (s *Service) resolve(ctx context.Context, id string, force bool) error {
	d, err := s.find(ctx, id)
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	cond := "due"
	if force {
		cond = "any"
	}
	switch d.Status {
	case Settling:
		d, _, err = s.end(ctx, id, Settling, Failed, "INTERRUPTED", cond, "")
	case Open:
		if d.ExpiresAt > 0 && !force {
			d, _, err = s.end(ctx, id, Open, Expired, "", "due", "")
		}
	}
	if err != nil || !d.over() {
		return err
	}
	s.conclude(ctx, d)
	return nil
}

// giveInSteps settles a gift; was is what stood in the record, a trade that failed or nothing.
func (s *Service) giveInSteps(ctx context.Context, d deal, record, body, was string, mine fence) (done deal, again *Trade, err error) {
	d.Status, d.fence = Settling, string(mine)
	latest, err := s.claim(ctx, d, mine)
	if err != nil {
		return deal{}, nil, err
	}
	if d, err = s.begin(ctx, d, latest); err != nil {
		return deal{}, nil, err
	}
	answer, err := s.run(ctx, recordScript, []string{record}, d.TradeID+" "+body, was, s.cfg.Keep.Milliseconds())
	if err != nil {
		s.abandon(ctx, d.TradeID)
		return deal{}, nil, trouble(err, "trade "+d.TradeID+": record")
	}
	if answer[0] != "ok" { // somebody else used the key meanwhile
		s.abandon(ctx, d.TradeID)
		again, _, err := s.recall(ctx, record, body)
		if err == nil && again == nil {
			err = fault.ErrLocked
		}
		return deal{}, again, err
	}
	done, whose, err := s.carry(ctx, d)
	if whose >= 0 {
		s.abandon(ctx, d.TradeID)
	}
	return done, nil, err
}

// mintInSteps mints on a Cluster. A record keeps two mints under one key apart until the ledger does.
func (s *Service) mintInSteps(ctx context.Context, in MintRequest, ref string, goods Goods) error {
	record, was := mintRecordKey(ref), ""
	v, err := s.rdb.Get(ctx, record).Result()
	if err == nil {
		before, err := s.find(ctx, v)
		switch {
		case errors.Is(err, fault.ErrNotFound):
		case err != nil:
			return err
		case before.Status == Settling:
			return fault.ErrLocked
		case before.Status == Completed:
			s.conclude(ctx, before)
			return errSeen
		}
		was = v
	} else if !isNil(err) {
		return trouble(err, "mint: look up the key")
	}
	d := deal{Trade: Trade{TradeID: newID(), Status: Settling, Version: 1, Parties: []Party{
		{Offer: goods, Accepted: true}, {CharacterID: in.CharacterID, Offer: Goods{}.sorted(), Accepted: true},
	}}, kind: kindMint, ref: ref, fence: "0"}
	latest, err := s.claim(ctx, d, "")
	if err != nil {
		return err
	}
	if d, err = s.begin(ctx, d, latest); err != nil {
		return err
	}
	answer, err := s.run(ctx, recordScript, []string{record}, d.TradeID, was, s.cfg.Keep.Milliseconds())
	if err != nil || answer[0] != "ok" {
		s.abandon(ctx, d.TradeID)
		if err == nil {
			return fault.ErrLocked
		}
		return trouble(err, "mint "+ref+": record")
	}
	done, whose, err := s.carry(ctx, d)
	if whose >= 0 {
		s.abandon(ctx, d.TradeID)
	}
	if err == nil {
		s.conclude(ctx, done)
	}
	return err
}
