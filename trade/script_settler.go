package trade

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/once"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

// scriptSettler settles on one Redis server: one script checks the lock or the fence, moves the
// goods and writes the ledger's entry.
type scriptSettler struct {
	*core
	settlementScripts
	mintScript *redisx.Script

	checksLock bool          // the scripts check the lock; a lease is needed only while another holder has it
	receivers  receiverCache // not used when the scripts cannot check which character a receiver plays
}

// newScriptSettler makes the scripts with the Lua of a ScriptLocker and of ScriptCharacters.
func newScriptSettler(c *core) *scriptSettler {
	s := &scriptSettler{core: c}
	locksLua, charactersLua := fenceLua, unknownCharacterLua
	if l, ok := c.locks.(ScriptLocker); ok {
		if lua := l.ScriptGuard(); lua != "" {
			locksLua, s.checksLock = lua, true
		}
	}
	if l, ok := c.characters.(ScriptCharacters); ok {
		if lua := l.CharacterLua(); lua != "" {
			charactersLua, s.receivers.isUsed = lua, true
		}
	}
	s.settlementScripts = newSettlementScripts(locksLua, charactersLua, c.cfg.AnnounceLua, c.cfg.Keep)
	s.mintScript = ledger.NewMintScript(c.cfg.AnnounceLua)
	return s
}

// settleGift gives to the character that the receiver played when they were last given something,
// if the script can see that they still do; else to the character that Characters name.
func (s *scriptSettler) settleGift(ctx context.Context, g giftRequest) (Trade, error) {
	// A repeat is answered although the goods are gone or the lock is busy. The script looks at the
	// record before it refuses; but where a lease comes first, the script may not come to run.
	if !s.checksLock {
		if earlier, _, err := s.findEarlierGift(ctx, g); err != nil || earlier != nil {
			return tradeOrZero(earlier), err
		}
	}
	d := g.newSettlement()
	giver, receiver := &d.Parties[0], &d.Parties[1]
	guessed := s.receivers.guessCharacter(g)
	if guessed != "" {
		receiver.CharacterID, d.isReceiverGuessed = guessed, true
		if t, err := s.giveInsideLock(ctx, d, g); !errors.Is(err, errOtherCharacter) {
			return t, err
		}
		d.isReceiverGuessed = false
	}
	var err error
	if giver.CharacterID, receiver.CharacterID, err = s.resolveBoth(ctx, g.giver, g.to); err != nil {
		// A repeat is answered although the receiver has left.
		if earlier, _, failed := s.findEarlierGift(ctx, g); failed != nil || earlier != nil {
			return tradeOrZero(earlier), failed
		}
		return Trade{}, err
	}
	s.receivers.rememberCharacter(g.to, receiver.CharacterID, guessed)
	return s.giveInsideLock(ctx, d, g)
}

// giveInsideLock gives inside the lock of the two users and tells them, or returns the trade that
// the key stands for.
func (s *scriptSettler) giveInsideLock(ctx context.Context, d settlement, g giftRequest) (Trade, error) {
	var earlier *Trade
	err := s.runInsideLock(ctx, d, func(ctx context.Context, fence string) (err error) {
		earlier, err = s.runGiftScript(ctx, &d, g, fence)
		return err
	})
	switch {
	case err != nil:
		return Trade{}, err
	case earlier != nil:
		return *earlier, nil
	}
	s.reportSettled(d)
	s.castToParties(ctx, "trade:completed", d)
	return d.Trade, nil
}

// settleTrade settles inside the lock of the two users and tells them.
func (s *scriptSettler) settleTrade(ctx context.Context, d settlement, side int) (Trade, error) {
	var done settlement
	err := s.runInsideLock(ctx, d, func(ctx context.Context, fence string) (err error) {
		done, err = s.runTradeScript(ctx, d, side, fence)
		return err
	})
	if err != nil {
		return Trade{}, err
	}
	s.finalize(ctx, done) // also if the lease was lost after the goods moved
	return done.Trade, nil
}

// settleMint mints by one script.
func (s *scriptSettler) settleMint(ctx context.Context, ref, characterID string, goods Goods) error {
	body, digest := ledger.EncodeEntry(ledger.KindMint, ref, ledger.MintMoves(characterID, goods))
	answer, err := s.runDurableScript(ctx, s.mintScript,
		[]string{keys.Inventory(characterID), keys.TradeLedger, keys.TradeLedgerIndex, keys.MintedItems},
		append([]any{ref, Max, body, digest}, goods.InventoryFields()...)...)
	switch {
	case err != nil:
		return wrapRedisError(err, "mint "+ref)
	case answer[0] == "ok":
		return nil
	case answer[0] == "seen": // under this key, or the client library asked twice
		return errMinted
	}
	return refusalError(answer, goods)
}

// runInsideLock runs settle inside the lock of the trade's two users: without a lease where
// settle's script sees that the lock is free, under a lease where somebody has the lock and where
// the script cannot see it.
func (s *scriptSettler) runInsideLock(ctx context.Context, d settlement, settle func(ctx context.Context, fence string) error) error {
	if s.checksLock {
		if err := settle(ctx, noLease); !errors.Is(err, errLockHeld) {
			return err
		}
	}
	return s.runUnderLease(ctx, d, settle)
}

// runGiftScript moves a gift. It fills in d's times when the goods moved, and returns the earlier
// trade when the key was used before.
func (s *scriptSettler) runGiftScript(ctx context.Context, d *settlement, g giftRequest, fence string) (*Trade, error) {
	t := &d.Trade
	giver, receiver := t.Parties[0], t.Parties[1]
	body, digest := ledger.EncodeEntry(ledger.KindGift, t.TradeID, d.ledgerMoves())
	userToCheck := ""
	if d.isReceiverGuessed {
		userToCheck = receiver.UserID
	}
	var args scriptArgs
	args.appendText(t.TradeID, g.recordText(t.TradeID), g.claimToken(), userToCheck, body, digest)
	args.appendGoods(giver.Offer)
	lockKey, fenceKey := s.lockAndFenceKeys(*t)
	scriptKeys := append(make([]string, 0, 5), keys.Inventory(giver.CharacterID), keys.Inventory(receiver.CharacterID), g.recordKey, lockKey)
	script := s.gift
	if fence != noLease {
		script, scriptKeys = s.leasedGift, append(scriptKeys, fenceKey)
		args.appendText(fence)
	}
	answer, err := s.runDurableScript(ctx, script, scriptKeys, args.list...)
	if err != nil {
		return nil, wrapRedisError(err, "trade "+t.TradeID+": settle")
	}
	switch answer[0] {
	case "ok":
		markRecorded(g.claim)
		t.CreatedAt = parseInteger(answer[1])
		t.ExpiresAt = t.CreatedAt + s.cfg.Keep.Milliseconds()
		return nil, nil
	case "once", "seen":
		if answer[0] == "once" && answer[1] == "answer" { // a refusal that another node gave
			first, err := recordedTrade(g.claim, answer)
			return &first, err
		}
		earlier, _, err := s.findEarlierGift(ctx, g)
		if err == nil && earlier == nil {
			err = fault.ErrLocked // the record expired between the two looks
			if g.claim != nil {
				err = once.ErrLost // another holder has the claim
			}
		}
		if earlier != nil {
			markRecorded(g.claim)
		}
		if earlier != nil && earlier.TradeID == t.TradeID {
			// Our own script, repeated by the client library after a lost answer.
			*t = *earlier
			return nil, nil
		}
		return earlier, err
	}
	return nil, refusalError(answer, giver.Offer)
}

// runTradeScript moves what two exchange. If one side cannot keep its offer, the trade ends as
// failed.
func (s *scriptSettler) runTradeScript(ctx context.Context, d settlement, side int, fence string) (settlement, error) {
	a, b := d.Parties[0], d.Parties[1]
	body, digest := ledger.EncodeEntry(ledger.KindTrade, d.TradeID, d.ledgerMoves())
	linesOfA := len(a.Offer.Items)
	if a.Offer.Gold > 0 {
		linesOfA++
	}
	var args scriptArgs
	args.appendText(d.TradeID, sideLetter(side), strconv.FormatInt(d.Version, 10), fence, body, digest,
		strconv.FormatInt(recheckAfter.Milliseconds(), 10), strconv.Itoa(8+2*linesOfA))
	args.appendGoods(a.Offer)
	args.appendGoods(b.Offer)
	lockKey, fenceKey := s.lockAndFenceKeys(d.Trade)
	claim := event.ClaimOf(ctx)
	scriptKeys, list := addClaim(claim, []string{
		keys.Inventory(a.CharacterID), keys.Inventory(b.CharacterID), keys.Trade(d.TradeID), lockKey, fenceKey, keys.OpenTrades,
	}, args.list, nil)
	answer, err := s.runDurableScript(ctx, s.trade, scriptKeys, list...)
	if err != nil {
		return settlement{}, wrapRedisError(err, "trade "+d.TradeID+": settle")
	}
	switch answer[0] {
	case "ok":
		markRecorded(claim)
		return parseScriptTrade(d.TradeID, answer)
	case "once": // our own script, repeated by the client library after a lost answer, or we were late
		if _, err := recordedTrade(claim, answer); err != nil {
			return settlement{}, err
		}
		again, err := s.findSettlement(ctx, d.TradeID)
		if err == nil && again.Status != Completed {
			err = fault.ErrLocked
		}
		return again, err
	case "over": // completed: our own script, repeated by the client library after a lost answer
		again, err := s.findSettlement(ctx, d.TradeID)
		if err == nil && again.Status == Completed && again.Version == d.Version {
			return again, nil
		}
		return settlement{}, refusalError(answer, Goods{})
	case "short", "unknown", "overflow":
		lacking := 0
		if answer[3] == sideLetter(1) {
			lacking = 1
		}
		party := d.Parties[lacking]
		var shortage *fault.Fault
		if !errors.As(refusalError(answer, party.Offer), &shortage) {
			shortage = fault.ErrInternal.Because(fmt.Errorf("script answered %q", answer))
		}
		shortage = shortageFault(shortage, party, side == lacking)
		return settlement{}, s.endTradeAsFailed(ctx, d, statusTransition{from: Open, to: Failed, reason: shortage.Code, condition: "version", value: d.Version}, shortage)
	}
	return settlement{}, refusalError(answer, Goods{})
}

// lockAndFenceKeys returns the keys that enter and pass are called with: the lock, and the fence by
// which it is judged.
func (s *scriptSettler) lockAndFenceKeys(t Trade) (lockKey, fenceKey string) {
	name := tradeLockName(t)
	if s.checksLock {
		return keys.LockAndFence(name)
	}
	a, b := t.Parties[0].UserID, t.Parties[1].UserID
	return keys.Lock(name), keys.TradeFence(min(a, b), max(a, b))
}
