package trade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/identity"
	"github.com/aeturnis/realtime/internal/once/record"
)

// A Gift is the payload of trade:execute.
type Gift struct {
	To   string `json:"to"` // a user id
	Give Goods  `json:"give"`
	// IdempotencyKey is the caller's own name for this gift, 1 to 128 characters.
	IdempotencyKey string `json:"idempotencyKey"`
}

// Execute settles a one-sided gift at once and tells both sides trade:completed. The receiver need
// not be online.
//
// Codes: INVALID, TRADE_EMPTY, TRADE_TOO_MANY_LINES, TRADE_OVERFLOW, TRADE_SELF, NO_CHARACTER,
// NOT_FOUND (the receiver), ITEM_UNKNOWN, INSUFFICIENT_ITEMS, INSUFFICIENT_GOLD, CONFLICT, LOCKED:
// nothing moved. UNAVAILABLE, TIMEOUT, INTERNAL: the outcome is open, repeat with the same key.
func (s *Service) Execute(ctx context.Context, p event.Player, in Gift) (Trade, error) {
	if err := in.checkPayload(); err != nil {
		return Trade{}, err
	}
	if in.To == p.UserID {
		return Trade{}, ErrSelf
	}
	in.Give = in.Give.Sorted()
	return s.settler.settleGift(ctx, s.newGiftRequest(ctx, p, in))
}

// giftOutcome tells what became of a gift, for event.Outcome. A gift that has not moved by now may
// be given again: of two scripts with one record, one moves the goods.
func (s *Service) giftOutcome(ctx context.Context, p event.Player, in Gift) (t Trade, isDone bool, err error) {
	if err := in.checkPayload(); err != nil {
		return Trade{}, false, err
	}
	in.Give = in.Give.Sorted()
	g := s.newGiftRequest(ctx, p, in)
	earlier, _, err := s.findEarlierGift(ctx, g)
	if err == nil && earlier != nil {
		markRecorded(g.claim)
	}
	return tradeOrZero(earlier), earlier != nil, err
}

// checkPayload judges the payload alone.
func (g Gift) checkPayload() error {
	if err := identity.CheckID("to", g.To); err != nil {
		return err
	}
	switch n := utf8.RuneCountInString(g.IdempotencyKey); {
	case n == 0:
		return fault.Invalid("idempotencyKey", "required")
	case n > maxKeyLength:
		return fault.Invalid("idempotencyKey", "at most 128 characters")
	}
	return g.Give.Check("give.")
}

// hashGiftBody returns a hash of receiver and goods, by which two requests under one idempotency
// key are compared. The goods must be sorted, so that the order of lines does not count.
func (g Gift) hashGiftBody() string {
	var room [512]byte
	b := append(append(append(room[:0], "gift\n"...), g.To...), '\n')
	b = append(strconv.AppendInt(b, g.Give.Gold, 10), '\n')
	for _, l := range g.Give.Items {
		b = append(strconv.AppendInt(append(append(b, l.ItemID...), ' '), l.Qty, 10), '\n')
	}
	sum := sha256.Sum256(b)
	return string(hex.AppendEncode(room[:0], sum[:20]))
}

// A giftRequest is a gift whose payload was checked.
type giftRequest struct {
	giver event.Player
	to    string // a user id
	goods Goods

	// The record of the idempotency key. On one server, that of an event is its claim's; else the
	// record is the feature's own.
	claim     *event.Claim // nil when the record is the feature's own
	recordKey string
	bodyHash  string // of receiver and goods
}

// newGiftRequest makes the request of a gift whose goods are sorted.
func (s *Service) newGiftRequest(ctx context.Context, p event.Player, in Gift) giftRequest {
	g := giftRequest{giver: p, to: in.To, goods: in.Give}
	if claim := event.ClaimOf(ctx); claim != nil && !s.isCluster {
		g.claim, g.recordKey, g.bodyHash = claim, claim.Record, claim.Digest
	} else {
		g.recordKey, g.bodyHash = giftRecordKey(p.UserID, in.IdempotencyKey), in.hashGiftBody()
	}
	return g
}

// recordText returns the record of a gift that is done.
func (g giftRequest) recordText(tradeID string) string {
	if g.claim != nil {
		return record.DoneText(g.bodyHash, tradeID)
	}
	return tradeID + " " + g.bodyHash
}

// claimToken returns the token of the event's claim, "" when the record is the feature's own.
func (g giftRequest) claimToken() string {
	if g.claim == nil {
		return ""
	}
	return g.claim.Token
}

// parseRecord reads a record. ok is false for one that names no gift: a claim that another holder
// has, or a refusal.
func (g giftRequest) parseRecord(text string) (tradeID, bodyHash string, ok bool) {
	if g.claim != nil {
		bodyHash, tradeID, ok = record.ParseDone(text)
		return tradeID, bodyHash, ok && tradeID != ""
	}
	return strings.Cut(text, " ")
}
