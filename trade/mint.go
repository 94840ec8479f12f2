package trade

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade/ledger"
)

const maxMintKey = 256 // bytes; a character's id may be a part of it

// A MintRequest is goods that are to come into being, such as a reward.
type MintRequest struct {
	// Key makes it happen once, for ever: a second mint under the same key makes nothing and
	// returns what the first did; with other goods or for another character it is CONFLICT. At most
	// 256 bytes, such as "combat:<id>:<character>". Empty: every call makes goods.
	Key         string
	CharacterID string // need not exist yet
	Items       []Line
	Gold        int64
}

// Mint makes goods come into being. It returns the ref of the ledger's entry (ledger.Entry.Ref).
//
// Codes: INVALID (field characterId, key, items[i].… or gold), TRADE_EMPTY, TRADE_TOO_MANY_LINES,
// TRADE_OVERFLOW, CONFLICT, LOCKED: nothing was minted. UNAVAILABLE, TIMEOUT: the outcome is open;
// with a key, ask again.
func (s *Service) Mint(ctx context.Context, in MintRequest) (ref string, err error) {
	goods := Goods{Items: in.Items, Gold: in.Gold}.Sorted()
	if err := in.checkPayload(goods); err != nil {
		return "", err
	}
	ref = newTradeID()
	if in.Key != "" {
		ref = ledger.MintRef(in.Key)
	}
	err = s.settler.settleMint(ctx, ref, in.CharacterID, goods)
	switch {
	case err == nil:
		return ref, nil
	case errors.Is(err, errMinted):
		return ref, s.checkEarlierMint(ctx, ref, in.CharacterID, goods)
	}
	return "", err
}

func (in MintRequest) checkPayload(goods Goods) error {
	if err := identity.CheckID("characterId", in.CharacterID); err != nil {
		return err
	}
	isUnprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(in.Key) > maxMintKey || !utf8.ValidString(in.Key) || strings.ContainsFunc(in.Key, isUnprintable) {
		return fault.Invalid("key", "at most 256 bytes of printable UTF-8")
	}
	return goods.Check("")
}

// checkEarlierMint compares an earlier mint with what is asked for now.
func (s *Service) checkEarlierMint(ctx context.Context, ref, characterID string, goods Goods) error {
	entry, isWritten, err := s.ledger.FindEntry(ctx, ref)
	switch {
	case err != nil:
		return wrapRedisError(err, "mint "+ref)
	case !isWritten:
		return errNoTrade
	}
	if err := s.confirmDurable(ctx, keys.TradeLedgerIndex); err != nil {
		return wrapRedisError(err, "mint "+ref+": confirm")
	}
	if !entry.IsMintOf(characterID, goods) {
		return fault.ErrConflict.With("field", "key")
	}
	return nil
}
